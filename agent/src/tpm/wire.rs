//! The bytes of commands and replies: big-endian numbers, and buffers that begin with their length
//! (TPM2B). A reply is believed in nothing: whatever is cut short or too long is an error.

use zeroize::Zeroizing;

use super::error::Fault;

/// Longest command and longest reply, of all that are used here far below what TPMs give (4,096).
pub const MAX_BYTES: usize = 4096;
/// Tag, size and code.
pub const HEADER_BYTES: usize = 10;

const TAG_NO_SESSIONS: u16 = 0x8001;
const TAG_SESSIONS: u16 = 0x8002;
/// The session that is a password: here the empty one.
const PASSWORD_SESSION: u32 = 0x4000_0009;

/// A command of the TPM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Command {
    /// TPM_CC.
    pub code: u32,
    /// Its name in the specification, for messages.
    pub name: &'static str,
    /// Whether it takes the authorisation of its one handle.
    pub is_authorised: bool,
    /// Whether its reply begins with a handle.
    pub gives_handle: bool,
}

impl Command {
    /// The bytes of this command about `handle`.
    pub fn encode(self, handle: Option<u32>, parameters: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        if let Some(handle) = handle {
            body.extend_from_slice(&handle.to_be_bytes());
        }
        if self.is_authorised {
            let mut area = Vec::new();
            area.extend_from_slice(&PASSWORD_SESSION.to_be_bytes());
            // No nonce, no attributes, no password.
            area.extend_from_slice(&[0, 0, 0, 0, 0]);
            body.extend_from_slice(&length32(&area));
            body.extend_from_slice(&area);
        }
        body.extend_from_slice(parameters);
        let tag = if self.is_authorised { TAG_SESSIONS } else { TAG_NO_SESSIONS };
        let size = u32::try_from(HEADER_BYTES + body.len()).expect("a command has a few hundred");
        let head = [&tag.to_be_bytes()[..], &size.to_be_bytes(), &self.code.to_be_bytes()];
        [&head.concat()[..], &body].concat()
    }

    /// The handle, if this command gives one, and the parameters of a reply to it.
    pub fn decode(self, reply: &[u8]) -> Result<(u32, &[u8]), Fault> {
        let mut reader = Reader::new(reply);
        let tag = reader.u16()?;
        let size = usize::try_from(reader.u32()?).unwrap_or(usize::MAX);
        let code = reader.u32()?;
        if size != reply.len() {
            return Err(Fault::Reply("a reply of another length than it says"));
        }
        if code != 0 {
            return Err(Fault::Code { command: self.name, code });
        }
        let handle = if self.gives_handle { reader.u32()? } else { 0 };
        match (tag, self.is_authorised) {
            (TAG_SESSIONS, true) => {
                let length = usize::try_from(reader.u32()?).unwrap_or(usize::MAX);
                // After them comes what a session would say; a password says nothing.
                Ok((handle, reader.take(length)?))
            }
            (TAG_NO_SESSIONS, false) => Ok((handle, reader.rest())),
            _ => Err(Fault::Reply("a reply with another tag")),
        }
    }
}

/// `bytes` with their length before them.
pub fn sized(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("what is sent has a few hundred bytes");
    [&length.to_be_bytes()[..], bytes].concat()
}

fn length32(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).expect("what is sent has a few hundred bytes").to_be_bytes()
}

/// Reads from the front.
#[derive(Debug, Clone)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next `length` bytes.
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) =
            self.0.split_at_checked(length).ok_or(Fault::Reply("a reply that is cut short"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, Fault> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// A number of two bytes.
    pub fn u16(&mut self) -> Result<u16, Fault> {
        self.array().map(u16::from_be_bytes)
    }

    /// A number of four bytes.
    pub fn u32(&mut self) -> Result<u32, Fault> {
        self.array().map(u32::from_be_bytes)
    }

    /// A buffer with its length before it.
    pub fn sized(&mut self) -> Result<&'a [u8], Fault> {
        let length = self.u16()?;
        self.take(length.into())
    }

    /// A number of at most 32 bytes with its length before it; a TPM may leave zeros out in front.
    pub fn scalar(&mut self) -> Result<Zeroizing<[u8; 32]>, Fault> {
        let bytes = self.sized()?;
        let start = 32_usize.checked_sub(bytes.len());
        let start = start.ok_or(Fault::Reply("a number of more than 32 bytes"))?;
        let mut scalar = Zeroizing::new([0; 32]);
        scalar[start..].copy_from_slice(bytes);
        Ok(scalar)
    }

    /// All that is left.
    pub fn rest(self) -> &'a [u8] {
        self.0
    }

    /// Nothing is left.
    pub fn end(self) -> Result<(), Fault> {
        match self.0 {
            [] => Ok(()),
            _ => Err(Fault::Reply("more than was asked for")),
        }
    }
}
