//! Keeps hearing what other controllers announce about devices, and knows when it does not: a pooler
//! between controller and database swallows such news without a word. Then the hub polls instead.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::hub::Hub;
use crate::store::StoreError;
use crate::store::devices::announce::News;

/// How often it is tried whether news arrive; what was tried must have arrived by the next time.
const PING_INTERVAL: Duration = Duration::from_secs(1);
/// After a connection that could not be made.
const RETRY: Duration = Duration::from_secs(2);

/// Listens until shutdown.
pub(super) async fn run(hub: Arc<Hub>) {
    loop {
        let listened = tokio::select! {
            () = hub.shutdown().cancelled() => return,
            listened = listen(&hub) => listened,
        };
        match listened {
            // One controller alone: its own nudges say everything.
            Ok(()) => return hub.set_told(true),
            Err(error) => {
                hub.set_told(false);
                tracing::warn!(%error, "news of other controllers do not arrive; polling instead");
            }
        }
        tokio::select! {
            () = hub.shutdown().cancelled() => return,
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}

async fn listen(hub: &Arc<Hub>) -> Result<(), StoreError> {
    let app = hub.app();
    let Some(mut listener) = app.store.listen().await? else { return Ok(()) };
    let mut ping_at = Instant::now();
    let mut is_answered = true;
    loop {
        tokio::select! {
            news = listener.next() => {
                is_answered |= hear(hub, news?);
                if is_answered {
                    hub.set_told(true);
                }
            }
            () = sleep_until(ping_at) => {
                if !is_answered {
                    hub.set_told(false);
                }
                is_answered = false;
                ping_at = Instant::now() + PING_INTERVAL;
                app.store.ping(app.instance(), app.now()).await?;
            }
        }
    }
}

/// Passes news on; says whether it was our own ping.
fn hear(hub: &Arc<Hub>, news: News) -> bool {
    match news {
        News::Device(tenant, device) => hub.wake(&(tenant, device)),
        News::Missed => hub.wake_all(),
        News::Ping(name) => return name == hub.app().instance(),
    }
    false
}
