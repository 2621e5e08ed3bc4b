//! The worker process: runs the model of one slot. It gets its weights from the agent over the socket
//! that is its stdin, keeps them in memory only, and ends when the agent goes. Must never open a
//! network connection or write a file.

mod decode;
pub mod frame;
mod inbox;
pub mod limits;
pub mod message;
mod payload;

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};
use edgeformer_engine::{
    Isa, LoadError, LoadOptions, Model, Session, SessionError, SessionOptions,
};

pub use self::decode::{params_of, prompt_tokens};

use self::decode::Decoder;
use self::inbox::{Job, Shared};
use self::message::{FromWorker, Loaded, Start, ToWorker};
use self::payload::PayloadReader;
use crate::cli::WorkerArgs;

/// Runs until the agent ends it.
pub fn run(_args: WorkerArgs) -> anyhow::Result<()> {
    let socket = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    if socket.peer_addr().is_err() {
        bail!("`worker` is started by the agent itself; run `edgeformer-agent run`");
    }
    limits::give_up_privileges();
    let shared = Shared::new(socket.try_clone()?);
    let Some(mut decoder) = load(&socket, &shared)? else { return Ok(()) };
    for job in inbox::receive(socket, shared.clone())? {
        let id = job.id();
        let step = shared.begin(id);
        match job {
            Job::Generate(request) => {
                decoder.generate(&request, &step, &mut |message| shared.send(&message));
            }
            Job::Probe(id) => shared.send(&decoder.probe(id, &step)),
        }
        shared.end(id);
    }
    Ok(())
}

/// None if the agent was told why the model does not load.
fn load(mut socket: &UnixStream, shared: &Shared) -> anyhow::Result<Option<Decoder>> {
    let Some(frame) = frame::read(&mut socket)? else { return Ok(None) };
    let ToWorker::Start(start) = ToWorker::from_frame(frame)? else {
        bail!("the agent's first message is not a start");
    };
    limits::limit_memory(start.memory_limit_bytes);
    let paging = limits::lock_memory();
    let started = Instant::now();
    let mut payload = PayloadReader::new(socket);
    let (model, session) = match read_model(&mut payload, &start) {
        Ok(loaded) => loaded,
        Err(error) => {
            let (reason, message) = (error.reason().to_owned(), error.to_string());
            shared.send(&FromWorker::LoadFailed { reason, message });
            return Ok(None);
        }
    };
    payload.finish().context("the rest of the model file")?;
    shared.send(&FromWorker::Loaded(Loaded {
        architecture: model.config().architecture.clone(),
        context_tokens: session.max_context() as u32,
        chat: model.chat_template().is_some(),
        seconds: started.elapsed().as_secs_f64(),
        paging,
    }));
    Ok(Some(Decoder::new(model, session)))
}

fn read_model(
    payload: &mut PayloadReader<&UnixStream>,
    start: &Start,
) -> Result<(Arc<Model>, Session), Refused> {
    let options = LoadOptions {
        threads: start.threads as usize,
        isa: Isa::Auto,
        max_weight_bytes: match start.memory_limit_bytes {
            0 => u64::MAX,
            limit => limit,
        },
    };
    let model = Arc::new(Model::load(payload, &options)?);
    let size =
        SessionOptions { max_context: start.context_tokens as usize, ..SessionOptions::default() };
    let session = Session::new(model.clone(), size)?;
    Ok((model, session))
}

/// Why a model is not run.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Session(#[from] SessionError),
}

impl Refused {
    fn reason(&self) -> &'static str {
        match self {
            Refused::Load(LoadError::TooLarge { .. } | LoadError::OutOfMemory { .. })
            | Refused::Session(SessionError::OutOfMemory { .. }) => "memory",
            Refused::Load(
                LoadError::UnknownArchitecture { .. }
                | LoadError::UnsupportedTensorType { .. }
                | LoadError::UnknownTensor { .. }
                | LoadError::Isa(_),
            ) => "unsupported",
            Refused::Load(_) | Refused::Session(_) => "format",
        }
    }
}
