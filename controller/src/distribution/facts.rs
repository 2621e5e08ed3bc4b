//! What a model file's header says about the model, for its bill of materials. Whoever wrote the file
//! wrote this: what is not text of reasonable length, not a number or not an address is as if it were
//! not there. Nothing is guessed.

use edgeformer_gguf::{Header, Strings};
use edgeformer_proto::model_card::{
    MAX_DESCRIPTION_BYTES, MAX_ENTRIES, MAX_NAME_BYTES, Origin, is_line, is_url,
};
use ring::digest::{SHA256, digest};

/// What a header says. What it does not say is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelFacts {
    /// `general.name`.
    pub name: Option<String>,
    /// `general.description`.
    pub description: Option<String>,
    /// `general.author`.
    pub author: Option<String>,
    /// `general.organization`.
    pub organization: Option<String>,
    /// `general.license`: an SPDX identifier, mostly in small letters.
    pub license: Option<String>,
    /// `general.license.name`.
    pub license_name: Option<String>,
    /// `general.license.link`.
    pub license_url: Option<String>,
    /// Where the file and what it was made from are: kind of reference, address.
    pub addresses: Vec<(&'static str, String)>,
    /// `general.base_model.*`.
    pub base_models: Vec<Origin>,
    /// `general.dataset.*` and `general.datasets`.
    pub datasets: Vec<Origin>,
    /// `general.tags`.
    pub tags: Vec<String>,
    /// How weights are stored.
    pub types: Vec<TypeShare>,
    /// Other facts: name of the property, value.
    pub properties: Vec<(String, String)>,
    /// How attention works; none if the header leaves it open.
    pub attention: Option<&'static str>,
}

/// The weights that are stored in one type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeShare {
    /// Name of the type, e.g. `Q4_1`.
    pub name: &'static str,
    /// Tensors of this type.
    pub tensors: u64,
    /// Weights in them.
    pub weights: u64,
    /// Bytes that they take.
    pub bytes: u64,
}

/// Texts of the header that say where a model comes from: key, kind of reference.
const ADDRESSES: [(&str, &str); 5] = [
    ("general.url", "website"),
    ("general.repo_url", "distribution"),
    ("general.source.url", "website"),
    ("general.source.repo_url", "vcs"),
    ("general.source.huggingface.repository", "distribution"),
];
/// Numbers below the architecture's name.
const NUMBERS: [&str; 14] = [
    "block_count",
    "embedding_length",
    "feed_forward_length",
    "vocab_size",
    "expert_count",
    "expert_used_count",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.kv_lora_rank",
    "attention.q_lora_rank",
    "attention.sliding_window",
    "rope.dimension_count",
];
/// Lines below `general`.
const LINES: [&str; 8] = [
    "general.version",
    "general.basename",
    "general.finetune",
    "general.size_label",
    "general.quantized_by",
    "general.doi",
    "general.uuid",
    "general.type",
];

impl ModelFacts {
    /// From a header.
    pub fn of(header: &Header, architecture: &str) -> Self {
        let line = |key: &str| line(header, key);
        let address = |key: &str| header.str(key).filter(|text| is_url(text)).map(str::to_owned);
        let addresses = ADDRESSES.iter().filter_map(|(key, kind)| Some((*kind, address(key)?)));
        Self {
            name: line("general.name"),
            description: header.str("general.description").and_then(description),
            author: line("general.author"),
            organization: line("general.organization"),
            license: line("general.license"),
            license_name: line("general.license.name"),
            license_url: address("general.license.link"),
            addresses: addresses.collect(),
            base_models: origins(header, "general.base_model"),
            datasets: datasets(header),
            tags: header.strings("general.tags").map(few).unwrap_or_default(),
            types: types(header),
            properties: properties(header, architecture),
            attention: attention(header, architecture),
        }
    }
}

fn line(header: &Header, key: &str) -> Option<String> {
    let text = header.str(key)?.trim();
    is_line(text, MAX_NAME_BYTES).then(|| text.to_owned())
}

fn description(text: &str) -> Option<String> {
    let text = text.trim();
    let good = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    let fits = (1..=MAX_DESCRIPTION_BYTES).contains(&text.len()) && text.chars().all(good);
    fits.then(|| text.to_owned())
}

