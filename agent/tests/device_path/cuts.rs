//! Connections that break at any byte: a proxy between the agent and its controller cuts each after a
//! length that a seed chooses, in the middle of whatever is on its way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use edgeformer_proto::v1::SlotPhase;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Controller, Setup, TOKEN, enroll, phase};

const SEED: u64 = 20_261_125;

/// Connections that are cut; those after them are not.
const CUTS: usize = 12;

/// The model, in pieces that do not compress: a cut comes after a quarter of it at the latest, and a
/// connection takes a few kilobytes to come up.
const PIECES: usize = 48;
const PIECE_BYTES: usize = 64 << 10;

struct Proxy {
    address: String,
    /// Bytes that reached the agent.
    bytes: Arc<AtomicU64>,
    cuts: Arc<AtomicUsize>,
    /// Cuts from now on.
    armed: Arc<AtomicUsize>,
}

impl Proxy {
    async fn start(upstream: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let proxy =
            Self { address, bytes: Arc::default(), cuts: Arc::default(), armed: Arc::default() };
        let (bytes, cuts, armed) = (proxy.bytes.clone(), proxy.cuts.clone(), proxy.armed.clone());
        tokio::spawn(async move {
            let mut rng = StdRng::seed_from_u64(SEED);
            while let Ok((near, _)) = listener.accept().await {
                let left = armed.load(Ordering::SeqCst);
                let whole = (PIECES * PIECE_BYTES) as u64;
                let limit = match left {
                    0 => u64::MAX,
                    _ => 8_000 + rng.random_range(0..whole / 4),
                };
                armed.store(left.saturating_sub(1), Ordering::SeqCst);
                let far = TcpStream::connect(&upstream).await.unwrap();
                tokio::spawn(carry(near, far, limit, bytes.clone(), cuts.clone()));
            }
        });
        proxy
    }
}

/// Carries bytes until one side ends, or `limit` of them reached the agent.
async fn carry(
    near: TcpStream,
    far: TcpStream,
    limit: u64,
    bytes: Arc<AtomicU64>,
    cuts: Arc<AtomicUsize>,
) {
    let (mut near_read, mut near_write) = near.into_split();
    let (mut far_read, mut far_write) = far.into_split();
    let up = async { tokio::io::copy(&mut near_read, &mut far_write).await };
    let down = async {
        let (mut left, mut buffer) = (limit, vec![0; 4096]);
        while left > 0 {
            let Ok(read) = far_read.read(&mut buffer).await else { return };
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(read);
            if read == 0 || near_write.write_all(&buffer[..most]).await.is_err() {
                return;
            }
            left -= most as u64;
            bytes.fetch_add(most as u64, Ordering::SeqCst);
        }
        cuts.fetch_add(1, Ordering::SeqCst);
    };
    tokio::select! {
        _ = up => {}
        () = down => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_that_is_cut_at_random_bytes_ends_whole_and_fetches_nothing_twice_but_what_was_cut()
{
    let controller = Controller::start().await;
    let proxy = Proxy::start(controller.url.replace("https://", "")).await;
    let near = Controller { url: format!("https://{}", proxy.address), ..controller.clone() };
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    enroll(&near, &state, &controller.inner.root_pem, TOKEN).await.unwrap();
    let version = controller.inner.publisher.publish_random(1, PIECES, PIECE_BYTES);
    let before = proxy.bytes.load(Ordering::SeqCst);
    proxy.armed.store(CUTS, Ordering::SeqCst);
    let agent = Setup::new(&state).start();
    controller.assign(1, &version);
    phase(&controller, &version, SlotPhase::Confirmed).await;
    assert_eq!(agent.workers.payload("m").unwrap(), version.payload);
    agent.stop().await;

    let cuts = proxy.cuts.load(Ordering::SeqCst);
    assert!(cuts >= 3, "{cuts} connections were cut");
    let bytes = proxy.bytes.load(Ordering::SeqCst) - before;
    // A cut loses at most a chunk of each of three calls that run at a time, and what comes up with a
    // connection; without resume it would lose everything before it.
    let lost = (cuts * (3 * PIECE_BYTES + (16 << 10))) as u64;
    let most = version.chunk_bytes + lost + (64 << 10);
    assert!(
        bytes <= most,
        "{bytes} bytes for {} and {cuts} cuts, at most {most}",
        version.chunk_bytes
    );
}
