//! Passwords: which are taken (NIST SP 800-63B-4, section 3.1.1.2: length, no rules of composition),
//! and how they are kept (Argon2id, RFC 9106, with the parameters that OWASP's Password Storage Cheat
//! Sheet names first for 19 MiB).

use std::sync::{Arc, LazyLock};

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::error::AppError;

/// Fewest characters, as for a password that stands alone.
pub const MIN_CHARS: usize = 15;
/// Most bytes: a long passphrase fits; more would be a way to keep the controller busy.
pub const MAX_BYTES: usize = 1024;
/// Fewest different characters.
const MIN_DIFFERENT: usize = 5;
/// Hashes computed at once: each takes 19 MiB and a core for some milliseconds.
const AT_ONCE: usize = 2;
/// Log-ins that wait for that at most; more are told to come back.
const WAITING: usize = 64;

/// A password in the clear. Never stored, never logged.
#[derive(Clone, serde::Deserialize)]
#[serde(from = "String")]
pub struct Password(Zeroizing<String>);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(…)")
    }
}

impl From<String> for Password {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl From<&str> for Password {
    fn from(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }
}

impl Password {
    /// Refuses what is guessed first. `names` are the user's, the tenant's and the like.
    pub fn check(&self, field: &str, names: &[&str]) -> Result<(), AppError> {
        let wrong = |message: String| Err(AppError::invalid(field, message));
        let chars = self.0.chars().count();
        if chars < MIN_CHARS {
            return wrong(format!(
                "it has {chars} characters: {MIN_CHARS} are the fewest; a few words are easier to \
                 remember than signs"
            ));
        }
        if self.0.len() > MAX_BYTES {
            return wrong(format!("it has more than {MAX_BYTES} bytes"));
        }
        let different: std::collections::BTreeSet<char> = self.0.chars().collect();
        if different.len() < MIN_DIFFERENT {
            return wrong(format!("it has fewer than {MIN_DIFFERENT} different characters"));
        }
        let lower = self.0.to_lowercase();
        let guessed = ["edgeformer", "password", "12345678", "qwertyuiop"];
        for name in guessed.iter().chain(names) {
            let name = name.to_lowercase();
            // What is left without the name must be a password by itself.
            if name.chars().count() >= 3
                && lower.contains(&name)
                && lower.replace(&name, "").chars().count() < MIN_CHARS
            {
                return wrong(format!("{name:?} in it is guessed first: use other words"));
            }
        }
        Ok(())
    }

    fn too_long(&self) -> bool {
        self.0.len() > MAX_BYTES
    }
}

/// Computes hashes, a few at a time.
#[derive(Debug, Clone)]
pub struct Hasher {
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl Default for Hasher {
    fn default() -> Self {
        Self {
            running: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: Arc::new(Semaphore::new(WAITING)),
        }
    }
}

fn argon2() -> Argon2<'static> {
    let params = Params::new(19 * 1024, 2, 1, None).expect("RFC 9106 allows these");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

fn hash(password: &Password) -> Result<String, AppError> {
    let failed = |what: &str| AppError::Internal(format!("a password cannot be hashed: {what}"));
    let mut salt = [0_u8; 16];
    SystemRandom::new().fill(&mut salt).map_err(|_| failed("no random bytes"))?;
    let hash: PasswordHash = argon2()
        .hash_password_with_salt(password.0.as_bytes(), &salt)
        .map_err(|error| failed(&error.to_string()))?;
    Ok(hash.to_string())
}

/// A hash that no password has, so that an unknown user costs what a known one costs.
static NOBODYS: LazyLock<String> = LazyLock::new(|| {
    let never: String = std::iter::repeat_n('x', MAX_BYTES + 1).collect();
    hash(&Password::from(never.as_str())).unwrap_or_default()
});

impl Hasher {
    /// The PHC string to keep.
    pub async fn hash(&self, password: Password) -> Result<String, AppError> {
        self.run(move || hash(&password)).await?
    }

    /// Whether it is the password with this PHC string. Without one it takes as long, and is not.
    pub async fn verify(&self, password: Password, kept: Option<String>) -> Result<bool, AppError> {
        self.run(move || {
            let known = kept.as_deref().filter(|text| !text.is_empty());
            let parsed = PasswordHash::new(known.unwrap_or(&NOBODYS));
            let fits = parsed.is_ok_and(|parsed| {
                argon2().verify_password(password.0.as_bytes(), &parsed).is_ok()
            });
            fits && known.is_some() && !password.too_long()
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, AppError> {
        let Ok(_place) = self.waiting.try_acquire() else {
            let message = "too many log-ins at once: repeat in a few seconds";
            return Err(AppError::Overloaded(message.to_owned()));
        };
        let closed = |_| AppError::Internal("the hasher is closed".to_owned());
        let permit = Arc::clone(&self.running).acquire_owned().await.map_err(closed)?;
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(permit);
            done
        });
        done.await.map_err(|error| AppError::Internal(format!("hashing stopped: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_counts_and_names_do_not() {
        let check = |text: &str| Password::from(text).check("password", &["ada", "Acme Corp"]);
        assert!(check("correct horse battery").is_ok());
        assert!(check("längere Wörter zählen").is_ok());
        for wrong in [
            "short",
            "aaaaaaaaaaaaaaaaaaaaaaa",
            "passwordpassword",
            "acme corp acme corp",
            "ada-ada-ada-ada-edgeformer",
            &"long and different ".repeat(100),
        ] {
            assert!(check(wrong).is_err(), "{wrong}");
        }
        assert!(!format!("{:?}", Password::from("secret")).contains("secret"));
    }

    #[tokio::test]
    async fn a_hash_fits_its_password_and_no_other_and_says_how_it_was_made() {
        let hasher = Hasher::default();
        let kept = hasher.hash("correct horse battery".into()).await.unwrap();
        assert!(kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{kept}");
        let verify = |text: &str, kept: Option<String>| hasher.verify(text.into(), kept);
        assert!(verify("correct horse battery", Some(kept.clone())).await.unwrap());
        assert!(!verify("correct horse batterz", Some(kept.clone())).await.unwrap());
        assert!(!verify("correct horse battery", None).await.unwrap());
        assert!(!verify("", Some(String::new())).await.unwrap());
        assert!(!verify("x", Some("$argon2id$damaged".to_owned())).await.unwrap());
        assert_ne!(hasher.hash("correct horse battery".into()).await.unwrap(), kept, "salted");
    }
}
