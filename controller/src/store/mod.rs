//! The store: one SQL text for SQLite and PostgreSQL through `sqlx::any`.
//!
//! A connection is only to be had inside a transaction, and a transaction only for a scope, so a
//! query that belongs to no tenant cannot be written. A writing transaction carries the intent of
//! the action and commits its audit record with it. Never hold one open across network I/O.

pub mod api_tokens;
pub mod approvals;
pub mod assignments;
pub mod audit_log;
pub mod audit_retention;
pub mod audit_sinks;
pub mod audit_subjects;
pub mod audit_tree;
pub mod audit_witnesses;
pub mod candidates;
pub mod connect;
pub mod device_logins;
pub mod devices;
pub mod dump;
pub mod enrolment_tokens;
pub mod enrolments;
pub mod entitlements;
pub mod erasures;
pub mod federation_rules;
pub mod groups;
pub mod idempotency;
pub mod identity_providers;
pub mod installation;
pub mod login_sessions;
pub mod model_signing_keys;
pub mod past_cas;
pub mod policies;
pub mod presence;
pub mod privacy;
pub mod rollout_devices;
pub mod rollouts;
pub mod row_security;
pub mod scim;
pub mod service_accounts;
pub mod sessions;
pub mod sso_logins;
pub mod telemetry;
pub mod tenant_rows;
pub mod tenants;
pub mod transaction;
pub mod trust;
mod turns;
pub mod user_identities;
pub mod users;
pub mod version_documents;
pub mod versions;

use std::borrow::Cow;
use std::sync::Arc;

use sqlx::AnyPool;

use crate::audit::{Intent, Outcome};
use crate::clock::Timestamp;
use crate::policy::Action;
use crate::scope::{InstallationScope, Scope};
use edgeformer_proto::ids::ApprovalId;
use row_security::View;
pub use transaction::{Conn, Read, Write};
use turns::Turns;

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// A file beside the controller.
    Sqlite,
    /// A server, shared by several controllers.
    Postgres,
}

/// An operation of the store that failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL is for no database that is supported.
    #[error("{0:?} is not a database URL: it must start with sqlite: or postgres://")]
    Url(String),
    /// The database could not be opened.
    #[error("cannot open the database {url}: {source}")]
    Open {
        /// Without its password.
        url: String,
        /// What the driver says.
        source: sqlx::Error,
    },
    /// The schema could not be brought up to date.
    #[error("cannot migrate the database: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// The schema is older or newer than this program.
    #[error("the database is at schema {found}, this program needs {needed}: {advice}")]
    Schema {
        /// Newest migration applied.
        found: i64,
        /// Newest migration known.
        needed: i64,
        /// What to do.
        advice: &'static str,
    },
    /// A query failed.
    #[error("{doing}: {source}")]
    Query {
        /// What was being done.
        doing: &'static str,
        /// What the driver says.
        source: sqlx::Error,
    },
    /// A transaction did not reach the disk: nothing in it happened.
    #[error("committing a transaction: {0}")]
    Commit(Arc<sqlx::Error>),
    /// Our own mistake: a use-case that would commit without having asked policy about the thing.
    #[error("{} was about to be committed without a decision about the thing itself", .0.as_str())]
    Undecided(Action),
    /// The approval that the transaction goes by was used or rejected meanwhile.
    #[error("approval {0} was used or rejected meanwhile")]
    ApprovalGone(ApprovalId),
    /// Row-level security is not there or does not hold.
    #[error("the wall between tenants in the database does not hold: {0}")]
    Wall(String),
    /// A row holds what it cannot hold.
    #[error("{table} row {id:?} is damaged: {what}")]
    Damaged {
        /// The table.
        table: &'static str,
        /// The row's id.
        id: String,
        /// What is wrong with it.
        what: String,
    },
}

impl StoreError {
    /// For `map_err`: names what was being done.
    pub fn doing(doing: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Query { doing, source }
    }

