//! The commands, over an open TPM. What is loaded is flushed again, whatever happens in between.

use std::time::Duration;

use zeroize::Zeroizing;

use super::error::Fault;
use super::key::{Kind, POINT_BYTES, WrappedKey, name, read_point, storage_template};
use super::transport::Exchange;
use super::wire::{Command, Reader, sized};

/// A TPM that says it is busy is asked so often, each time after this: five seconds in all.
const BUSY_TRIES: u32 = 100;
const BUSY_PAUSE: Duration = Duration::from_millis(50);
/// Handles that are asked for; TPMs have room for three to a few dozen.
const MAX_HANDLES: u32 = 64;
/// Numbers that are read of a list.
const MAX_NUMBERS: usize = MAX_HANDLES as usize + 1;

const OWNER: u32 = 0x4000_0001;
const NO_HIERARCHY: u32 = 0x4000_0007;
const FIRST_LOADED: u32 = 0x8000_0000;
const ALG_NULL: u16 = 0x0010;
const ALG_SHA256: u16 = 0x000b;
const ALG_ECDSA: u16 = 0x0018;
const TAG_HASHCHECK: u16 = 0x8024;
const CAPABILITY_HANDLES: u32 = 1;
const CAPABILITY_PROPERTIES: u32 = 6;
const PROPERTY_MANUFACTURER: u32 = 0x105;
const STARTUP_CLEAR: u16 = 0;

const fn command(code: u32, name: &'static str) -> Command {
    Command { code, name, is_authorised: false, gives_handle: false }
}

const CREATE_PRIMARY: Command =
    Command { is_authorised: true, gives_handle: true, ..command(0x131, "TPM2_CreatePrimary") };
const CREATE: Command = Command { is_authorised: true, ..command(0x153, "TPM2_Create") };
const LOAD: Command =
    Command { is_authorised: true, gives_handle: true, ..command(0x157, "TPM2_Load") };
const SIGN: Command = Command { is_authorised: true, ..command(0x15d, "TPM2_Sign") };
const ECDH_ZGEN: Command = Command { is_authorised: true, ..command(0x154, "TPM2_ECDH_ZGen") };
const STARTUP: Command = command(0x144, "TPM2_Startup");
const FLUSH_CONTEXT: Command = command(0x165, "TPM2_FlushContext");
const GET_CAPABILITY: Command = command(0x17a, "TPM2_GetCapability");

/// The storage key, loaded.
struct Storage {
    handle: u32,
    name: Vec<u8>,
}

/// An open TPM and what can be asked of it.
pub struct Conversation {
    exchange: Box<dyn Exchange>,
}

impl Conversation {
    /// Speaks over `exchange`.
    pub fn new(exchange: Box<dyn Exchange>) -> Self {
        Self { exchange }
    }

    /// Makes a key under the storage key. It is not left in the TPM.
    pub fn make(&mut self, kind: Kind) -> Result<WrappedKey, Fault> {
        self.with_storage(|tpm, storage| {
            let reply = tpm.ask(CREATE, Some(storage.handle), &creation(&kind.template()))?;
            let mut reader = reply.parameters()?;
            let (private, public) = (reader.sized()?, reader.sized()?);
            WrappedKey::new(kind, public, private, &storage.name)
        })
    }

    /// Loads `key` for as long as `work` takes.
    pub fn with_key<T>(
        &mut self,
        key: &WrappedKey,
        work: impl FnOnce(&mut Self, u32) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let handle = self.with_storage(|tpm, storage| {
            if storage.name != key.storage_name() {
                let (made, has) = (digits(key.storage_name()), digits(&storage.name));
                return Err(Fault::OtherTpm { made, has });
            }
            let parts = [sized(key.private()), sized(key.public())].concat();
            Ok(tpm.ask(LOAD, Some(storage.handle), &parts)?.handle)
        })?;
        let done = work(self, handle);
        self.flush(handle);
        done
    }

