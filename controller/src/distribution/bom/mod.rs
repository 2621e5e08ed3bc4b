//! The bill of materials of a version: a CycloneDX 1.6 document of one machine-learning model, made
//! from the manifest, the file's header and what people said when they published it. What none of
//! them says is left out. The same three give the same bytes.

mod document;
mod license;

use edgeformer_proto::artifact::Manifest;
use edgeformer_proto::model_card::{Evaluation, ModelCard, Origin};

use super::facts::ModelFacts;
use document::{
    Analysis, Card, Component, Contents, Dataset, Document, Hash, Interval, License, LicenseChoice,
    Metadata, Metric, Named, Parameters, Pedigree, Property, Reference, Tools,
};

/// Media type of a bill of materials.
pub const BOM_TYPE: &str = "application/vnd.cyclonedx+json; version=1.6";
const MODEL: &str = "machine-learning-model";

/// What the document of a version is made from.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'a> {
    /// What the release key signs.
    pub manifest: &'a Manifest,
    /// What the file's header says.
    pub facts: &'a ModelFacts,
    /// What people said.
    pub card: &'a ModelCard,
    /// Version of the program that makes it; none if it is made anew, for a version without one.
    pub tool: Option<&'a str>,
}

/// The document.
pub fn make(sources: Sources<'_>) -> Vec<u8> {
    let Sources { manifest, tool, .. } = sources;
    let tool = Component {
        kind: "application",
        name: "EdgeFormer Fleet".to_owned(),
        version: tool.map(str::to_owned),
        ..Component::default()
    };
    let document = Document {
        bom_format: "CycloneDX",
        spec_version: "1.6",
        serial_number: format!("urn:uuid:{}", manifest.version_id),
        version: 1,
        metadata: Metadata {
            timestamp: manifest.created.clone(),
            tools: Tools { components: vec![tool] },
            component: model(sources),
        },
    };
    serde_json::to_vec(&document).expect("a document has only text keys")
}

fn model(sources: Sources<'_>) -> Component {
    let Sources { manifest, facts, card, .. } = sources;
    let payload = &manifest.payload.sha256;
    let authors = match card.authors.is_empty() {
        true => facts.author.iter().cloned().collect(),
        false => card.authors.clone(),
    };
    let organization = card.organization.as_ref().or(facts.organization.as_ref());
    let base = if card.base_models.is_empty() { &facts.base_models } else { &card.base_models };
    Component {
        kind: MODEL,
        bom_ref: Some(format!("{}@{}", manifest.model, manifest.version)),
        manufacturer: organization.cloned().map(|name| Named { name }),
        authors: authors.into_iter().map(|name| Named { name }).collect(),
        name: manifest.model.to_string(),
        version: Some(manifest.version.to_string()),
        description: card.description.clone().or_else(|| facts.description.clone()),
        hashes: vec![Hash { alg: "SHA-256", content: payload.to_string() }],
        licenses: licenses(facts, card),
        pedigree: (!base.is_empty())
            .then(|| Pedigree { ancestors: base.iter().map(ancestor).collect() }),
        external_references: references(facts, card),
        model_card: Some(model_card(sources)),
        tags: facts.tags.clone(),
        properties: properties(manifest, facts),
    }
}

fn licenses(facts: &ModelFacts, card: &ModelCard) -> Vec<LicenseChoice> {
    // The link of the file is about the licence of the file.
    let (text, url) = match &card.license {
        Some(said) => (Some(said), None),
        None => {
            let known = facts.license.as_deref().and_then(license::spdx).is_some();
            let named = facts.license_name.as_ref().filter(|_| !known);
            (named.or(facts.license.as_ref()), facts.license_url.clone())
        }
    };
    let one = |text: &String| {
        let id = license::spdx(text);
        let name = id.is_none().then(|| text.clone());
        LicenseChoice { license: License { id, name, url } }
    };
    text.map(one).into_iter().collect()
}

fn ancestor(origin: &Origin) -> Component {
    let reference = |url: String| Reference { kind: "distribution", url };
    Component {
        kind: MODEL,
        name: origin.name.clone(),
        external_references: origin.url.clone().map(reference).into_iter().collect(),
        ..Component::default()
    }
}

fn references(facts: &ModelFacts, card: &ModelCard) -> Vec<Reference> {
    let said = card.source_url.iter().map(|url| ("distribution", url.clone()));
    let mut all: Vec<Reference> = Vec::new();
    for (kind, url) in said.chain(facts.addresses.iter().cloned()) {
        let one = Reference { kind, url };
        if !all.contains(&one) {
            all.push(one);
        }
    }
    all
}

fn model_card(sources: Sources<'_>) -> Card {
    let Sources { manifest, facts, card, .. } = sources;
    let datasets = if card.datasets.is_empty() { &facts.datasets } else { &card.datasets };
    let metrics: Vec<Metric> = card.evaluations.iter().map(metric).collect();
    Card {
        model_parameters: Parameters {
            architecture_family: manifest.details.architecture.clone(),
            model_architecture: facts.name.clone(),
            datasets: datasets.iter().map(dataset).collect(),
        },
        quantitative_analysis: (!metrics.is_empty())
            .then_some(Analysis { performance_metrics: metrics }),
    }
}

fn dataset(origin: &Origin) -> Dataset {
    Dataset {
        kind: "dataset",
        name: origin.name.clone(),
        contents: origin.url.clone().map(|url| Contents { url }),
    }
}

fn metric(one: &Evaluation) -> Metric {
    Metric {
        kind: one.name.clone(),
        value: one.value.to_string(),
        slice: one.dataset.clone(),
        confidence_interval: one.interval.map(|[lower, upper]| Interval {
            lower_bound: lower.to_string(),
            upper_bound: upper.to_string(),
        }),
    }
}

fn properties(manifest: &Manifest, facts: &ModelFacts) -> Vec<Property> {
    let mut all = Vec::new();
    let mut add = |name: &str, value: String| {
        all.push(Property { name: format!("edgeformer:{name}"), value });
    };
    let details = &manifest.details;
    add("version_id", manifest.version_id.to_string());
    add("payload.media_type", manifest.media_type.clone());
    add("payload.bytes", manifest.payload.size_bytes.to_string());
    add("parameters", details.parameters.to_string());
    add("quantization", details.quantization.clone());
    if details.context_length > 0 {
        add("context_length", details.context_length.to_string());
    }
    if let Some(bytes) = manifest.memory.weight_bytes {
        add("weights.bytes", bytes.to_string());
    }
    if let Some(form) = facts.attention {
        add("attention", form.to_owned());
    }
    let weights: u64 = facts.types.iter().map(|one| one.weights).sum();
    for one in &facts.types {
        let name = format!("quantization.{}", one.name);
        add(&format!("{name}.share"), share(one.weights, weights));
        add(&format!("{name}.weights"), one.weights.to_string());
        add(&format!("{name}.tensors"), one.tensors.to_string());
        add(&format!("{name}.bytes"), one.bytes.to_string());
    }
    let more = facts.properties.iter().cloned();
    all.extend(more.map(|(name, value)| Property { name, value }));
    all
}

/// Part of a whole to four places, rounded down: with integers, so that it is the same everywhere.
fn share(part: u64, whole: u64) -> String {
    let parts = u128::from(part) * 10_000 / u128::from(whole.max(1));
    format!("{}.{:04}", parts / 10_000, parts % 10_000)
}

#[cfg(test)]
mod tests;
