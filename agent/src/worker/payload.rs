//! The model file as it arrives frame by frame, for the engine to read. Holds one piece at a time;
//! must never write it anywhere.

use std::io::{self, Read};

use bytes::{Buf, Bytes};

use super::frame;
use super::message::ToWorker;

/// Reads the payload pieces between `Start` and `PayloadEnd`.
#[derive(Debug)]
pub struct PayloadReader<R> {
    frames: R,
    /// The rest of the current piece; none after the last.
    piece: Option<Bytes>,
}

impl<R: Read> PayloadReader<R> {
    /// Starts at the first piece.
    pub fn new(frames: R) -> Self {
        Self { frames, piece: Some(Bytes::new()) }
    }

    /// Skips what the engine did not need, e.g. padding, up to the end of the payload.
    pub fn finish(&mut self) -> io::Result<()> {
        while let Some(piece) = self.next_piece()? {
            piece.clear();
        }
        Ok(())
    }

    /// The current piece, never empty; none at the end of the payload.
    fn next_piece(&mut self) -> io::Result<Option<&mut Bytes>> {
        while self.piece.as_ref().is_some_and(Bytes::is_empty) {
            let frame = frame::read(&mut self.frames).map_err(io::Error::other)?;
            let frame = frame.ok_or(io::ErrorKind::UnexpectedEof)?;
            self.piece = match ToWorker::from_frame(frame).map_err(io::Error::other)? {
                ToWorker::Payload(piece) => Some(piece),
                ToWorker::PayloadEnd => None,
                _ => return Err(io::Error::other("another message came amid the weights")),
            };
        }
        Ok(self.piece.as_mut())
    }
}

impl<R: Read> Read for PayloadReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(piece) = self.next_piece()? else { return Ok(0) };
        let count = piece.len().min(buffer.len());
        piece.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;

    fn wire(messages: &[ToWorker]) -> BytesMut {
        let mut wire = BytesMut::new();
        for message in messages {
            frame::encode(&message.to_frame().unwrap(), &mut wire).unwrap();
        }
        wire
    }

    fn piece(bytes: &'static [u8]) -> ToWorker {
        ToWorker::Payload(Bytes::from_static(bytes))
    }

    #[test]
    fn pieces_read_as_one_stream_and_what_follows_is_left() {
        let messages = [
            piece(b"ab"),
            piece(b""),
            piece(b"cde"),
            ToWorker::PayloadEnd,
            ToWorker::Ping { nonce: 1 },
        ];
        let wire = wire(&messages);
        let mut rest = &wire[..];
        let mut text = String::new();
        PayloadReader::new(&mut rest).read_to_string(&mut text).unwrap();
        assert_eq!(text, "abcde");
        let next = ToWorker::from_frame(frame::read(&mut rest).unwrap().unwrap()).unwrap();
        assert_eq!(next, ToWorker::Ping { nonce: 1 });
    }

    #[test]
    fn padding_is_skipped_and_a_cut_is_an_error() {
        let complete = wire(&[piece(b"ab"), piece(b"padding"), ToWorker::PayloadEnd]);
        let mut reader = PayloadReader::new(&complete[..]);
        reader.read_exact(&mut [0; 1]).unwrap();
        reader.finish().unwrap();

        let cut = wire(&[piece(b"ab")]);
        assert!(PayloadReader::new(&cut[..]).read_to_end(&mut Vec::new()).is_err());
        let misplaced = wire(&[piece(b"ab"), ToWorker::Ping { nonce: 1 }]);
        assert!(PayloadReader::new(&misplaced[..]).read_to_end(&mut Vec::new()).is_err());
    }
}
