//! The head of an upload that brings more than a file. It is read before anything is stored, bounded
//! in length and in time; what follows it is the file.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use edgeformer_proto::publication::{LENGTH_BYTES, Publication, PublicationError};
use futures::{Stream, StreamExt as _, stream};
use tokio::time::timeout;

/// Longest time for a head, also over a poor line.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a head is not taken.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    /// It is not all there.
    #[error("the upload broke off within the head of the publication: publish again")]
    Interrupted,
    /// It does not come.
    #[error("the head of the publication did not arrive within {} seconds: publish again", HEAD_TIMEOUT.as_secs())]
    Late,
    /// It is none.
    #[error(transparent)]
    Publication(#[from] PublicationError),
}

/// The head of `body`, and the file that follows. Without one, all of `body` is the file.
pub async fn split<E>(
    body: impl Stream<Item = Result<Bytes, E>>,
    has_head: bool,
) -> Result<(Publication, impl Stream<Item = Result<Bytes, E>>), HeadError> {
    let mut body = Box::pin(body);
    let (publication, rest) = match has_head {
        false => (Publication::default(), None),
        true => {
            let read = timeout(HEAD_TIMEOUT, read(&mut body)).await;
            let (publication, rest) = read.map_err(|_| HeadError::Late)??;
            (publication, Some(Ok(rest)))
        }
    };
    Ok((publication, stream::iter(rest).chain(body)))
}

async fn read<E>(
    body: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin),
) -> Result<(Publication, Bytes), HeadError> {
    let mut seen = BytesMut::new();
    let mut needed = LENGTH_BYTES;
    loop {
        while seen.len() < needed {
            let part = body.next().await.and_then(Result::ok).ok_or(HeadError::Interrupted)?;
            seen.extend_from_slice(&part);
        }
        let length = seen.first_chunk::<LENGTH_BYTES>().ok_or(HeadError::Interrupted)?;
        let whole = LENGTH_BYTES + Publication::head_bytes(*length)?;
        if needed == whole {
            let head = seen.split_to(whole);
            return Ok((Publication::from_json(&head[LENGTH_BYTES..])?, seen.freeze()));
        }
        needed = whole;
    }
}

#[cfg(test)]
mod tests {
    use edgeformer_proto::model_card::ModelCard;

    use super::*;

    type Part = Result<Bytes, std::io::Error>;

    fn parts(bytes: &[u8], size: usize) -> impl Stream<Item = Part> {
        let parts: Vec<Part> =
            bytes.chunks(size).map(|part| Ok(Bytes::copy_from_slice(part))).collect();
        stream::iter(parts)
    }

    async fn rest(body: impl Stream<Item = Part>) -> Vec<u8> {
        let parts: Vec<Part> = body.collect().await;
        parts.into_iter().flat_map(Result::unwrap).collect()
    }

    #[tokio::test]
    async fn the_file_follows_the_head_wherever_the_body_is_cut() {
        let card = ModelCard { license: Some("MIT".to_owned()), ..ModelCard::default() };
        let sent = Publication { card };
        let body = [&sent.to_head().unwrap()[..], b"the file"].concat();
        for size in [1, 3, 4, 5, body.len() - 8, body.len()] {
            let (publication, file) = split(parts(&body, size), true).await.unwrap();
            assert_eq!(publication, sent);
            assert_eq!(rest(file).await, b"the file", "parts of {size} bytes");
        }
        let (publication, file) = split(parts(&body, 7), false).await.unwrap();
        assert!(publication.is_empty());
        assert_eq!(rest(file).await, body);
    }

    #[tokio::test]
    async fn a_head_that_is_cut_endless_or_none_is_refused() {
        let whole = Publication::default().to_head().unwrap();
        for cut in 0..whole.len() {
            let refused = split(parts(&whole[..cut], 3), true).await.err().unwrap();
            assert!(matches!(refused, HeadError::Interrupted), "{refused}");
        }
        let endless = split(parts(&[0xff; 64], 8), true).await.err().unwrap();
        assert!(endless.to_string().contains("at most"), "{endless}");
        let none = split(parts(b"\0\0\0\x04GGUF", 8), true).await.err().unwrap();
        assert!(none.to_string().contains("cannot be read"), "{none}");
    }
}
