//! Transactions that know whose data they may touch. Store functions take `&mut Conn<S>` to read and
//! `&mut Write<S>` to write, and bind `conn.key()` as the tenant.

use edgeformer_proto::ids::TenantId;
use sqlx::any::Any;
use sqlx::{AnyConnection, AssertSqlSafe, SqlSafeStr, SqlStr, Transaction};
use std::ops::{Deref, DerefMut};

use super::audit_subjects::KnownSalts;
use super::row_security::{self, View};
use super::turns::Turn;
use super::{Backend, Store, StoreError, approvals, audit_log, idempotency};
use crate::audit::{Intent, Outcome, Resource};
use crate::clock::Timestamp;
use crate::policy::{Facts, Refused};
use crate::scope::{InstallationScope, Scope, TenantScope};

/// A connection inside a transaction, for the data of one scope.
#[derive(Debug)]
pub struct Conn<S> {
    tx: Tx,
    scope: S,
    key: String,
    backend: Backend,
}

#[derive(Debug)]
enum Tx {
    Own(Transaction<'static, Any>),
    Shared(Turn),
}

impl<S: Scope> Conn<S> {
    async fn begin(store: &Store, scope: &S, statement: SqlStr) -> Result<Self, StoreError> {
        let tx = store.pool.begin_with(statement).await.map_err(StoreError::doing(BEGINNING))?;
        Ok(Self::new(store, scope, Tx::Own(tx)))
    }

    fn new(store: &Store, scope: &S, tx: Tx) -> Self {
        Self { tx, scope: scope.clone(), key: scope.key(), backend: store.backend }
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
        match &mut self.tx {
            Tx::Own(tx) => tx,
            Tx::Shared(turn) => turn.db(),
        }
    }
}

const BEGINNING: &str = "beginning a transaction";

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
    conn: Conn<S>,
    intent: Option<Intent>,
    salts: KnownSalts,
}

impl<S: Scope> Write<S> {
    pub(super) async fn begin(
        store: &Store,
        scope: &S,
        intent: Option<Intent>,
        view: View<'_>,
    ) -> Result<Self, StoreError> {
        let conn = match &store.turns {
            Some(turns) => {
                let turn = turns.next().await.map_err(StoreError::doing(BEGINNING))?;
                Conn::new(store, scope, Tx::Shared(turn))
            }
            None => Conn::begin(store, scope, postgres("", scope, view)).await?,
        };
        Ok(Self { conn, intent, salts: KnownSalts::new(&store.salts) })
    }

    /// Names what was made or changed, when the intent could not know it yet.
    pub fn resource(&mut self, resource: Resource) {
        if let Some(intent) = &mut self.intent {
            intent.resource = resource;
        }
    }

    /// Salts that need not be asked for.
    pub(in crate::store) fn salts(&mut self) -> &mut KnownSalts {
        &mut self.salts
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
        let Self { conn, intent: _, salts } = self;
        match conn.tx {
            Tx::Own(tx) => tx.commit().await.map_err(|error| StoreError::Commit(error.into()))?,
            Tx::Shared(turn) => turn.commit().await?,
        }
        salts.keep(now);
        Ok(())
    }

    /// Undoes everything now instead of when dropped.
    pub async fn rollback(self) -> Result<(), StoreError> {
        match self.conn.tx {
            Tx::Own(tx) => tx.rollback().await.map_err(StoreError::doing("undoing a transaction")),
            Tx::Shared(turn) => {
                // The next writer undoes it before anything else.
                drop(turn);
                Ok(())
            }
        }
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
        let Self { mut conn, intent, salts } = self;
        let key = scope.key();
        if conn.backend == Backend::Postgres {
            sqlx::raw_sql(AssertSqlSafe(row_security::enter(&key)))
                .execute(conn.db())
                .await
                .map_err(StoreError::doing("entering a tenant"))?;
        }
        let Conn { tx, scope: _, key: _, backend } = conn;
        Ok(Write { conn: Conn { tx, scope, key, backend }, intent, salts })
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
