//! The second wall between tenants, on PostgreSQL: row-level security, forced, under a role that owns
//! nothing and cannot lift it. The first wall is the store's functions, which take a scope; a mistake in
//! one of them, or SQL that somebody smuggles in, meets this one.
//!
//! What is walled is derived from the schema after every migration, so that no table is forgotten; a
//! table of which it is not known whose it is stops the migration. `serve` refuses a database without
//! the wall.

use sqlx::{AnyConnection, AssertSqlSafe, Row};

use super::{Backend, Store, StoreError};

/// Every transaction but those of backups runs as this role.
pub const APPLICATION: &str = "edgeformer_app";
/// Backups and restores run as this role, whose policies show everything.
pub const BACKUP: &str = "edgeformer_backup";
/// Whose transaction it is: a tenant's id, or this for the installation.
const INSTALLATION: &str = "installation";
/// Key of the lock that serialises building the wall; any number that nothing else uses.
const LOCK: i64 = 0x6564_6765_7761_6c6c;
/// Tables of the migration tool, which hold nobody's data.
const NOBODYS: &str = "_sqlx_migrations";

/// What a transaction may see.
#[derive(Debug, Clone, Copy)]
pub(super) enum View<'a> {
    /// The rows of its scope.
    Own,
    /// The installation's, and the credential with this SHA-256, whosever it is.
    Presented(&'a [u8; 32]),
    /// Everything: for backups.
    Everything,
}

/// The statement that begins a transaction of the scope with `key` (see [`crate::scope::Scope::key`]):
/// one round trip, whatever it sets.
pub(super) fn begin(mode: &str, key: &str, view: View<'_>) -> String {
    let role = match view {
        View::Everything => BACKUP,
        View::Own | View::Presented(_) => APPLICATION,
    };
    let mut sql = format!("BEGIN {mode}; SET LOCAL ROLE {role}; {}", enter(key));
    if let View::Presented(sha256) = view {
        let hex = data_encoding::HEXLOWER.encode(sha256);
        sql.push_str(&format!("; SET LOCAL edgeformer.presented = '{hex}'"));
    }
    sql
}

/// The statement that moves a transaction to the scope with `key`.
pub(super) fn enter(key: &str) -> String {
    // Keys are ids as this program prints them; anything else would be a way in.
    assert!(key.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-'), "a scope's key is an id");
    let tenant = if key.is_empty() { INSTALLATION } else { key };
    format!("SET LOCAL edgeformer.tenant = '{tenant}'")
}

/// Builds the wall, or brings it up to date.
pub(super) async fn build(store: &Store) -> Result<(), StoreError> {
    if store.backend() == Backend::Sqlite {
        return Ok(());
    }
    let doing = || StoreError::doing("building row-level security");
    let mut tx = store.pool.begin().await.map_err(doing())?;
    let sql = format!("SELECT pg_advisory_xact_lock({LOCK})");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *tx).await.map_err(doing())?;
    for role in [APPLICATION, BACKUP] {
        ensure_role(&mut tx, role).await?;
    }
    sqlx::raw_sql(AssertSqlSafe(FUNCTION)).execute(&mut *tx).await.map_err(doing())?;
    for (table, is_tenants) in tables(&mut tx).await? {
        let sql = wall(&table, is_tenants)?;
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *tx).await.map_err(doing())?;
    }
    // A login that only serves compares the schema with what it was built for.
    let sql = format!("GRANT SELECT ON {NOBODYS} TO {APPLICATION}");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *tx).await.map_err(doing())?;
    tx.commit().await.map_err(doing())
}

/// Whose transaction it is: NULL outside of one, '' for the installation, as in `tenant_id`.
const FUNCTION: &str = "CREATE OR REPLACE FUNCTION edgeformer_tenant() RETURNS TEXT \
    LANGUAGE sql STABLE PARALLEL SAFE AS $$ \
      SELECT CASE current_setting('edgeformer.tenant', true) \
        WHEN '' THEN NULL WHEN 'installation' THEN '' \
        ELSE current_setting('edgeformer.tenant', true) END $$";

/// Makes the role if it is not there, and lets this login take it.
async fn ensure_role(tx: &mut AnyConnection, role: &str) -> Result<(), StoreError> {
    // Roles belong to the whole server: another database's controller may be making them too.
    let sql = format!(
        "DO $$ BEGIN \
           IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = '{role}') THEN \
             BEGIN \
               CREATE ROLE {role} NOLOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE; \
             EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; \
             END; \
           END IF; \
           IF NOT pg_has_role(current_user, '{role}', 'member') THEN \
             EXECUTE format('GRANT {role} TO %I', current_user); \
           END IF; \
           EXECUTE format('GRANT USAGE ON SCHEMA %I TO {role}', current_schema()); \
         END $$"
    );
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(tx).await.map_err(|source| {
        let advice = format!(
            "the role {role} cannot be made or taken ({source}): run as an administrator of the \
             server `CREATE ROLE {role} NOLOGIN; GRANT {role} TO <the controller's login>`"
        );
        StoreError::Wall(advice)
    })?;
    Ok(())
}

