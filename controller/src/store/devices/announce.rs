//! News between controllers on one PostgreSQL: that a device's standing changed, told with the commit
//! that changed it (NOTIFY), heard by all (LISTEN).
//!
//! A message is a hint and nothing else: whoever hears it reads the store. On SQLite there is one
//! controller and nothing to tell.

use std::str::FromStr;

use edgeformer_proto::ids::{DeviceId, TenantId};
use sqlx::postgres::PgListener;

use crate::clock::Timestamp;
use crate::scope::{InstallationScope, Scope, TenantScope};
use crate::store::{Backend, Store, StoreError, Write};

const CHANNEL: &str = "edgeformer_devices";
/// Before a controller's own name, in messages that it sends itself.
const PING: &str = "ping";

/// What was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// This device's standing changed.
    Device(TenantId, DeviceId),
    /// Somebody, by this name, tries whether news arrives.
    Ping(String),
    /// The connection was lost and is there again: anything may have been missed.
    Missed,
}

/// Hears what other controllers, and this one, announce.
pub struct Listener(PgListener);

impl Store {
    /// A listener of its own connection; none on SQLite.
    pub async fn listen(&self) -> Result<Option<Listener>, StoreError> {
        if self.backend() == Backend::Sqlite {
            return Ok(None);
        }
        let doing = || StoreError::doing("listening for news of other controllers");
        let mut listener = PgListener::connect(self.pool.connect_options().database_url.as_str())
            .await
            .map_err(doing())?;
        listener.listen(CHANNEL).await.map_err(doing())?;
        Ok(Some(Listener(listener)))
    }

    /// Sends every listener, this controller's own too, its name.
    pub async fn ping(&self, name: &str, now: Timestamp) -> Result<(), StoreError> {
        let scope = InstallationScope::system("sessions");
        let mut write = self.write_observation(&scope).await?;
        tell(&mut write, &format!("{PING}/{name}")).await?;
        write.commit(now).await
    }
}

impl Listener {
    /// The next news. What cannot be read is skipped: it is another version's.
    pub async fn next(&mut self) -> Result<News, StoreError> {
        loop {
            let heard = self.0.try_recv().await;
            let heard = heard.map_err(StoreError::doing("listening for news"))?;
            let Some(notification) = heard else { return Ok(News::Missed) };
            if let Some(news) = parse(notification.payload()) {
                return Ok(news);
            }
        }
    }
}

fn parse(payload: &str) -> Option<News> {
    let (first, second) = payload.split_once('/')?;
    if first == PING {
        return Some(News::Ping(second.to_owned()));
    }
    Some(News::Device(TenantId::from_str(first).ok()?, DeviceId::from_str(second).ok()?))
}

/// Tells all controllers, when `write` commits, that the standing of `device` changed.
pub async fn device(write: &mut Write<TenantScope>, device: DeviceId) -> Result<(), StoreError> {
    let payload = format!("{}/{device}", write.key());
    tell(write, &payload).await
}

async fn tell<S: Scope>(write: &mut Write<S>, payload: &str) -> Result<(), StoreError> {
    if write.backend() == Backend::Sqlite {
        return Ok(());
    }
    sqlx::query("SELECT pg_notify($1, $2)")
        .bind(CHANNEL)
        .bind(payload.to_owned())
        .execute(write.db())
        .await
        .map_err(StoreError::doing("telling other controllers"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_read_back_and_anything_else_is_nothing() {
        let (tenant, device) = (TenantId::new(), DeviceId::new());
        let told = News::Device(tenant, device);
        assert_eq!(parse(&format!("{tenant}/{device}")), Some(told));
        assert_eq!(parse("ping/a"), Some(News::Ping("a".into())));
        assert_eq!(parse(""), None);
        assert_eq!(parse("x/y"), None);
    }
}