    /// What the database calls it, if it was the database that said no.
    pub fn database_code(&self) -> Option<Cow<'_, str>> {
        let source = match self {
            Self::Query { source, .. } => source,
            Self::Commit(source) => source,
            _ => return None,
        };
        source.as_database_error().and_then(|error| error.code())
    }

    /// Whether a unique index refused the row.
    pub fn is_conflict(&self) -> bool {
        match self {
            Self::Query { source: sqlx::Error::Database(error), .. } => error.is_unique_violation(),
            _ => false,
        }
    }
}

/// Reads an id out of a row.
pub fn parse_id<T: std::str::FromStr>(table: &'static str, text: &str) -> Result<T, StoreError>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| StoreError::Damaged {
        table,
        id: text.to_owned(),
        what: error.to_string(),
    })
}

/// Reads a JSON column of the row `id`.
pub fn parse_json<T: serde::de::DeserializeOwned>(
    table: &'static str,
    id: &str,
    text: &str,
) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Damaged {
        table,
        id: id.to_owned(),
        what: error.to_string(),
    })
}

/// A JSON column. Maps are sorted, so that equal values are equal text.
pub fn to_json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("columns hold maps with string keys")
}

/// A pool of connections to one database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    pool: AnyPool,
    backend: Backend,
    /// SQLite has one writer; PostgreSQL lets everybody in.
    turns: Option<Turns>,
    salts: Arc<audit_subjects::KeptSalts>,
}

impl Store {
    /// Which database this is.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// A consistent view of what `scope` may read.
    pub async fn read<S: Scope>(&self, scope: &S) -> Result<Read<S>, StoreError> {
        Read::begin(self, scope, View::Own).await
    }

    /// What the installation may read, and the credential with this SHA-256, whosever it is.
    pub async fn read_presented(
        &self,
        scope: &InstallationScope,
        secret_sha256: &[u8; 32],
    ) -> Result<Read<InstallationScope>, StoreError> {
        Read::begin(self, scope, View::Presented(secret_sha256)).await
    }

    /// Everything, for a backup.
    pub async fn read_everything(
        &self,
        scope: &InstallationScope,
    ) -> Result<Read<InstallationScope>, StoreError> {
        Read::begin(self, scope, View::Everything).await
    }

    /// A transaction on everything, for a restore.
    pub async fn write_everything(
        &self,
        scope: &InstallationScope,
        intent: Intent,
    ) -> Result<Write<InstallationScope>, StoreError> {
        Write::begin(self, scope, Some(intent), View::Everything).await
    }

    /// A transaction that does `intent`; committing it also commits the audit record.
    pub async fn write<S: Scope>(&self, scope: &S, intent: Intent) -> Result<Write<S>, StoreError> {
        Write::begin(self, scope, Some(intent), View::Own).await
    }

    /// A transaction without an audit record. Only for what nobody decided: observations that
    /// devices report (presence, status, telemetry) and the store's own housekeeping.
    pub async fn write_observation<S: Scope>(&self, scope: &S) -> Result<Write<S>, StoreError> {
        Write::begin(self, scope, None, View::Own).await
    }

    /// Records an action that was refused or failed, or one whose effects lie outside the store.
    pub async fn record<S: Scope>(
        &self,
        scope: &S,
        intent: Intent,
        outcome: Outcome,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut write = Write::begin(self, scope, None, View::Own).await?;
        audit_log::enqueue(&mut write, intent, outcome, now).await?;
        write.commit(now).await
    }

    /// Returns when every change that a writer may have seen until now is where readers see it and on
    /// the disk. Whoever was refused for the sake of such a change waits for it before reading it, or
    /// telling anybody of it.
    ///
    /// # Errors
    /// The changes could not be committed, and what they refused would be accepted now.
    pub async fn settled(&self) -> Result<(), StoreError> {
        match &self.turns {
            Some(turns) => turns.settled().await,
            None => Ok(()),
        }
    }

    /// On SQLite, keeps everybody else from writing while the guard lives.
    async fn pause(&self) -> impl Sized + use<> {
        match &self.turns {
            Some(turns) => Some(turns.pause().await),
            None => None,
        }
    }

    /// Closes the pool; waits for running transactions.
    pub async fn close(&self) {
        let _paused = self.pause().await;
        self.pool.close().await;
    }
}
