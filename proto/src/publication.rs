//! What goes in front of a model file when it is published with more than the file: length of a head
//! as four bytes, big-endian; the head, JSON; the file. So one request brings all of a version.

use serde::{Deserialize, Serialize};

use crate::model_card::{CardError, MAX_CARD_BYTES, ModelCard};

/// Media type of head and file.
pub const PUBLICATION_TYPE: &str = "application/vnd.edgeformer.publication.v1";
/// Longest head: the longest card.
pub const MAX_HEAD_BYTES: usize = MAX_CARD_BYTES + (1 << 10);
/// Bytes of the head's length.
pub const LENGTH_BYTES: usize = 4;

/// Why a head is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublicationError {
    /// The length is none.
    #[error(
        "the head of the publication is {found} bytes long, at most {MAX_HEAD_BYTES} are taken"
    )]
    TooLong {
        /// Its length.
        found: usize,
    },
    /// Not the JSON that it should be.
    #[error("the head of the publication cannot be read: {0}")]
    Json(String),
    /// What is said of the model.
    #[error(transparent)]
    Card(#[from] CardError),
}

/// What is published with a file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publication {
    /// What people say about the version.
    #[serde(default, skip_serializing_if = "ModelCard::is_empty")]
    pub card: ModelCard,
}

impl Publication {
    /// Whether there is nothing beside the file, so that the file can be sent as it is.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What goes in front of the file: length and head.
    ///
    /// # Errors
    /// What [`Self::from_json`] would say of it.
    pub fn to_head(&self) -> Result<Vec<u8>, PublicationError> {
        let json = serde_json::to_vec(self).expect("a publication has only text keys");
        Self::from_json(&json)?;
        let length = u32::try_from(json.len()).unwrap_or(u32::MAX).to_be_bytes();
        Ok([&length[..], &json].concat())
    }

    /// Length of the head from its first bytes.
    ///
    /// # Errors
    /// [`PublicationError::TooLong`].
    pub fn head_bytes(length: [u8; LENGTH_BYTES]) -> Result<usize, PublicationError> {
        let found = u32::from_be_bytes(length) as usize;
        if found > MAX_HEAD_BYTES {
            return Err(PublicationError::TooLong { found });
        }
        Ok(found)
    }

    /// Reads a head, without its length.
    ///
    /// # Errors
    /// [`PublicationError`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, PublicationError> {
        if bytes.len() > MAX_HEAD_BYTES {
            return Err(PublicationError::TooLong { found: bytes.len() });
        }
        // A list of its values would be read too.
        if bytes.first() != Some(&b'{') {
            return Err(PublicationError::Json("it does not begin with {".to_owned()));
        }
        let read: Self = serde_json::from_slice(bytes)
            .map_err(|error| PublicationError::Json(error.to_string()))?;
        read.card.check()?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_reads_back_and_is_bounded() {
        let card = ModelCard { license: Some("MIT".to_owned()), ..ModelCard::default() };
        let publication = Publication { card };
        let head = publication.to_head().unwrap();
        let (length, json) = head.split_first_chunk::<LENGTH_BYTES>().unwrap();
        assert_eq!(Publication::head_bytes(*length).unwrap(), json.len());
        assert_eq!(Publication::from_json(json).unwrap(), publication);
        assert!(Publication::from_json(b"{}").unwrap().is_empty() && !publication.is_empty());
        assert!(Publication::head_bytes([0xff; 4]).is_err());
        assert!(Publication::from_json(&vec![b' '; MAX_HEAD_BYTES + 1]).is_err());
        assert!(Publication::from_json(br#"{"card":{"license":""}}"#).is_err());
        assert!(Publication::from_json(br#"{"other":1}"#).is_err());
        assert!(Publication::from_json(b"[]").is_err());
        let card = ModelCard { license: Some(String::new()), ..ModelCard::default() };
        assert!(Publication { card }.to_head().is_err());
    }
}
