//! Transactions that know whose data they may touch. Store functions take `&mut Conn<S>` to read and
//! `&mut Write<S>` to write, and bind `conn.key()` as the tenant.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use edgeformer_proto::ids::TenantId;
use sqlx::any::Any;
use sqlx::{AnyConnection, AssertSqlSafe, SqlSafeStr, SqlStr, Transaction};
use tokio::sync::OwnedMutexGuard;

use super::row_security::{self, View};
use super::{Backend, Store, StoreError, approvals, audit_log, idempotency};
use crate::audit::{Intent, Outcome, Resource};
use crate::clock::Timestamp;
use crate::policy::{Facts, Refused};
use crate::scope::{InstallationScope, Scope, TenantScope};

/// A connection inside a transaction, for the data of one scope.
#[derive(Debug)]
pub struct Conn<S> {
    tx: Transaction<'static, Any>,
    scope: S,
    key: String,
    backend: Backend,
}

impl<S: Scope> Conn<S> {
    async fn begin(store: &Store, scope: &S, statement: SqlStr) -> Result<Self, StoreError> {
        let tx = store
            .pool
            .begin_with(statement)
            .await
            .map_err(StoreError::doing("beginning a transaction"))?;
        Ok(Self { tx, scope: scope.clone(), key: scope.key(), backend: store.backend })
    }

    /// The scope.
    pub fn scope(&self) -> &S {
        &self.scope
    }

    /// The value of `tenant_id` in the rows of this scope.
    pub fn key(&self) -> String {
        self.key.clone()
    }

    /// Which database.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// Where queries run. Only for store modules.
    pub(in crate::store) fn db(&mut self) -> &mut AnyConnection {
        &mut self.tx
    }
}

/// How a transaction begins on PostgreSQL: as whom, and on whose rows.
fn postgres<S: Scope>(mode: &str, scope: &S, view: View<'_>) -> SqlStr {
    // Safe: made of literals and of the scope's key, which is checked.
    AssertSqlSafe(row_security::begin(mode, &scope.key(), view)).into_sql_str()
}

/// A transaction that reads one consistent state.
#[derive(Debug)]
pub struct Read<S>(Conn<S>);

impl<S: Scope> Read<S> {
    pub(super) async fn begin(
        store: &Store,
        scope: &S,
        view: View<'_>,
    ) -> Result<Self, StoreError> {
        let statement = match store.backend {
            Backend::Sqlite => "BEGIN".into_sql_str(),
            Backend::Postgres => postgres("ISOLATION LEVEL REPEATABLE READ READ ONLY", scope, view),
        };
        Ok(Self(Conn::begin(store, scope, statement).await?))
    }
}

impl<S> Deref for Read<S> {
    type Target = Conn<S>;
    fn deref(&self) -> &Conn<S> {
        &self.0
    }
}

impl<S> DerefMut for Read<S> {
    fn deref_mut(&mut self) -> &mut Conn<S> {
        &mut self.0
    }
}

/// A transaction that changes something. Dropping it undoes everything.
#[derive(Debug)]
pub struct Write<S> {
    // Before the guard: the transaction ends before the next writer may begin.
    conn: Conn<S>,
    intent: Option<Intent>,
    _writer: Option<OwnedMutexGuard<()>>,
}

impl<S: Scope> Write<S> {
    pub(super) async fn begin(
        store: &Store,
        scope: &S,
        intent: Option<Intent>,
        view: View<'_>,
    ) -> Result<Self, StoreError> {
        let (writer, statement) = match store.backend {
            Backend::Sqlite => (
                Some(Arc::clone(&store.writer).lock_owned().await),
                "BEGIN IMMEDIATE".into_sql_str(),
            ),
            Backend::Postgres => (None, postgres("", scope, view)),
        };
        let conn = Conn::begin(store, scope, statement).await?;
        Ok(Self { conn, intent, _writer: writer })
    }

    /// Names what was made or changed, when the intent could not know it yet.
    pub fn resource(&mut self, resource: Resource) {
        if let Some(intent) = &mut self.intent {
            intent.resource = resource;
        }
    }

    /// Says what it was and what it is now. Never a secret.
    pub fn changes(&mut self, before: serde_json::Value, after: serde_json::Value) {
        if let Some(intent) = self.intent.take() {
            self.intent = Some(intent.changes(before, after));
        }
    }

    /// Commits the change, its audit record, and the fact that the request's idempotency key has
    /// taken effect, all or nothing.
    pub async fn commit(mut self, now: Timestamp) -> Result<(), StoreError> {
        if let Some(intent) = self.intent.take() {
            if !self.scope().context().is_decided(intent.action) {
                return Err(StoreError::Undecided(intent.action));
            }
            // Consent is good for one act.
            if let Some(approval) = self.scope().context().approval
                && !approvals::end(&mut self, approval, approvals::State::Used).await?
            {
                return Err(StoreError::ApprovalGone(approval));
            }
            audit_log::enqueue(&mut self, intent, Outcome::Success, now).await?;
            idempotency::mark_done(&mut self).await?;
        }
        let Self { conn, intent: _, _writer } = self;
        conn.tx.commit().await.map_err(StoreError::doing("committing a transaction"))
    }

    /// Undoes everything now instead of when dropped.
    pub async fn rollback(self) -> Result<(), StoreError> {
        let Self { conn, intent: _, _writer } = self;
        conn.tx.rollback().await.map_err(StoreError::doing("undoing a transaction"))
    }
}

impl Write<InstallationScope> {
    /// The same transaction, now on the data of `tenant`: for what making a tenant does inside it.
    pub(crate) async fn enter(self, tenant: TenantId) -> Result<Write<TenantScope>, StoreError> {
        let scope = self.conn.scope.enter(tenant);
        self.moved(scope).await
    }
}

impl Write<TenantScope> {
    /// Asks policy about the thing that the intent's action is about, now that its facts are known.
    pub fn decide(&mut self, facts: &Facts) -> Result<(), Box<Refused>> {
        match &self.intent {
            Some(intent) => self.conn.scope.decide(intent.action, facts),
            None => Ok(()),
        }
    }

    /// Undoes [`Write::enter`], so that the commit's record goes to the installation's log.
    pub(crate) async fn leave(
        self,
        back: &InstallationScope,
    ) -> Result<Write<InstallationScope>, StoreError> {
        self.moved(back.clone()).await
    }
}

impl<S: Scope> Write<S> {
    async fn moved<T: Scope>(self, scope: T) -> Result<Write<T>, StoreError> {
        let Self { conn: Conn { mut tx, scope: _, key: _, backend }, intent, _writer } = self;
        let key = scope.key();
        if backend == Backend::Postgres {
            sqlx::raw_sql(AssertSqlSafe(row_security::enter(&key)))
                .execute(&mut *tx)
                .await
                .map_err(StoreError::doing("entering a tenant"))?;
        }
        Ok(Write { conn: Conn { tx, scope, key, backend }, intent, _writer })
    }
}

impl<S> Deref for Write<S> {
    type Target = Conn<S>;
    fn deref(&self) -> &Conn<S> {
        &self.conn
    }
}

impl<S> DerefMut for Write<S> {
    fn deref_mut(&mut self) -> &mut Conn<S> {
        &mut self.conn
    }
}
