//! Frames between the agent and a worker: `length (u32, little endian, of what follows) ‖ kind (u8) ‖
//! body`. Exists so that weights travel raw, without an encoding of their own, beside small JSON
//! control messages. Must never allocate more than [`MAX_BODY_BYTES`] because a length said so.

use std::io::{self, Read};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use zeroize::Zeroizing;

/// Longest body. A control message carries at most one prompt, and the local server refuses request
/// bodies over 1 MiB; JSON escaping at worst makes six bytes of one.
pub const MAX_BODY_BYTES: usize = 8 << 20;

/// Weights are sent in pieces of at most this size, so that neither side holds a large copy.
pub const PAYLOAD_PIECE_BYTES: usize = 256 << 10;

/// Bytes before the body: the length and the kind.
pub const HEADER_BYTES: usize = 5;

/// What a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A JSON control message.
    Control,
    /// A piece of the model file.
    Payload,
}

impl Kind {
    const fn byte(self) -> u8 {
        match self {
            Kind::Control => 1,
            Kind::Payload => 2,
        }
    }

    fn from_byte(byte: u8) -> Result<Self, FrameError> {
        match byte {
            1 => Ok(Kind::Control),
            2 => Ok(Kind::Payload),
            other => Err(FrameError::UnknownKind(other)),
        }
    }
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What the body is.
    pub kind: Kind,
    /// At most [`MAX_BODY_BYTES`].
    pub body: Bytes,
}

/// A stream that is not made of frames, or that broke.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The length cannot be that of a frame.
    #[error("a frame says it has {0} bytes; 1 to {max} are allowed", max = MAX_BODY_BYTES + 1)]
    Length(usize),
    /// The kind is not known: the peer is not this program in this version.
    #[error("a frame is of unknown kind {0}")]
    UnknownKind(u8),
    /// The stream ended inside a frame.
    #[error("the stream ended inside a frame")]
    Cut,
    /// Reading or writing failed.
    #[error("the socket failed: {0}")]
    Io(#[from] io::Error),
}

/// Appends `frame` to `out`. Refuses a body over the cap.
pub fn encode(frame: &Frame, out: &mut BytesMut) -> Result<(), FrameError> {
    let header = header(frame)?;
    out.reserve(HEADER_BYTES + frame.body.len());
    out.put_slice(&header);
    out.extend_from_slice(&frame.body);
    Ok(())
}

/// What stands before the body, for those who send the body without copying it. Refuses one over the
/// cap.
pub fn header(frame: &Frame) -> Result<[u8; HEADER_BYTES], FrameError> {
    if frame.body.len() > MAX_BODY_BYTES {
        return Err(FrameError::Length(frame.body.len() + 1));
    }
    let [a, b, c, d] = (frame.body.len() as u32 + 1).to_le_bytes();
    Ok([a, b, c, d, frame.kind.byte()])
}

/// Takes the first frame off `buffer`; `None` when it is not complete yet.
pub fn decode(buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
    if buffer.len() < HEADER_BYTES {
        return Ok(None);
    }
    let (kind, body_len) = parse_header(buffer[..HEADER_BYTES].try_into().expect("five bytes"))?;
    if buffer.len() < HEADER_BYTES + body_len {
        buffer.reserve(HEADER_BYTES + body_len - buffer.len());
        return Ok(None);
    }
    buffer.advance(HEADER_BYTES);
    Ok(Some(Frame { kind, body: buffer.split_to(body_len).freeze() }))
}

/// Reads one frame; `None` when the stream ends between two frames.
pub fn read(from: &mut impl Read) -> Result<Option<Frame>, FrameError> {
    let mut header = [0; HEADER_BYTES];
    match fill(from, &mut header)? {
        0 => return Ok(None),
        HEADER_BYTES => {}
        _ => return Err(FrameError::Cut),
    }
    let (kind, body_len) = parse_header(header)?;
    let mut body = Zeroizing::new(vec![0; body_len]);
    if fill(from, &mut body)? != body_len {
        return Err(FrameError::Cut);
    }
    // Weights and prompts are wiped when the last that holds a part of them is done.
    Ok(Some(Frame { kind, body: Bytes::from_owner(body) }))
}

fn parse_header(header: [u8; HEADER_BYTES]) -> Result<(Kind, usize), FrameError> {
    let [a, b, c, d, kind] = header;
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    if length == 0 || length > MAX_BODY_BYTES + 1 {
        return Err(FrameError::Length(length));
    }
    Ok((Kind::from_byte(kind)?, length - 1))
}

/// Fills `buffer` as far as the stream goes; returns how far.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frames() -> impl Strategy<Value = Vec<Frame>> {
        let frame = (any::<bool>(), proptest::collection::vec(any::<u8>(), 0..300)).prop_map(
            |(control, body)| Frame {
                kind: if control { Kind::Control } else { Kind::Payload },
                body: body.into(),
            },
        );
        proptest::collection::vec(frame, 0..8)
    }

    proptest! {
        #[test]
        fn frames_survive_any_cut_of_the_stream(frames in frames(), step in 1usize..64) {
            let mut wire = BytesMut::new();
            for frame in &frames {
                encode(frame, &mut wire).unwrap();
            }
            let mut incremental = Vec::new();
            let mut buffer = BytesMut::new();
            for piece in wire.chunks(step) {
                buffer.extend_from_slice(piece);
                while let Some(frame) = decode(&mut buffer).unwrap() {
                    incremental.push(frame);
                }
            }
            prop_assert_eq!(&incremental, &frames);
            prop_assert!(buffer.is_empty());

            let mut blocking = Vec::new();
            let mut stream = &wire[..];
            while let Some(frame) = read(&mut stream).unwrap() {
                blocking.push(frame);
            }
            prop_assert_eq!(&blocking, &frames);
        }

        #[test]
        fn both_readers_judge_any_bytes_alike_and_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut buffer = BytesMut::from(&bytes[..]);
            let mut stream = &bytes[..];
            loop {
                match (decode(&mut buffer), read(&mut stream)) {
                    (Ok(Some(a)), Ok(Some(b))) => prop_assert_eq!(a, b),
                    (Ok(None), Ok(None)) => { prop_assert!(buffer.is_empty()); break }
                    (Ok(None), Err(FrameError::Cut)) => break,
                    (Err(a), Err(b)) => { prop_assert_eq!(a.to_string(), b.to_string()); break }
                    (a, b) => prop_assert!(false, "{:?} but {:?}", a, b),
                }
            }
        }
    }

    #[test]
    fn a_length_over_the_cap_is_refused_before_anything_is_allocated() {
        let mut wire = Vec::from((MAX_BODY_BYTES as u32 + 2).to_le_bytes());
        wire.push(1);
        assert!(matches!(read(&mut &wire[..]), Err(FrameError::Length(_))));
        assert!(matches!(decode(&mut BytesMut::from(&wire[..])), Err(FrameError::Length(_))));
        let large = Frame { kind: Kind::Payload, body: vec![0; MAX_BODY_BYTES + 1].into() };
        assert!(encode(&large, &mut BytesMut::new()).is_err());
    }

    #[test]
    fn the_end_between_frames_is_no_error_and_inside_one_it_is() {
        let mut wire = BytesMut::new();
        encode(&Frame { kind: Kind::Control, body: Bytes::from_static(b"{}") }, &mut wire).unwrap();
        assert!(read(&mut &wire[..0]).unwrap().is_none());
        for cut in 1..wire.len() {
            assert!(matches!(read(&mut &wire[..cut]), Err(FrameError::Cut)), "cut at {cut}");
        }
    }
}