    /// ECDSA over `digest`: r and s.
    pub fn sign(&mut self, key: u32, digest: &[u8]) -> Result<[u8; 64], Fault> {
        // The key's own scheme; a ticket that says nothing, as the digest need not be the TPM's.
        let ticket = [&TAG_HASHCHECK.to_be_bytes()[..], &NO_HIERARCHY.to_be_bytes(), &sized(&[])];
        let parameters = [sized(digest), ALG_NULL.to_be_bytes().to_vec(), ticket.concat()].concat();
        let reply = self.ask(SIGN, Some(key), &parameters)?;
        let mut reader = reply.parameters()?;
        if (reader.u16()?, reader.u16()?) != (ALG_ECDSA, ALG_SHA256) {
            return Err(Fault::Reply("another kind of signature than was asked for"));
        }
        let (r, s) = (reader.scalar()?, reader.scalar()?);
        reader.end()?;
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&r[..]);
        signature[32..].copy_from_slice(&s[..]);
        Ok(signature)
    }

    /// The x coordinate of the Diffie-Hellman result with `peer`.
    pub fn agree(
        &mut self,
        key: u32,
        peer: &[u8; POINT_BYTES],
    ) -> Result<Zeroizing<[u8; 32]>, Fault> {
        let point = [sized(&peer[1..33]), sized(&peer[33..])].concat();
        let reply = self.ask(ECDH_ZGEN, Some(key), &sized(&point))?;
        let mut reader = reply.parameters()?;
        let mut point = Reader::new(reader.sized()?);
        let agreed = Zeroizing::new(read_point(&mut point)?);
        point.end()?;
        reader.end()?;
        let mut x = Zeroizing::new([0; 32]);
        x.copy_from_slice(&agreed[1..33]);
        Ok(x)
    }

    /// Four letters for who made the TPM.
    pub fn manufacturer(&mut self) -> Result<String, Fault> {
        match self.capability(CAPABILITY_PROPERTIES, PROPERTY_MANUFACTURER, 1)?[..] {
            [1, PROPERTY_MANUFACTURER, letters, ..] => {
                let plain = letters.to_be_bytes().into_iter().filter(u8::is_ascii_graphic);
                Ok(plain.map(char::from).collect())
            }
            _ => Err(Fault::Reply("another property than was asked for")),
        }
    }

    /// Flushes every object. Whoever has the TPM to itself takes only what ended programs left;
    /// through a resource manager, what this connection loaded.
    pub fn flush_all(&mut self) -> Result<(), Fault> {
        let found = self.capability(CAPABILITY_HANDLES, FIRST_LOADED, MAX_HANDLES)?;
        // The first is how many there are.
        for handle in found.into_iter().skip(1) {
            self.flush(handle);
        }
        Ok(())
    }

    /// Loads the storage key for as long as `work` takes.
    fn with_storage<T>(
        &mut self,
        work: impl FnOnce(&mut Self, &Storage) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let reply = self.ask(CREATE_PRIMARY, Some(OWNER), &creation(&storage_template()))?;
        let handle = reply.handle;
        let public = reply.parameters().and_then(|mut reader| reader.sized());
        let done = public.and_then(|public| work(self, &Storage { handle, name: name(public) }));
        self.flush(handle);
        done
    }

    /// What cannot be flushed is for the next that needs room: see [`Self::flush_all`].
    fn flush(&mut self, handle: u32) {
        if let Err(fault) = self.ask(FLUSH_CONTEXT, None, &handle.to_be_bytes()) {
            tracing::debug!(%fault, "a key stays loaded in the TPM for now");
        }
    }

    /// The numbers of a list that it answers with: their count first.
    fn capability(&mut self, list: u32, first: u32, count: u32) -> Result<Vec<u32>, Fault> {
        let parameters = [list, first, count].map(u32::to_be_bytes).concat();
        let reply = self.ask(GET_CAPABILITY, None, &parameters)?;
        let mut reader = reply.parameters()?;
        let _has_more = reader.u8()?;
        if reader.u32()? != list {
            return Err(Fault::Reply("another capability than was asked for"));
        }
        let numbers = reader.rest().chunks_exact(4).take(MAX_NUMBERS);
        Ok(numbers
            .map(|bytes| bytes.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)))
            .collect())
    }

    /// The good reply to a command about `handle`. A TPM that is busy is asked again, one that was not
    /// started is started.
    fn ask(
        &mut self,
        command: Command,
        handle: Option<u32>,
        parameters: &[u8],
    ) -> Result<Reply, Fault> {
        let bytes = command.encode(handle, parameters);
        let mut busy = 0;
        let mut is_started = false;
        loop {
            let reply = self.exchange.exchange(&bytes).map_err(Fault::Io)?;
            match command.decode(&reply).map(|(handle, _)| handle) {
                Ok(handle) => return Ok(Reply { command, handle, bytes: reply }),
                Err(fault) if fault.is_busy() && busy < BUSY_TRIES => {
                    busy += 1;
                    std::thread::sleep(BUSY_PAUSE);
                }
                Err(fault) if fault.is_not_started() && !is_started => {
                    is_started = true;
                    let start = STARTUP.encode(None, &STARTUP_CLEAR.to_be_bytes());
                    let reply = self.exchange.exchange(&start).map_err(Fault::Io)?;
                    STARTUP.decode(&reply)?;
                }
                Err(fault) => return Err(fault),
            }
        }
    }
}

