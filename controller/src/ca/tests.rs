use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::UnixTime;
use rustls::server::WebPkiClientVerifier;

use super::*;

/// 2026-01-01T00:00:00Z.
const NOW_US: i64 = 1_767_225_600_000_000;
const DAY_US: i64 = 86_400_000_000;

struct Fixture {
    root: KeyAndCert,
    issuing: KeyAndCert,
    tenant: TenantId,
    device: DeviceId,
}

fn fixture() -> Fixture {
    let root = create_root("edgeformer.local", NOW_US).unwrap();
    let tenant = TenantId::new();
    let issuing = create_issuing(&root, tenant, NOW_US).unwrap();
    Fixture { root, issuing, tenant, device: DeviceId::new() }
}

impl Fixture {
    fn leaf(&self, spki: &[u8], lifetime: Duration) -> IssuedLeaf {
        let leaf = DeviceLeaf {
            trust_domain: "edgeformer.local",
            tenant: self.tenant,
            device: self.device,
            public_key_spki: spki,
            lifetime,
        };
        issue_device(&self.issuing, &leaf, NOW_US).unwrap()
    }

    fn verifies(&self, leaf: &IssuedLeaf, at_us: i64) -> Result<(), rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(self.root.cert_der.clone())).unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build().unwrap();
        verifier
            .verify_client_cert(
                &CertificateDer::from(leaf.cert_der.clone()),
                &[CertificateDer::from(self.issuing.cert_der.clone())],
                UnixTime::since_unix_epoch(Duration::from_micros(at_us as u64)),
            )
            .map(|_| ())
    }
}

fn csr() -> (KeyPair, Vec<u8>) {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = CertificateParams::new(vec!["root.example".to_owned()]).unwrap();
    params.distinguished_name = common_name("administrator");
    let der = params.serialize_request(&key).unwrap().der().to_vec();
    (key, der)
}

#[test]
fn a_device_certificate_chains_to_the_root_and_names_only_the_device() {
    let fixture = fixture();
    let (_, csr) = csr();
    let spki = verify_csr(&csr).unwrap();
    let leaf = fixture.leaf(&spki, DEFAULT_DEVICE_LIFETIME);

    assert_eq!(leaf.expires_at_us, NOW_US + 30 * DAY_US);
    fixture.verifies(&leaf, NOW_US).unwrap();
    fixture.verifies(&leaf, NOW_US - 299_000_000).expect("a clock five minutes behind works");
    let early = fixture.verifies(&leaf, NOW_US - 301_000_000).unwrap_err().to_string();
    assert!(early.contains("not valid yet"), "{early}");
    let late = fixture.verifies(&leaf, leaf.expires_at_us + 1_000_000).unwrap_err().to_string();
    assert!(late.contains("expired"), "{late}");

    let peer = read_peer(&leaf.cert_der).unwrap();
    assert_eq!(peer.id, SpiffeId::new("edgeformer.local", fixture.tenant, fixture.device));
    assert_eq!((peer.public_key_spki, peer.expires_at_us), (spki, leaf.expires_at_us));
    assert!(!String::from_utf8_lossy(&leaf.cert_der).contains("administrator"));
    assert!(!String::from_utf8_lossy(&leaf.cert_der).contains("root.example"));
}

#[test]
fn a_certificate_of_one_tenant_is_not_anothers() {
    let fixture = fixture();
    let spki = verify_csr(&csr().1).unwrap();
    let leaf = fixture.leaf(&spki, DEFAULT_DEVICE_LIFETIME);
    issued_by(&leaf.cert_der, &fixture.issuing.cert_der).unwrap();
    let other = create_issuing(&fixture.root, TenantId::new(), NOW_US).unwrap();
    let error = issued_by(&leaf.cert_der, &other.cert_der).unwrap_err();
    assert!(error.to_string().contains("not issued by the CA of the tenant"), "{error}");
}

#[test]
fn a_request_must_be_signed_by_its_own_p256_key() {
    let (_, good) = csr();
    let mut tampered = good.clone();
    *tampered.last_mut().unwrap() ^= 1;
    let mut long = good.clone();
    long.push(0);
    let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let p384 = CertificateParams::default().serialize_request(&p384).unwrap().der().to_vec();
    for (bad, why) in [
        (tampered, "signature"),
        (long, "bytes follow"),
        (p384, "not on P-256"),
        (b"hello".to_vec(), "not a PKCS#10"),
        (vec![0x30; MAX_CSR_BYTES + 1], "longer than"),
    ] {
        let error = verify_csr(&bad).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn an_issuing_ca_cannot_make_another_ca_and_a_server_certificate_is_no_client() {
    let fixture = fixture();
    let parsed = |der: &[u8]| {
        let (_, cert) = X509Certificate::from_der(der).unwrap();
        let constraints = cert.basic_constraints().unwrap().map(|c| c.value.clone());
        (constraints.map(|c| (c.ca, c.path_len_constraint)), cert.raw_serial().to_vec())
    };
    assert_eq!(
        parsed(&fixture.root.cert_der).0,
        Some((true, Some(1 + u32::from(MAX_SUCCESSIONS))))
    );
    assert_eq!(parsed(&fixture.issuing.cert_der).0, Some((true, Some(0))));

    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let server = create_server(&fixture.root, &names, NOW_US).unwrap();
    let as_leaf =
        IssuedLeaf { cert_der: server.cert_der.clone(), expires_at_us: 0, ca_id: String::new() };
    fixture.verifies(&as_leaf, NOW_US).expect_err("not for client authentication");
    let error = read_peer(&server.cert_der).unwrap_err().to_string();
    assert!(error.contains("exactly one name"), "{error}");
    assert_ne!(parsed(&server.cert_der).1, parsed(&fixture.issuing.cert_der).1);
}

#[test]
fn a_debug_print_shows_no_key() {
    let printed = format!("{:?}", fixture().root);
    assert!(printed.starts_with("KeyAndCert { cert_bytes: "), "{printed}");
}
