//! Publishing a file: its digest first, then one streamed PUT. The file is never held in memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use bytes::Bytes;
use edgeformer_proto::publication::PUBLICATION_TYPE;
use futures::{StreamExt as _, stream};
use reqwest::Body;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use ring::digest::{Context, Digest, SHA256};
use tokio::io::AsyncReadExt as _;
use tokio_util::io::ReaderStream;

use super::endpoints::PUT_PAYLOAD;
use super::request::{Answer, Outcome as _};
use super::types::Version;
use super::{Client, ClientError, retry};

/// Large enough that system calls do not count, small enough for a smooth progress bar.
const PIECE_BYTES: usize = 256 << 10;

/// A file that is to become a version.
pub struct Upload {
    pub model: String,
    pub version: String,
    pub file: PathBuf,
    pub size_bytes: u64,
    pub sha256: Digest,
    /// In front of the file, if anything goes with it.
    pub head: Option<Vec<u8>>,
}

/// SHA-256 and size of a file; `progress` hears of the bytes read so far.
///
/// # Errors
/// [`ClientError::File`].
pub async fn digest_file(
    path: &Path,
    progress: impl Fn(u64),
) -> Result<(Digest, u64), ClientError> {
    let fail = |source| ClientError::File { path: path.display().to_string(), source };
    let mut file = tokio::fs::File::open(path).await.map_err(fail)?;
    let mut context = Context::new(&SHA256);
    let mut piece = vec![0; PIECE_BYTES];
    let mut size_bytes = 0;
    loop {
        let count = file.read(&mut piece).await.map_err(fail)?;
        if count == 0 {
            return Ok((context.finish(), size_bytes));
        }
        context.update(&piece[..count]);
        size_bytes += count as u64;
        progress(size_bytes);
    }
}

impl Client {
    /// Sends the file. A broken connection starts over: the operation is idempotent. `progress`
    /// hears of the bytes handed to the connection so far in this attempt.
    ///
    /// # Errors
    /// What [`ClientError`] names.
    pub async fn publish(
        &self,
        upload: &Upload,
        progress: Arc<dyn Fn(u64) + Send + Sync>,
    ) -> Result<Answer<Version>, ClientError> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let (trouble, error) = match self.put_once(upload, &progress).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            let delay = trouble.and_then(|t| retry::delay(&PUT_PAYLOAD.method, t, attempts, 0.5));
            match delay {
                Some(delay) => tokio::time::sleep(delay).await,
                None => return Err(error),
            }
        }
    }

    async fn put_once(
        &self,
        upload: &Upload,
        progress: &Arc<dyn Fn(u64) + Send + Sync>,
    ) -> Result<Answer<Version>, (Option<retry::Trouble>, ClientError)> {
        let path = || upload.file.display().to_string();
        let file = tokio::fs::File::open(&upload.file)
            .await
            .map_err(|source| (None, ClientError::File { path: path(), source }))?;
        // A file that grew meanwhile must not outgrow its announced length.
        let reader = ReaderStream::with_capacity(file.take(upload.size_bytes), PIECE_BYTES);
        let progress = Arc::clone(progress);
        let mut sent = 0;
        let stream = reader.inspect(move |piece| {
            sent += piece.as_ref().map_or(0, |bytes| bytes.len() as u64);
            progress(sent);
        });
        let head = upload.head.clone();
        let kind = if head.is_some() { PUBLICATION_TYPE } else { "application/octet-stream" };
        let size_bytes = upload.size_bytes + head.as_ref().map_or(0, |head| head.len() as u64);
        let stream = stream::iter(head.map(|head| Ok(Bytes::from(head)))).chain(stream);
        let digest = base64::engine::general_purpose::STANDARD.encode(upload.sha256.as_ref());
        let url = self.call(&PUT_PAYLOAD).path(&upload.model).path(&upload.version).into_url();
        let response = self
            .http
            .request(PUT_PAYLOAD.method, url)
            .bearer_auth(self.token.reveal())
            .headers(self.headers.clone())
            .header(CONTENT_TYPE, kind)
            .header(CONTENT_LENGTH, size_bytes)
            .header("Digest", format!("sha-256={digest}"))
            .body(Body::wrap_stream(stream))
            .send()
            .await
            .map_err(|error| self.no_answer(&error))?;
        let (status, _, raw) = self.read(PUT_PAYLOAD.operation, response).await?;
        let value = Version::parse(&raw).map_err(|why| {
            let (operation, url) = (PUT_PAYLOAD.operation, self.url().to_owned());
            (None, ClientError::NotUnderstood { operation, url, status, why })
        })?;
        Ok(Answer { value, raw, etag: None, status })
    }
}
