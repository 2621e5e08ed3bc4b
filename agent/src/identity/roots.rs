//! Which roots this device trusts after the controller spoke of others. A pure function: nothing is
//! trusted that a trusted root did not certify, and a device never ends up trusting nothing.

use bytes::Bytes;
use ring::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;

/// Roots kept: the present one, those before it that still count, and an operator's own.
const MAX_ROOTS: usize = 4;
/// Certificates between roots that are looked at.
const MAX_CROSSES: usize = 8;

/// What a controller says of roots, at enrolment and at each renewal.
#[derive(Debug, Default)]
pub struct Said {
    /// The root that signs now.
    pub root: Option<CertificateDer<'static>>,
    /// Roots' keys as the root before each certified them.
    pub crosses: Vec<CertificateDer<'static>>,
    /// SHA-256 of roots that are not to be trusted any more.
    pub retired: Vec<Vec<u8>>,
}

impl Said {
    /// As it came.
    pub fn new(root: &[u8], crosses: &[Bytes], retired: &[Bytes]) -> Self {
        let der = |bytes: &[u8]| CertificateDer::from(bytes.to_vec());
        Self {
            root: (!root.is_empty()).then(|| der(root)),
            crosses: crosses.iter().map(|bytes| der(bytes)).collect(),
            retired: retired.iter().map(|hash| hash.to_vec()).collect(),
        }
    }
}

/// What to trust from now on, newest first. The new root is taken if it is held already, or if the
/// crosses lead to its key from one that is held; what is retired goes only when it is taken.
pub fn next(held: &[CertificateDer<'static>], said: &Said) -> Vec<CertificateDer<'static>> {
    let mut roots = held.to_vec();
    let Some(root) = &said.root else { return roots };
    if !roots.contains(root) {
        if !is_certified(held, &said.crosses, root) {
            tracing::warn!("the controller named a root that none of the trusted ones certified");
            return roots;
        }
        roots.insert(0, root.clone());
    }
    roots.retain(|one| one == root || !said.retired.iter().any(|gone| is_hash_of(gone, one)));
    roots.truncate(MAX_ROOTS);
    roots
}

fn is_hash_of(hash: &[u8], root: &CertificateDer<'_>) -> bool {
    digest(&SHA256, root).as_ref() == hash
}

/// Whether `crosses` lead from a key of `held` to the key of `root`.
fn is_certified(
    held: &[CertificateDer<'static>],
    crosses: &[CertificateDer<'static>],
    root: &CertificateDer<'static>,
) -> bool {
    let parse = |der| x509_parser::parse_x509_certificate(der).ok().map(|(_, cert)| cert);
    let Some(root) = parse(root).filter(|root| root.is_ca()) else { return false };
    let crosses: Vec<X509Certificate<'_>> =
        crosses.iter().take(MAX_CROSSES).filter_map(|der| parse(der)).collect();
    let mut trusted: Vec<X509Certificate<'_>> = held.iter().filter_map(|der| parse(der)).collect();
    // Each turn takes at least one more, or is the last.
    for _ in 0..crosses.len() {
        let signed = crosses.iter().find(|cross| {
            cross.is_ca()
                && !trusted.iter().any(|one| one.public_key().raw == cross.public_key().raw)
                && trusted.iter().any(|one| {
                    one.subject() == cross.issuer()
                        && cross.verify_signature(Some(one.public_key())).is_ok()
                })
        });
        let Some(cross) = signed else { break };
        trusted.push(cross.clone());
    }
    trusted
        .iter()
        .any(|one| one.public_key().raw == root.public_key().raw && one.subject() == root.subject())
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

    use super::*;

    struct Root(KeyPair, CertificateParams, CertificateDer<'static>);

    fn root(name: &str) -> Root {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let der = params.self_signed(&key).unwrap().der().clone();
        Root(key, params, der)
    }

    impl Root {
        fn certifies(&self, next: &Root) -> CertificateDer<'static> {
            let issuer = Issuer::from_params(&self.1, &self.0);
            next.1.signed_by(&next.0, &issuer).unwrap().der().clone()
        }

        fn der(&self) -> CertificateDer<'static> {
            self.2.clone()
        }
    }

    fn hash(root: &Root) -> Vec<u8> {
        digest(&SHA256, &root.2).as_ref().to_vec()
    }

    #[test]
    fn a_root_is_taken_when_one_that_is_trusted_leads_to_it() {
        let (a, b, c, stranger) = (root("a"), root("b"), root("c"), root("stranger"));
        let check = |held: &[&Root], new: &Root, crosses: &[CertificateDer<'static>]| {
            let held: Vec<_> = held.iter().map(|root| root.der()).collect();
            let said = Said { root: Some(new.der()), crosses: crosses.to_vec(), retired: vec![] };
            next(&held, &said)
        };
        let (ab, bc) = (a.certifies(&b), b.certifies(&c));
        assert_eq!(check(&[&a], &b, std::slice::from_ref(&ab)), [b.der(), a.der()]);
        assert_eq!(check(&[&a], &c, &[bc.clone(), ab.clone()]), [c.der(), a.der()]);
        assert_eq!(check(&[&a], &a, &[]), [a.der()]);
        // Nobody who is trusted said so.
        assert_eq!(check(&[&a], &b, &[]), [a.der()]);
        assert_eq!(check(&[&a], &c, std::slice::from_ref(&bc)), [a.der()]);
        assert_eq!(check(&[&a], &stranger, std::slice::from_ref(&ab)), [a.der()]);
        assert_eq!(check(&[&a], &b, &[stranger.certifies(&b)]), [a.der()]);
        let impostor = Root(stranger.0, a.1.clone(), a.der());
        assert_eq!(check(&[&a], &b, &[impostor.certifies(&b)]), [a.der()], "the name alone");
        let broken = Root(root("x").0, a.1.clone(), CertificateDer::from(vec![0x30, 0x80]));
        assert_eq!(check(&[&a], &broken, &[broken.der(), ab]), [a.der()]);
    }

    #[test]
    fn what_is_retired_goes_when_its_successor_is_there_and_an_operators_own_stays() {
        let (a, b, own) = (root("a"), root("b"), root("own"));
        let said = |root: &Root, crosses: Vec<CertificateDer<'static>>, retired: Vec<Vec<u8>>| {
            Said { root: Some(root.der()), crosses, retired }
        };
        let held = [a.der(), own.der()];
        let taken = next(&held, &said(&b, vec![a.certifies(&b)], vec![hash(&a)]));
        assert_eq!(taken, [b.der(), own.der()]);
        let refused = next(&held, &said(&b, vec![], vec![hash(&a), hash(&own)]));
        assert_eq!(refused, held, "nobody who is not trusted takes anything away");
        let odd = next(&held, &said(&a, vec![], vec![hash(&a), vec![], vec![1; 32]]));
        assert_eq!(odd, held, "the one that signs is never retired");
        assert_eq!(next(&held, &Said::default()), held);
        let many: Vec<_> = (0..6).map(|n| root(&n.to_string()).der()).collect();
        let taken = next(&many, &said(&b, vec![], vec![]));
        assert_eq!(taken.len(), 6, "not taken, so nothing changes");
    }
}
