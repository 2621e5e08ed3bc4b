//! A thousand bundles that somebody changed, by a seed: none is accepted, none is a panic.

use edgeformer_agent::fetch::versions::Opening;
use edgeformer_proto::artifact::{Digest, Memory};
use edgeformer_proto::bundle::Assignment;
use edgeformer_proto::ids::{DeviceId, TenantId};
use edgeformer_proto::keywrap::{HpkePublic, KeyContext, wrap};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};

use super::make::{Parts, Tenant, assignment, metadata, site};
use super::publish::Version;
use super::{Device, generation};

const INPUTS: u64 = 1000;

/// Chosen once; a failure prints the number of the input.
const SEED: u64 = 20_261_125;

/// Everything that those who change bundles have at hand.
struct World {
    publisher: Tenant,
    version: Version,
    other_version: Version,
    stranger: Tenant,
    other_device: Device,
}

impl World {
    fn new() -> Self {
        let publisher = Tenant::new();
        Self {
            version: publisher.publish(2, 8, 1),
            other_version: publisher.publish(3, 8, 2),
            stranger: Tenant::new(),
            other_device: Device::new(&publisher),
            publisher,
        }
    }

    fn parts(&self, device: &Opening) -> Parts {
        site(&self.publisher, &[device, &self.other_device.opening], &self.version, generation(5))
    }

    /// A bundle for `device` with an assignment that `change` made another, signed by the tenant.
    fn signed(&self, device: &Opening, change: impl FnOnce(&mut Assignment)) -> Vec<u8> {
        let mut parts = self.parts(device);
        let mut one = assignment(device, &self.version, generation(5));
        one.metadata_sha256 = Digest::of(&metadata(&parts.metadata));
        change(&mut one);
        parts.assignments[0].1 = one.sign(self.publisher.key());
        parts.bytes()
    }

    /// What was signed, by who may sign, for something else.
    fn validly_signed_for_something_else(&self, device: &Opening, rng: &mut StdRng) -> Vec<u8> {
        let version = &self.version;
        let other_key = |context: KeyContext, at| {
            let to = HpkePublic::try_from(&device.keys.hpke_public()[..]).unwrap();
            wrap(&to, &version.data_key, &context, generation(at)).unwrap()
        };
        let context = KeyContext {
            tenant: device.tenant_id,
            device: device.device_id,
            version: version.subject.version_id,
        };
        match rng.random_range(0..12) {
            // Another tenant.
            0 => {
                let claimed = Opening { tenant_id: self.stranger.tenant, ..device.clone() };
                let foreign = self.stranger.publish(2, 4, 9);
                site(&self.stranger, &[&claimed], &foreign, generation(5)).bytes()
            }
            1 => self.signed(device, |one| one.tenant = TenantId::new()),
            2 => self.signed(device, |one| {
                let tenant = TenantId::new();
                one.key = other_key(KeyContext { tenant, ..context }, 5);
            }),
            // Another device.
            3 => self.signed(device, |one| one.device = DeviceId::new()),
            4 => {
                let mut parts = self.parts(device);
                parts.assignments[0].1 = parts.assignments[1].1.clone();
                parts.bytes()
            }
            5 => self.signed(device, |one| {
                let other = assignment(&self.other_device.opening, version, generation(5));
                one.key = other.key;
            }),
            6 => {
                site(&self.publisher, &[&self.other_device.opening], version, generation(5)).bytes()
            }
            // Another generation: older, the held one with other content, or a key of another.
            7 => {
                let at = rng.random_range(0..=3);
                site(&self.publisher, &[device], version, generation(at)).bytes()
            }
            8 => self.signed(device, |one| one.key = other_key(context, 6)),
            9 => self.signed(device, |one| {
                one.key.generation.counter = 7;
                one.desired.generation = Some(generation(7).into());
            }),
            // Another version.
            10 => {
                let mut parts = self.parts(device);
                let other = site(&self.publisher, &[device], &self.other_version, generation(5));
                match rng.random_range(0..4) {
                    0 => parts.manifest = other.manifest,
                    1 => parts.index = other.index,
                    2 => parts.assignments = other.assignments,
                    _ => parts.chunks = other.chunks,
                }
                parts.bytes()
            }
            _ => self.by_another_key_or_for_another_purpose(device, rng),
        }
    }

