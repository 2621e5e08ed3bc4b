//! Log-in at OpenID providers: what a provider says of itself ([`discovery`]) and signs with ([`jws`]),
//! what its tokens must say ([`claims`]), the way of a browser there and back ([`log_in`]), who its
//! subject is here ([`person`]) and what its groups give ([`roles`]).
//! Programs bring another system's token instead ([`federation`]).
//!
//! Nothing that comes from a provider, a browser or a URL is believed before it was checked against
//! what the tenant's own settings say, and nothing but this module talks to a provider.

pub mod claims;
pub mod device;
pub mod discovery;
pub mod federation;
pub mod jws;
pub mod log_in;
pub mod log_out;
pub mod person;
pub mod roles;
pub mod token_request;
