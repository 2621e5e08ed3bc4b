//! Opening a database and bringing its schema up to date.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::Connection;
use sqlx::any::AnyPoolOptions;
use sqlx::migrate::Migrator;

use super::turns::Turns;
use super::{Backend, Store, StoreError, row_security};

static SQLITE: Migrator = sqlx::migrate!("../migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("../migrations/postgres");

/// SQLite readers run beside the one writer; more of them than this gain nothing on its file.
const SQLITE_CONNECTIONS: u32 = 8;
/// PostgreSQL allows 100 in all by default; this leaves room for several controllers.
const POSTGRES_CONNECTIONS: u32 = 16;
/// A request that waits this long for a connection is better answered with an error.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection that was used within this time is taken to be alive.
const IDLE_UNTESTED: Duration = Duration::from_secs(1);

impl Backend {
    /// By the URL's scheme.
    pub fn of(url: &str) -> Result<Self, StoreError> {
        match url.split_once(':') {
            Some(("sqlite", _)) => Ok(Self::Sqlite),
            Some(("postgres" | "postgresql", _)) => Ok(Self::Postgres),
            _ => Err(StoreError::Url(without_password(url))),
        }
    }

    fn migrator(self) -> &'static Migrator {
        match self {
            Self::Sqlite => &SQLITE,
            Self::Postgres => &POSTGRES,
        }
    }
}

/// The URL of a SQLite file; `create` makes it if it is not there.
pub fn sqlite_url(path: &Path, create: bool) -> String {
    let mut escaped = String::new();
    for byte in path.to_string_lossy().bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                escaped.push(char::from(byte));
            }
            other => escaped.push_str(&format!("%{other:02X}")),
        }
    }
    format!("sqlite://{escaped}?mode={}", if create { "rwc" } else { "rw" })
}

/// The URL as it may be shown.
pub fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    match rest.rsplit_once('@') {
        Some((login, host)) => {
            let user = login.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}@{host}")
        }
        None => url.to_owned(),
    }
}

impl Store {
    /// Opens the database; does not look at its schema.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let backend = Backend::of(url)?;
        let connections = match backend {
            Backend::Sqlite => SQLITE_CONNECTIONS,
            Backend::Postgres => POSTGRES_CONNECTIONS,
        };
        let pool = AnyPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            // Asking each time whether the database is still there costs a round trip.
            .test_before_acquire(false)
            .before_acquire(|connection, meta| {
                Box::pin(async move {
                    Ok(meta.idle_for < IDLE_UNTESTED || connection.ping().await.is_ok())
                })
            })
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    if backend == Backend::Sqlite {
                        // FULL: a device must never hold a generation that a power cut took from us.
                        sqlx::raw_sql(
                            "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; \
                             PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;",
                        )
                        .execute(connection)
                        .await?;
                    }
                    Ok(())
                })
            })
            .connect(url)
            .await
            .map_err(|source| StoreError::Open { url: without_password(url), source })?;
        let turns = (backend == Backend::Sqlite).then(|| Turns::new(pool.clone()));
        Ok(Self { pool, backend, turns, salts: Arc::default() })
    }

    /// Applies the migrations that are missing. Safe to run from several controllers at once.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let _paused = self.pause().await;
        self.backend.migrator().run(&self.pool).await?;
        row_security::build(self).await
    }

    /// Refuses a database whose schema is not the one this program was built for.
    pub async fn check_schema(&self) -> Result<(), StoreError> {
        let needed = self.backend.migrator().iter().map(|one| one.version).max().unwrap_or(0);
        let found = self.schema_version().await?;
        let advice = match found.cmp(&needed) {
            std::cmp::Ordering::Equal => return Ok(()),
            std::cmp::Ordering::Less => "run `edgeformer-controller migrate` first",
            std::cmp::Ordering::Greater => "use the controller version that migrated it, or newer",
        };
        Err(StoreError::Schema { found, needed, advice })
    }

    /// Refuses a database in which tenants are not walled off from each other.
    pub async fn check_wall(&self) -> Result<(), StoreError> {
        row_security::check(self).await
    }

    /// Newest migration applied; 0 for an empty database.
    pub async fn schema_version(&self) -> Result<i64, StoreError> {
        let exists = match self.backend {
            Backend::Sqlite => "SELECT count(*) FROM sqlite_master WHERE name = '_sqlx_migrations'",
            Backend::Postgres => {
                "SELECT count(*) FROM information_schema.tables \
                 WHERE table_name = '_sqlx_migrations' AND table_schema = current_schema()"
            }
        };
        let doing = "reading the schema version";
        let (tables,): (i64,) =
            sqlx::query_as(exists).fetch_one(&self.pool).await.map_err(StoreError::doing(doing))?;
        if tables == 0 {
            return Ok(0);
        }
        let (version,): (i64,) = sqlx::query_as(
            "SELECT CAST(coalesce(max(version), 0) AS BIGINT) FROM _sqlx_migrations",
        )
        .fetch_one(&self.pool)
        .await
        .map_err(StoreError::doing(doing))?;
        Ok(version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_odd_characters_becomes_a_url() {
        let url = sqlite_url(Path::new("/data/a b?c#d%/x.db"), true);
        assert_eq!(url, "sqlite:///data/a%20b%3Fc%23d%25/x.db?mode=rwc");
    }

    #[test]
    fn a_password_is_never_shown() {
        assert_eq!(without_password("postgres://me:s@cr:t@db:5432/x"), "postgres://me@db:5432/x");
        assert!(matches!(Backend::of("mysql://h/x"), Err(StoreError::Url(_))));
    }
}
