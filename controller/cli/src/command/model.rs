//! Models: publishing and looking.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use edgeformer_proto::model_card::{Evaluation, MAX_CARD_BYTES, ModelCard, Origin};
use edgeformer_proto::publication::Publication;
use reqwest::StatusCode;

use super::Context;
use super::audit::to_file;
use crate::args::model::{Model as Command, Said};
use crate::client::endpoints::{
    GET_VERSION, LIST_MODELS, LIST_VERSIONS, Nothing, SIGNING_KEY, TextStream, VERSION_BOM,
    VERSION_CARD, VERSION_SIGNATURE,
};
use crate::client::types::Version;
use crate::client::{Answer, Call, ClientError, Upload, digest_file};
use crate::failure::{Exit, Failure};
use crate::screen::Progress;
use crate::view;

pub async fn run(context: &Context, command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Publish { name, version, file, said } => {
            return publish(context, name, version, file, said).await;
        }
        Command::List(limit) => {
            let models = context.client.call(&LIST_MODELS).all(limit.limit).await?;
            context.screen.list(&models, |m| view::model::models(m, context.style()));
        }
        Command::Versions { name, limit } => {
            let call = context.client.call(&LIST_VERSIONS).path(&name);
            let versions = call.all(limit.limit).await;
            let versions =
                versions.map_err(|e| Failure::from(e).about(&format!("model {name:?}")))?;
            context.screen.list(&versions, |v| view::model::versions(&name, v, context.style()));
        }
        Command::Show { name, version } => {
            let answer = context.client.call(&GET_VERSION).path(&name).path(&version).send().await;
            let about = format!("version {name} {version}");
            let answer = answer.map_err(|e| Failure::from(e).about(&about))?;
            context.screen.one(&answer, |v| view::model::version(v, context.style()));
        }
        Command::Bom { name, version, file } => {
            let call = context.client.call(&VERSION_BOM).path(&name).path(&version);
            take_out(call, file.as_deref()).await?;
        }
        Command::Signature { name, version, file } => {
            let call = context.client.call(&VERSION_SIGNATURE).path(&name).path(&version);
            take_out(call, file.as_deref()).await?;
        }
        Command::SigningKey { file } => {
            take_out(context.client.call(&SIGNING_KEY), file.as_deref()).await?;
        }
    }
    Ok(Exit::Done)
}

/// To a new file, or to standard output.
async fn take_out(call: Call<'_, Nothing, TextStream>, file: Option<&Path>) -> Result<(), Failure> {
    match file {
        Some(file) => to_file(call, file).await,
        None => Ok(call.stream(crate::screen::raw).await?),
    }
}

async fn publish(
    context: &Context,
    model: String,
    version: String,
    file: PathBuf,
    said: Said,
) -> Result<Exit, Failure> {
    let publication = publication(said)?;
    let mut upload = digest(model, version, file).await?;
    let fresh = |version: &Answer<Version>| version.status == StatusCode::CREATED;
    // Known before the first byte is sent: nobody waits an hour for a refusal.
    if let Some(known) = known_version(context, &upload).await? {
        let mine = hex(upload.sha256.as_ref());
        if known.value.payload_sha256 != mine {
            return Err(other_content(&known.value, &upload, &mine));
        }
        same_card(context, &upload, &publication).await?;
        context.screen.one(&known, |v| view::model::published(v, false));
        return Ok(Exit::Done);
    }
    if !publication.is_empty() {
        upload.head = Some(publication.to_head().map_err(|e| Failure::usage(e.to_string()))?);
    }
    let progress = Arc::new(Progress::new("uploading", upload.size_bytes));
    let hear = Arc::clone(&progress);
    let answer = context.client.publish(&upload, Arc::new(move |sent| hear.at(sent))).await;
    progress.finish();
    let about = format!("{} {}", upload.model, upload.version);
    let answer = answer.map_err(|e| Failure::from(e).about(&about))?;
    context.screen.one(&answer, |v| view::model::published(v, fresh(&answer)));
    Ok(Exit::Done)
}

