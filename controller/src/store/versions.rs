//! Models and their immutable versions. Rows are added and read; nothing here changes one.

use edgeformer_proto::artifact::{Details, Digest, ModelName};
use edgeformer_proto::ids::{ModelId, VersionId};
use semver::Version;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Conn, StoreError, Write, parse_id, parse_json, to_json};
use crate::clock::Timestamp;
use crate::scope::TenantScope;

/// A model, with a summary of its versions.
#[derive(Debug, Clone)]
pub struct Model {
    /// Its id.
    pub id: ModelId,
    /// Unique in the tenant.
    pub name: ModelName,
    /// The version published last.
    pub latest_version: Option<String>,
    /// How many versions it has.
    pub version_count: u64,
    /// When its first version was published.
    pub created_at: Timestamp,
}

/// A published version.
#[derive(Debug, Clone)]
pub struct StoredVersion {
    /// Its id.
    pub id: VersionId,
    /// Its model's name.
    pub model: ModelName,
    /// Semantic version.
    pub version: Version,
    /// Signed manifest, as served.
    pub manifest_envelope: Vec<u8>,
    /// SHA-256 of the envelope: what desired states pin.
    pub manifest_sha256: Digest,
    /// Key of the sealed index in the object store.
    pub sealed_index_key: String,
    /// The data key under the tenant's key-encryption key.
    pub wrapped_data_key: Vec<u8>,
    /// Length of the payload.
    pub payload_bytes: u64,
    /// SHA-256 of the payload.
    pub payload_sha256: Digest,
    /// New sealed bytes that it added to the object store.
    pub stored_bytes: u64,
    /// Chunks of the payload.
    pub chunk_count: u64,
    /// What the file says about the model.
    pub details: Details,
    /// When it was published.
    pub created_at: Timestamp,
}

const VERSION_COLUMNS: &str = "SELECT v.id, m.name AS model, v.version, \
     v.manifest_envelope, v.manifest_sha256, v.sealed_index_key, v.wrapped_data_key, \
     v.payload_bytes, v.payload_sha256, v.stored_bytes, v.chunk_count, v.details, v.created_at_us \
     FROM versions v JOIN models m ON m.tenant_id = v.tenant_id AND m.id = v.model_id \
     WHERE v.tenant_id = $1";

const MODEL_COLUMNS: &str = "SELECT m.id, m.name, m.created_at_us, \
     (SELECT count(*) FROM versions v WHERE v.tenant_id = m.tenant_id AND v.model_id = m.id) \
     AS version_count, \
     (SELECT v.version FROM versions v WHERE v.tenant_id = m.tenant_id AND v.model_id = m.id \
     ORDER BY v.id DESC LIMIT 1) AS latest_version \
     FROM models m WHERE m.tenant_id = $1";

fn read_version(row: &AnyRow) -> Result<StoredVersion, StoreError> {
    const TABLE: &str = "versions";
    let id: String = row.get("id");
    let details: String = row.get("details");
    let digest = |column: &str| {
        let bytes: Vec<u8> = row.get(column);
        Digest::try_from(bytes.as_slice()).map_err(|error| StoreError::Damaged {
            table: TABLE,
            id: id.clone(),
            what: format!("{column}: {error}"),
        })
    };
    let number = |column: &str| row.get::<i64, _>(column).unsigned_abs();
    Ok(StoredVersion {
        model: parse_id(TABLE, &row.get::<String, _>("model"))?,
        version: parse_id(TABLE, &row.get::<String, _>("version"))?,
        manifest_envelope: row.get("manifest_envelope"),
        manifest_sha256: digest("manifest_sha256")?,
        sealed_index_key: row.get("sealed_index_key"),
        wrapped_data_key: row.get("wrapped_data_key"),
        payload_bytes: number("payload_bytes"),
        payload_sha256: digest("payload_sha256")?,
        stored_bytes: number("stored_bytes"),
        chunk_count: number("chunk_count"),
        details: parse_json(TABLE, &id, &details)?,
        created_at: Timestamp(row.get("created_at_us")),
        id: parse_id(TABLE, &id)?,
    })
}

