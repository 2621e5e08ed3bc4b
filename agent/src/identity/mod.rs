//! Who this device is: its keys, its certificate and whom it trusts.
//!
//! No private key leaves this folder, and nothing is trusted that does not chain to the root given
//! at enrolment.

pub mod csr;
pub mod dial;
pub mod enroll;
pub mod erase;
pub mod instance;
pub mod key_place;
pub mod keys;
pub(crate) mod proxy;
pub mod renew;
pub mod roots;
pub mod store;
pub mod tls;
pub mod tpm_keys;
pub mod ways;

pub use dial::ControllerUrl;
pub use key_place::KeyPlace;
pub use keys::{DeviceKeys, FileKeys, KeyError};
pub use store::{Certificate, Identity, IdentityError};
pub use tpm_keys::TpmKeys;
