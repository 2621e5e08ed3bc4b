//! Changes of what others may change at the same time: read, change what was read, and read again
//! when somebody was faster.

use reqwest::StatusCode;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Context;
use crate::client::endpoints::Nothing;
use crate::client::{ClientError, Endpoint};
use crate::failure::Failure;

/// A change that met another one is tried again so often.
const MAX_CONFLICTS: usize = 3;

/// Sends `body` as a change of the thing with this id. `about` names it for people.
pub async fn patch<T: DeserializeOwned, B: Serialize>(
    context: &Context,
    (get, patch): (&Endpoint<Nothing, T>, &Endpoint<B, T>),
    id: &str,
    body: &B,
    about: &str,
) -> Result<(), Failure> {
    let named = |e: ClientError| Failure::from(e).about(about);
    for attempt in 1.. {
        let found = context.client.call(get).path(id).send().await.map_err(named)?;
        let call = context.client.call(patch).path(id).if_match(found.etag).body(body);
        match call.send().await {
            Err(ClientError::Refused { status: StatusCode::PRECONDITION_FAILED, .. })
                if attempt <= MAX_CONFLICTS => {}
            done => return done.map(|_| ()).map_err(named),
        }
    }
    Ok(())
}