fn read_model(row: &AnyRow) -> Result<Model, StoreError> {
    Ok(Model {
        id: parse_id("models", &row.get::<String, _>("id"))?,
        name: parse_id("models", &row.get::<String, _>("name"))?,
        latest_version: row.get("latest_version"),
        version_count: row.get::<i64, _>("version_count").unsigned_abs(),
        created_at: Timestamp(row.get("created_at_us")),
    })
}

/// The id of the model of this name, which is made if it is new.
pub async fn ensure_model(
    write: &mut Write<TenantScope>,
    name: &ModelName,
    now: Timestamp,
) -> Result<ModelId, StoreError> {
    let tenant = write.key();
    sqlx::query(
        "INSERT INTO models (tenant_id, id, name, created_at_us) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (tenant_id, name) DO NOTHING",
    )
    .bind(tenant.clone())
    .bind(ModelId::new().to_string())
    .bind(name.to_string())
    .bind(now.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("adding a model"))?;
    let (id,): (String,) =
        sqlx::query_as("SELECT id FROM models WHERE tenant_id = $1 AND name = $2")
            .bind(tenant)
            .bind(name.to_string())
            .fetch_one(write.db())
            .await
            .map_err(StoreError::doing("reading a model"))?;
    parse_id("models", &id)
}

/// Adds a version to a model. A conflict means that the model has a version of this name.
pub async fn insert(
    write: &mut Write<TenantScope>,
    model: ModelId,
    version: &StoredVersion,
) -> Result<(), StoreError> {
    let tenant = write.key();
    sqlx::query(
        "INSERT INTO versions (tenant_id, id, model_id, version, manifest_envelope, \
         manifest_sha256, sealed_index_key, wrapped_data_key, payload_bytes, payload_sha256, \
         stored_bytes, chunk_count, details, created_at_us) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
    )
    .bind(tenant)
    .bind(version.id.to_string())
    .bind(model.to_string())
    .bind(version.version.to_string())
    .bind(version.manifest_envelope.clone())
    .bind(version.manifest_sha256.as_bytes().to_vec())
    .bind(version.sealed_index_key.clone())
    .bind(version.wrapped_data_key.clone())
    .bind(version.payload_bytes.cast_signed())
    .bind(version.payload_sha256.as_bytes().to_vec())
    .bind(version.stored_bytes.cast_signed())
    .bind(version.chunk_count.cast_signed())
    .bind(to_json(&version.details))
    .bind(version.created_at.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("adding a version"))?;
    Ok(())
}

/// A version as the trust repository lists it.
#[derive(Debug, Clone)]
pub struct Released {
    /// Its id.
    pub id: VersionId,
    /// Its model's name.
    pub model: ModelName,
    /// Semantic version.
    pub version: Version,
    /// Length of the signed manifest.
    pub manifest_bytes: u64,
    /// Its SHA-256.
    pub manifest_sha256: Digest,
}

/// How many versions there are.
pub async fn count(conn: &mut Conn<TenantScope>) -> Result<u64, StoreError> {
    let tenant = conn.key();
    let (count,): (i64,) =
        sqlx::query_as("SELECT CAST(count(*) AS BIGINT) FROM versions WHERE tenant_id = $1")
            .bind(tenant)
            .fetch_one(conn.db())
            .await
            .map_err(StoreError::doing("counting versions"))?;
    Ok(count.unsigned_abs())
}

