//! The Update Framework on a device: where metadata is kept, and the command that any test can
//! drive. What to believe is decided in `edgeformer_proto::tuf` alone.

mod command;
mod http;
mod store;

pub use command::run;
pub use store::{Source, SourceError, Store, StoreError, look_up, refresh};