/// The tables of the schema, and whether each has a column `tenant_id`.
async fn tables(conn: &mut AnyConnection) -> Result<Vec<(String, bool)>, StoreError> {
    let rows = sqlx::query(
        "SELECT CAST(c.relname AS TEXT) AS name, EXISTS ( \
           SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id') \
           AS walled \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p') AND c.relname <> $1 \
         ORDER BY 1",
    )
    .bind(NOBODYS)
    .fetch_all(conn)
    .await
    .map_err(StoreError::doing("listing tables"))?;
    Ok(rows.iter().map(|row| (row.get("name"), row.get("walled"))).collect())
}

/// The statements that wall one table.
fn wall(table: &str, has_tenant: bool) -> Result<String, StoreError> {
    const OWN: &str = "(SELECT edgeformer_tenant())";
    let (seen, changed) = match table {
        _ if has_tenant => (format!("tenant_id = {OWN}"), format!("tenant_id = {OWN}")),
        "tenants" => {
            let own = format!("id = {OWN} OR {OWN} = ''");
            (own.clone(), own)
        }
        // Its epoch is part of every generation; its key is wrapped.
        "installation" => ("true".to_owned(), format!("{OWN} = ''")),
        other => {
            let what = format!("it is not known whose the rows of table {other} are");
            return Err(StoreError::Wall(what));
        }
    };
    let mut policies = vec![
        format!("tenant_sees ON {table} FOR SELECT TO {APPLICATION} USING ({seen})"),
        format!("tenant_adds ON {table} FOR INSERT TO {APPLICATION} WITH CHECK ({changed})"),
        format!(
            "tenant_changes ON {table} FOR UPDATE TO {APPLICATION} USING ({changed}) \
             WITH CHECK ({changed})"
        ),
        format!("tenant_removes ON {table} FOR DELETE TO {APPLICATION} USING ({changed})"),
        // Logins that may take the role inherit its policies: it must really be taken.
        format!(
            "everything ON {table} TO {BACKUP} USING (current_user = '{BACKUP}') \
             WITH CHECK (current_user = '{BACKUP}')"
        ),
    ];
    // Whoever presents a credential does not say whose it is: its hash shows that one row.
    let presented = "(SELECT current_setting('edgeformer.presented', true))";
    let hashes: &[&str] = match table {
        "api_tokens" | "enrolment_tokens" => &["secret_sha256"],
        // The one before the newest too: presenting it ends the log-in.
        "login_sessions" => &["secret_sha256", "previous_sha256"],
        "enrolment_doors" => &["public_sha256"],
        "device_logins" => &["device_sha256", "user_code_sha256"],
        _ => &[],
    };
    let shown: Vec<_> =
        hashes.iter().map(|hash| format!("encode({hash}, 'hex') = {presented}")).collect();
    if !shown.is_empty() {
        policies.push(format!(
            "presented ON {table} FOR SELECT TO {APPLICATION} USING ({})",
            shown.join(" OR ")
        ));
    }
    let mut sql = format!(
        "GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {APPLICATION}, {BACKUP}; \
         ALTER TABLE {table} ENABLE ROW LEVEL SECURITY; \
         ALTER TABLE {table} FORCE ROW LEVEL SECURITY;"
    );
    for policy in policies {
        let name = policy.split(' ').next().unwrap_or_default();
        sql.push_str(&format!(" DROP POLICY IF EXISTS {name} ON {table}; CREATE POLICY {policy};"));
    }
    Ok(sql)
}

/// Refuses a database whose wall is not there or does not hold.
pub(super) async fn check(store: &Store) -> Result<(), StoreError> {
    if store.backend() == Backend::Sqlite {
        return Ok(());
    }
    let doing = || StoreError::doing("checking row-level security");
    let wrong = |what: &str| {
        let advice = format!("{what}; run `edgeformer-controller migrate`");
        Err(StoreError::Wall(advice))
    };
    let mut tx = store.pool.begin().await.map_err(doing())?;
    let taken = sqlx::raw_sql(AssertSqlSafe(format!("SET LOCAL ROLE {APPLICATION}")));
    if taken.execute(&mut *tx).await.is_err() {
        return wrong(&format!("this login cannot take the role {APPLICATION}"));
    }
    let row = sqlx::query(
        "SELECT (SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user) \
           AS unbound, \
         (SELECT CAST(coalesce(string_agg(c.relname, ', '), '') AS TEXT) FROM pg_class c \
            JOIN pg_namespace n ON n.oid = c.relnamespace \
            WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p') \
              AND c.relname <> $1 AND NOT (c.relrowsecurity AND c.relforcerowsecurity)) AS bare, \
         (SELECT CAST(coalesce(string_agg(c.relname, ', '), '') AS TEXT) FROM pg_class c \
            JOIN pg_namespace n ON n.oid = c.relnamespace \
            WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p') \
              AND pg_has_role(current_user, c.relowner, 'member')) AS owned",
    )
    .bind(NOBODYS)
    .fetch_one(&mut *tx)
    .await
    .map_err(doing())?;
    tx.rollback().await.map_err(doing())?;
    if row.get::<bool, _>("unbound") {
        return Err(StoreError::Wall(format!(
            "the role {APPLICATION} is a superuser or bypasses row-level security: take that from it"
        )));
    }
    let owned: String = row.get("owned");
    if !owned.is_empty() {
        return Err(StoreError::Wall(format!(
            "the role {APPLICATION} owns the tables {owned}: give them to the login that migrates"
        )));
    }
    let bare: String = row.get("bare");
    if !bare.is_empty() {
        return wrong(&format!("the tables {bare} have no forced row-level security"));
    }
    Ok(())
}
