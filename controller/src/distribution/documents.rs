//! What goes with a version for people and their programs: what was said of it, and its bill of
//! materials. Each is named by its hash in the manifest, so that the release key's signature and the
//! tenant's TUF targets cover it; what is served was compared with that.

use std::collections::BTreeMap;

use edgeformer_proto::artifact::{DocumentRef, Manifest};
use edgeformer_proto::model_card::ModelCard;

use super::bom::{self, Sources};
use super::facts::ModelFacts;
use super::signatures;
use crate::app::App;
use crate::error::AppError;
use crate::scope::TenantScope;
use crate::store::version_documents;
use crate::store::versions::StoredVersion;

/// A kind of document, as manifests and the store call it.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// What people said, see [`ModelCard`].
    Card,
    /// The bill of materials.
    Bom,
}

impl Kind {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Card => "card",
            Self::Bom => "bom",
        }
    }
}

/// The documents of one version.
#[derive(Debug, Default)]
pub struct Documents(Vec<(Kind, Vec<u8>)>);

impl Documents {
    /// Makes them. They go into the manifest afterwards, which they say nothing of.
    pub fn make(manifest: &Manifest, facts: &ModelFacts, card: &ModelCard) -> Self {
        let tool = Some(env!("CARGO_PKG_VERSION"));
        let bom = bom::make(Sources { manifest, facts, card, tool });
        let mut all = vec![(Kind::Bom, bom)];
        if !card.is_empty() {
            all.push((Kind::Card, card.to_json()));
        }
        Self(all)
    }

    /// Their names for the manifest.
    pub fn names(&self) -> BTreeMap<String, DocumentRef> {
        let name =
            |(kind, body): &(Kind, Vec<u8>)| (kind.as_str().to_owned(), DocumentRef::of(body));
        self.0.iter().map(name).collect()
    }

    /// Kinds with what is in them.
    pub fn iter(&self) -> impl Iterator<Item = (Kind, &[u8])> {
        self.0.iter().map(|(kind, body)| (*kind, body.as_slice()))
    }

    /// Bytes of all of them.
    pub fn size_bytes(&self) -> u64 {
        self.0.iter().map(|(_, body)| body.len() as u64).sum()
    }
}

/// The bill of materials of a version. One that was published before there were any gets what its
/// manifest alone says, the same each time.
pub async fn bom(
    app: &App,
    scope: &TenantScope,
    name: &str,
    version: &str,
) -> Result<Vec<u8>, AppError> {
    let (version, manifest) = signatures::verified(app, scope, name, version).await?;
    match stored(app, scope, &version, &manifest, Kind::Bom).await? {
        Some(bom) => Ok(bom),
        None => {
            let (facts, card) = (ModelFacts::default(), ModelCard::default());
            let sources = Sources { manifest: &manifest, facts: &facts, card: &card, tool: None };
            Ok(bom::make(sources))
        }
    }
}

/// What people said of a version when they published it; an empty card if nothing.
pub async fn card(
    app: &App,
    scope: &TenantScope,
    name: &str,
    version: &str,
) -> Result<Vec<u8>, AppError> {
    let (version, manifest) = signatures::verified(app, scope, name, version).await?;
    let card = stored(app, scope, &version, &manifest, Kind::Card).await?;
    Ok(card.unwrap_or_else(|| ModelCard::default().to_json()))
}

/// A document, if the manifest names one: exactly that.
async fn stored(
    app: &App,
    scope: &TenantScope,
    version: &StoredVersion,
    manifest: &Manifest,
    kind: Kind,
) -> Result<Option<Vec<u8>>, AppError> {
    let Some(named) = manifest.documents.get(kind.as_str()) else { return Ok(None) };
    let mut read = app.store.read(scope).await?;
    let body = version_documents::get(&mut read, version.id, kind.as_str()).await?;
    match body.filter(|body| named.is_of(body)) {
        Some(body) => Ok(Some(body)),
        None => Err(AppError::Internal(format!(
            "the {} of {}@{} is not the one that its manifest names: restore it from a backup",
            kind.as_str(),
            version.model,
            version.version
        ))),
    }
}
