//! Models: publishing and looking.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use reqwest::StatusCode;

use super::Context;
use super::audit::to_file;
use crate::args::fleet::Model as Command;
use crate::client::endpoints::{
    GET_VERSION, LIST_MODELS, LIST_VERSIONS, Nothing, SIGNING_KEY, TextStream, VERSION_SIGNATURE,
};
use crate::client::types::Version;
use crate::client::{Answer, Call, ClientError, Upload, digest_file};
use crate::failure::{Exit, Failure};
use crate::screen::Progress;
use crate::view;

pub async fn run(context: &Context, command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Publish { name, version, file } => {
            return publish(context, name, version, file).await;
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
) -> Result<Exit, Failure> {
    let upload = digest(model, version, file).await?;
    let fresh = |version: &Answer<Version>| version.status == StatusCode::CREATED;
    // Known before the first byte is sent: nobody waits an hour for a refusal.
    if let Some(known) = known_version(context, &upload).await? {
        let mine = hex(upload.sha256.as_ref());
        if known.value.payload_sha256 != mine {
            return Err(other_content(&known.value, &upload, &mine));
        }
        context.screen.one(&known, |v| view::model::published(v, false));
        return Ok(Exit::Done);
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
    Ok(Upload { model, version, file, size_bytes, sha256 })
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