/// All versions of all models.
pub async fn released(conn: &mut Conn<TenantScope>) -> Result<Vec<Released>, StoreError> {
    const TABLE: &str = "versions";
    let tenant = conn.key();
    let rows = sqlx::query(
        "SELECT v.id, m.name AS model, v.version, v.manifest_sha256, \
         CAST(length(v.manifest_envelope) AS BIGINT) AS manifest_bytes \
         FROM versions v JOIN models m ON m.tenant_id = v.tenant_id AND m.id = v.model_id \
         WHERE v.tenant_id = $1 ORDER BY v.id",
    )
    .bind(tenant)
    .fetch_all(conn.db())
    .await
    .map_err(StoreError::doing("listing what is released"))?;
    rows.iter()
        .map(|row| {
            let id: String = row.get("id");
            let hash: Vec<u8> = row.get("manifest_sha256");
            let hash = Digest::try_from(hash.as_slice()).map_err(|error| StoreError::Damaged {
                table: TABLE,
                id: id.clone(),
                what: format!("manifest_sha256: {error}"),
            })?;
            Ok(Released {
                model: parse_id(TABLE, &row.get::<String, _>("model"))?,
                version: parse_id(TABLE, &row.get::<String, _>("version"))?,
                manifest_bytes: row.get::<i64, _>("manifest_bytes").unsigned_abs(),
                manifest_sha256: hash,
                id: parse_id(TABLE, &id)?,
            })
        })
        .collect()
}

/// A version by its id.
pub async fn get(
    conn: &mut Conn<TenantScope>,
    id: VersionId,
) -> Result<Option<StoredVersion>, StoreError> {
    let tenant = conn.key();
    let row = sqlx::query(sqlx::AssertSqlSafe(format!("{VERSION_COLUMNS} AND v.id = $2")))
        .bind(tenant)
        .bind(id.to_string())
        .fetch_optional(conn.db())
        .await
        .map_err(StoreError::doing("reading a version"))?;
    row.as_ref().map(read_version).transpose()
}

/// A version by its model's name and its own.
pub async fn find(
    conn: &mut Conn<TenantScope>,
    model: &ModelName,
    version: &Version,
) -> Result<Option<StoredVersion>, StoreError> {
    let tenant = conn.key();
    let query = format!("{VERSION_COLUMNS} AND m.name = $2 AND v.version = $3");
    let row = sqlx::query(sqlx::AssertSqlSafe(query))
        .bind(tenant)
        .bind(model.to_string())
        .bind(version.to_string())
        .fetch_optional(conn.db())
        .await
        .map_err(StoreError::doing("reading a version"))?;
    row.as_ref().map(read_version).transpose()
}

/// Versions of a model in the order they were published, after `after`.
pub async fn list(
    conn: &mut Conn<TenantScope>,
    model: ModelId,
    after: Option<VersionId>,
    limit: i64,
) -> Result<Vec<StoredVersion>, StoreError> {
    let tenant = conn.key();
    let query =
        format!("{VERSION_COLUMNS} AND v.model_id = $2 AND v.id > $3 ORDER BY v.id LIMIT $4");
    let rows = sqlx::query(sqlx::AssertSqlSafe(query))
        .bind(tenant)
        .bind(model.to_string())
        .bind(after.map(|id| id.to_string()).unwrap_or_default())
        .bind(limit)
        .fetch_all(conn.db())
        .await
        .map_err(StoreError::doing("listing versions"))?;
    rows.iter().map(read_version).collect()
}

/// A model by its name.
pub async fn model(
    conn: &mut Conn<TenantScope>,
    name: &ModelName,
) -> Result<Option<Model>, StoreError> {
    let tenant = conn.key();
    let row = sqlx::query(sqlx::AssertSqlSafe(format!("{MODEL_COLUMNS} AND m.name = $2")))
        .bind(tenant)
        .bind(name.to_string())
        .fetch_optional(conn.db())
        .await
        .map_err(StoreError::doing("reading a model"))?;
    row.as_ref().map(read_model).transpose()
}

/// Models by name, after `after`.
pub async fn models(
    conn: &mut Conn<TenantScope>,
    after: Option<ModelName>,
    limit: i64,
) -> Result<Vec<Model>, StoreError> {
    let tenant = conn.key();
    let query = format!("{MODEL_COLUMNS} AND m.name > $2 ORDER BY m.name LIMIT $3");
    let rows = sqlx::query(sqlx::AssertSqlSafe(query))
        .bind(tenant)
        .bind(after.map(String::from).unwrap_or_default())
        .bind(limit)
        .fetch_all(conn.db())
        .await
        .map_err(StoreError::doing("listing models"))?;
    rows.iter().map(read_model).collect()
}