/// A good reply.
struct Reply {
    command: Command,
    handle: u32,
    bytes: Zeroizing<Vec<u8>>,
}

impl Reply {
    fn parameters(&self) -> Result<Reader<'_>, Fault> {
        Ok(Reader::new(self.command.decode(&self.bytes)?.1))
    }
}

/// What is asked for when a key is made: no password, nothing sealed, no PCRs.
fn creation(template: &[u8]) -> Vec<u8> {
    let sensitive = sized(&[sized(&[]), sized(&[])].concat());
    [sensitive, sized(template), sized(&[]), 0_u32.to_be_bytes().to_vec()].concat()
}

/// Enough of a name to tell two apart.
fn digits(name: &[u8]) -> String {
    let hash = name.get(2..).unwrap_or(name);
    hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;
    use std::io;

    /// Answers what it was given; then nothing.
    struct Scripted(VecDeque<Vec<u8>>);

    impl Exchange for Scripted {
        fn exchange(&mut self, _: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
            let next = self.0.pop_front().ok_or(io::ErrorKind::UnexpectedEof)?;
            Ok(Zeroizing::new(next))
        }
    }

    fn conversation(replies: impl IntoIterator<Item = Vec<u8>>) -> Conversation {
        Conversation::new(Box::new(Scripted(replies.into_iter().collect())))
    }

    /// A reply that says the right length, with `tag`, `code` and `body`.
    fn reply(tag: u16, code: u32, body: &[u8]) -> Vec<u8> {
        let size = u32::try_from(10 + body.len()).unwrap();
        [&tag.to_be_bytes()[..], &size.to_be_bytes(), &code.to_be_bytes(), body].concat()
    }

    #[test]
    fn a_busy_tpm_is_asked_again_and_an_unstarted_one_is_started() {
        let letters = [0, 0, 0, 0, 6, 0, 0, 0, 1, 0, 0, 1, 5, b'I', b'F', b'X', 0];
        let replies = [reply(0x8001, 0x922, &[]), reply(0x8001, 0x100, &[]), reply(0x8001, 0, &[])];
        let mut tpm = conversation([&replies[..], &[reply(0x8001, 0, &letters)]].concat());
        assert_eq!(tpm.manufacturer().unwrap(), "IFX");
        let never =
            vec![reply(0x8001, 0x100, &[]), reply(0x8001, 0, &[]), reply(0x8001, 0x100, &[])];
        assert!(conversation(never).manufacturer().unwrap_err().is_not_started());
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        let check = |bytes: Vec<u8>| {
            let fault = conversation([bytes]).sign(1, &[0; 32]).unwrap_err();
            assert!(matches!(fault, Fault::Reply(_)), "{fault}");
        };
        check(Vec::new());
        check(reply(0x8002, 0, &[0, 0, 0, 9]));
        check(reply(0x8002, 0, &u32::MAX.to_be_bytes()));
        check(reply(0x8001, 0, &[0; 80]));
        check([&reply(0x8002, 0, &[0; 80])[..], &[0]].concat());
        // 33 bytes of r.
        let body = [&[0, 0, 0, 75, 0, 0x18, 0, 0x0b, 0, 33][..], &[1; 70]].concat();
        check(reply(0x8002, 0, &body));
    }

    proptest! {
        #[test]
        fn whatever_a_tpm_answers_is_an_answer_or_an_error(
            bodies in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..200)), 0..8)
        ) {
            let replies: Vec<_> = bodies
                .into_iter()
                .map(|(authorised, mut body)| {
                    // So that some get behind the length of the parameters.
                    if authorised && body.len() > 8 {
                        let length = u32::try_from(body.len() - 8).unwrap();
                        body[4..8].copy_from_slice(&length.to_be_bytes());
                    }
                    reply(if authorised { 0x8002 } else { 0x8001 }, 0, &body)
                })
                .collect();
            let _ = conversation(replies.clone()).make(Kind::Signing);
            let _ = conversation(replies.clone()).make(Kind::Agreement);
            let _ = conversation(replies.clone()).sign(1, &[0; 32]);
            let _ = conversation(replies.clone()).agree(1, &[4; POINT_BYTES]);
            let _ = conversation(replies.clone()).manufacturer();
            let _ = conversation(replies).flush_all();
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = SIGN.decode(&bytes);
            let _ = Kind::Signing.point(&bytes);
            let _ = WrappedKey::new(Kind::Signing, &bytes, &bytes, &bytes);
        }
    }
}