    /// A manifest or an assignment of another signer, or a manifest where an assignment belongs.
    fn by_another_key_or_for_another_purpose(&self, device: &Opening, rng: &mut StdRng) -> Vec<u8> {
        let mut parts = self.parts(device);
        let stranger = self.stranger.key();
        match rng.random_range(0..3) {
            0 => {
                let forged = self.publisher.publish_signed(2, 8, 1, Memory::default(), stranger);
                parts = site(&self.publisher, &[device], &forged, generation(5));
            }
            1 => {
                let mut one = assignment(device, &self.version, generation(5));
                one.metadata_sha256 = Digest::of(&metadata(&parts.metadata));
                parts.assignments[0].1 = one.sign(stranger);
            }
            _ => parts.assignments[0].1 = parts.manifest.clone(),
        }
        parts.bytes()
    }

    /// The right bundle with some of its bytes changed.
    fn changed(&self, device: &Opening, rng: &mut StdRng) -> Vec<u8> {
        let mut bytes = self.parts(device).bytes();
        let whole = bytes.clone();
        while bytes == whole {
            let at = rng.random_range(0..bytes.len());
            let end = at + rng.random_range(1..=64).min(bytes.len() - at);
            match rng.random_range(0..6) {
                0..=2 => bytes[at] ^= 1 << rng.random_range(0..8),
                3 => bytes[at..end].iter_mut().for_each(|byte| *byte = rng.random()),
                4 => drop(bytes.drain(at..end)),
                _ => {
                    let copy = bytes[at..end].to_vec();
                    bytes.splice(at..at, copy);
                }
            }
        }
        bytes
    }

    /// Whole parts that are missing, twice, in another order, or of something else.
    fn rearranged(&self, device: &Opening, rng: &mut StdRng) -> Vec<u8> {
        let mut parts = self.parts(device);
        let (from, to) = (rng.random_range(0..8), rng.random_range(0..8));
        match rng.random_range(0..7) {
            0 => drop(parts.chunks.remove(from)),
            1 => parts.chunks.insert(to, parts.chunks[from].clone()),
            2 => parts.chunks.swap(from, (from + 1) % 8),
            3 => parts.chunks[from].1 = parts.chunks[(from + 1) % 8].1.clone(),
            4 => drop(parts.metadata.remove(0)),
            5 => parts.metadata[0].0 = "2.root.json".to_owned(),
            _ => parts.assignments.push(parts.assignments[0].clone()),
        }
        parts.bytes()
    }
}

#[tokio::test]
async fn of_a_thousand_tampered_bundles_none_is_accepted_and_none_is_a_panic() {
    let world = World::new();
    let held = world.publisher.publish(1, 2, 7);
    let mut refusals = std::collections::BTreeMap::<Digest, u32>::new();
    let one = Device::new(&world.publisher);
    let first = site(&world.publisher, &[&one.opening], &held, generation(3));
    one.import(&first.bytes()).await.0.unwrap();
    for number in 0..INPUTS {
        // Fresh: what is stored already is not read again.
        let device = one.copy();
        let rng = &mut StdRng::seed_from_u64(SEED + number);
        let bytes = match number % 4 {
            0 => world.validly_signed_for_something_else(&device.opening, rng),
            1 => world.rearranged(&device.opening, rng),
            _ => world.changed(&device.opening, rng),
        };
        let (imported, started) = device.import(&bytes).await;
        let error = imported.map(|_| ()).expect_err(&format!("input {number} was accepted"));
        assert_eq!(started.reconcile.held(), Some(generation(3)), "input {number}: {error}");
        let kind =
            error.to_string().chars().filter(|c| !c.is_numeric()).take(40).collect::<String>();
        *refusals.entry(Digest::of(kind.as_bytes())).or_default() += 1;
    }
    // Not all for the same reason: each check was reached.
    assert!(refusals.len() >= 12, "{} kinds of refusal", refusals.len());
    let device = Device::new(&world.publisher);
    device
        .import(&world.parts(&device.opening).bytes())
        .await
        .0
        .expect("the right one is accepted");
}