async fn digest(model: String, version: String, file: PathBuf) -> Result<Upload, Failure> {
    let size_bytes = regular_file_size(&file)?;
    let progress = Progress::quick("reading  ", size_bytes);
    let (sha256, size_bytes) = digest_file(&file, |read| progress.at(read)).await?;
    progress.finish();
    Ok(Upload { model, version, file, size_bytes, sha256, head: None })
}

/// What goes with the file: checked here, so that a mistake is found before anything is sent.
fn publication(said: Said) -> Result<Publication, Failure> {
    let origins = |list: Vec<(String, Option<String>)>| {
        list.into_iter().map(|(name, url)| Origin { name, url }).collect()
    };
    let mut evaluations = Vec::new();
    for file in &said.evaluations {
        let wrong = |why: String| {
            Failure::usage(format!("the evaluation file {}: {why}", file.display())).next(
                "give a JSON list of objects with name, value, and perhaps dataset and interval",
            )
        };
        let bytes = bounded_file(file).map_err(wrong)?;
        evaluations.extend(Evaluation::list_from_json(&bytes).map_err(|e| wrong(e.to_string()))?);
    }
    let card = ModelCard {
        description: said.description,
        license: said.license,
        source_url: said.source_url,
        authors: said.authors,
        organization: said.organization,
        base_models: origins(said.base_models),
        datasets: origins(said.datasets),
        evaluations,
    };
    card.check().map_err(|error| Failure::usage(error.to_string()))?;
    Ok(Publication { card })
}

fn bounded_file(path: &Path) -> Result<Vec<u8>, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    let read = file.take(MAX_CARD_BYTES as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// Whether what goes with the file is what went with it when it was published.
async fn same_card(
    context: &Context,
    upload: &Upload,
    publication: &Publication,
) -> Result<(), Failure> {
    if publication.card.is_empty() {
        return Ok(());
    }
    let call = context.client.call(&VERSION_CARD).path(&upload.model).path(&upload.version);
    let mut known = Vec::new();
    let mut take = |piece: &[u8]| {
        // Longer is another one.
        known.extend_from_slice(&piece[..piece.len().min(MAX_CARD_BYTES - known.len())]);
        Ok(())
    };
    call.stream(&mut take).await?;
    match ModelCard::from_json(&known).is_ok_and(|known| known == publication.card) {
        true => Ok(()),
        false => {
            let (model, version) = (&upload.model, &upload.version);
            let what = format!(
                "{model} {version} is published already, and something else was said of it"
            );
            Err(Failure::new(Exit::Failed, what).next(format!(
                "`edgeformer model bom {model} {version}` shows what; a published version never \
                 changes: publish this under a new version"
            )))
        }
    }
}

fn regular_file_size(file: &Path) -> Result<u64, Failure> {
    let wrong = |why: &str| {
        Failure::usage(format!("the model file {}: {why}", file.display()))
            .next("give the path of a GGUF file")
    };
    let metadata = std::fs::metadata(file).map_err(|e| wrong(&e.to_string()))?;
    match (metadata.is_file(), metadata.len()) {
        (false, _) => Err(wrong("it is not a regular file")),
        (true, 0) => Err(wrong("it is empty")),
        (true, size_bytes) => Ok(size_bytes),
    }
}

async fn known_version(
    context: &Context,
    upload: &Upload,
) -> Result<Option<Answer<Version>>, Failure> {
    let call = context.client.call(&GET_VERSION).path(&upload.model).path(&upload.version);
    match call.send().await {
        Ok(answer) => Ok(Some(answer)),
        Err(ClientError::Refused { status: StatusCode::NOT_FOUND, .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn other_content(known: &Version, upload: &Upload, mine: &str) -> Failure {
    let what =
        format!("{} {} is published already, with other content", known.model, known.version);
    let mut failure = Failure::new(Exit::Failed, what)
        .next("a published version never changes: publish this file under a new version");
    failure.facts = vec![
        format!("published  sha256 {}", known.payload_sha256),
        format!("this file  sha256 {mine}  {}", upload.file.display()),
    ];
    failure
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