fn few(strings: &Strings) -> Vec<String> {
    let lines = strings.iter().map(str::trim).filter(|text| is_line(text, MAX_NAME_BYTES));
    lines.take(MAX_ENTRIES).map(str::to_owned).collect()
}

/// The numbered entries below `prefix`, as converters write them.
fn origins(header: &Header, prefix: &str) -> Vec<Origin> {
    let count = header.u64(&format!("{prefix}.count")).unwrap_or(0).min(MAX_ENTRIES as u64);
    let one = |number: u64| {
        let text = |field: &str| line(header, &format!("{prefix}.{number}.{field}"));
        let name = match (text("organization"), text("name")?, text("version")) {
            (None, name, None) => name,
            (Some(by), name, None) => format!("{by}/{name}"),
            (None, name, Some(version)) => format!("{name} {version}"),
            (Some(by), name, Some(version)) => format!("{by}/{name} {version}"),
        };
        let url = ["repo_url", "url"].iter().find_map(|field| {
            header.str(&format!("{prefix}.{number}.{field}")).filter(|text| is_url(text))
        });
        is_line(&name, MAX_NAME_BYTES).then(|| Origin { name, url: url.map(str::to_owned) })
    };
    (0..count).filter_map(one).collect()
}

/// Numbered ones, else the list of names that older converters wrote.
fn datasets(header: &Header) -> Vec<Origin> {
    let numbered = origins(header, "general.dataset");
    if !numbered.is_empty() {
        return numbered;
    }
    let names = header.strings("general.datasets").map(few).unwrap_or_default();
    names.into_iter().map(|name| Origin { name, url: None }).collect()
}

/// Most weights first; the name decides between equals.
fn types(header: &Header) -> Vec<TypeShare> {
    let mut types: Vec<TypeShare> = Vec::new();
    for tensor in &header.tensors {
        let name = tensor.ty.name();
        let place = types.iter().position(|one| one.name == name).unwrap_or_else(|| {
            types.push(TypeShare { name, tensors: 0, weights: 0, bytes: 0 });
            types.len() - 1
        });
        let one = &mut types[place];
        one.tensors += 1;
        one.weights = one.weights.saturating_add(tensor.dims.iter().product());
        one.bytes = one.bytes.saturating_add(tensor.size_bytes);
    }
    types.sort_by(|a, b| b.weights.cmp(&a.weights).then(a.name.cmp(b.name)));
    types
}

/// What is neither the manifest's nor has a field of its own in the format.
fn properties(header: &Header, architecture: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for key in LINES {
        all.extend(line(header, key).map(|text| (format!("gguf:{key}"), text)));
    }
    if let Some(languages) = header.strings("general.languages").map(few) {
        all.extend(languages.into_iter().map(|one| ("gguf:general.languages".to_owned(), one)));
    }
    for key in NUMBERS {
        let number = header.u64(&format!("{architecture}.{key}"));
        all.extend(number.map(|number| (format!("gguf:{architecture}.{key}"), number.to_string())));
    }
    for key in ["tokenizer.ggml.model", "tokenizer.ggml.pre"] {
        all.extend(line(header, key).map(|text| (format!("gguf:{key}"), text)));
    }
    if let Some(tokens) = header.strings("tokenizer.ggml.tokens") {
        all.push(("edgeformer:tokenizer.tokens".to_owned(), tokens.len().to_string()));
    }
    if let Some(template) = header.str("tokenizer.chat_template") {
        let hash = data_encoding::HEXLOWER.encode(digest(&SHA256, template.as_bytes()).as_ref());
        all.push(("edgeformer:tokenizer.chat_template.sha256".to_owned(), hash));
    }
    all
}

/// From the number of heads; layers that differ from each other have no one form.
fn attention(header: &Header, architecture: &str) -> Option<&'static str> {
    let number = |key: &str| header.u64(&format!("{architecture}.attention.{key}"));
    if number("kv_lora_rank").is_some_and(|rank| rank > 0) {
        return Some("multi-head latent");
    }
    let heads = number("head_count")?;
    // Without the key, there are as many.
    let absent = header.get(&format!("{architecture}.attention.head_count_kv")).is_none();
    let kv = if absent { heads } else { number("head_count_kv")? };
    match kv {
        0 => None,
        kv if kv == heads => Some("multi-head"),
        1 => Some("multi-query"),
        _ => Some("grouped-query"),
    }
}
