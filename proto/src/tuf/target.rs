//! A target that was looked up, and the check of its bytes as they come.

use data_encoding::HEXLOWER;
use ring::digest::Context;

use super::client::{Request, Source, Trusted};
use super::error::{Problem, TufError};
use super::metadata::{TargetFile, algorithm};

/// A target, and who says what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its path.
    pub path: String,
    /// The role that lists it.
    pub role: String,
    /// What is said of it.
    pub file: TargetFile,
}

impl Target {
    /// 5.7.3: where it is in the repository, relative to where targets are: with one of its hashes
    /// before the last part of its path if snapshots are consistent. The path is as metadata has it:
    /// to be encoded for a URL, and never to be joined to a folder.
    pub fn repository_path(&self, trusted: &Trusted) -> String {
        if !trusted.is_consistent() {
            return self.path.clone();
        }
        let hash = ["sha256", "sha384", "sha512"].iter().find_map(|k| self.file.hashes.get(k));
        let hash = HEXLOWER.encode(hash.unwrap_or_default());
        match self.path.rsplit_once('/') {
            Some((folder, name)) => format!("{folder}/{hash}.{name}"),
            None => format!("{hash}.{}", self.path),
        }
    }

    /// Begins to check its bytes.
    ///
    /// # Errors
    /// None of its hashes can be computed here.
    pub fn check(&self) -> Result<TargetCheck, TufError> {
        let of = |(kind, hash): (&str, &[u8])| {
            let context = Context::new(algorithm(kind)?);
            Some((kind.to_owned(), context, hash.to_vec()))
        };
        let hashes: Vec<_> = self.file.hashes.iter().filter_map(of).collect();
        let check = TargetCheck { path: self.path.clone(), left: self.file.length, hashes };
        match check.hashes.is_empty() {
            true => Err(check.err(Problem::NoKnownHash)),
            false => Ok(check),
        }
    }
}

/// Checks the bytes of a target while they come, in memory that does not depend on their number.
pub struct TargetCheck {
    path: String,
    left: u64,
    hashes: Vec<(String, Context, Vec<u8>)>,
}

impl TargetCheck {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// There are more than are listed: nothing further is to be read.
    pub fn update(&mut self, bytes: &[u8]) -> Result<(), TufError> {
        let Some(left) = self.left.checked_sub(bytes.len() as u64) else {
            return Err(self.err(Problem::TooLong));
        };
        self.left = left;
        for (_, context, _) in &mut self.hashes {
            context.update(bytes);
        }
        Ok(())
    }

    /// There are no more bytes.
    ///
    /// # Errors
    /// There are fewer than are listed, or others.
    pub fn finish(self) -> Result<(), TufError> {
        if self.left > 0 {
            return Err(self.err(Problem::TooShort(self.left)));
        }
        for (kind, context, hash) in &self.hashes {
            if context.clone().finish().as_ref() != hash.as_slice() {
                return Err(self.err(Problem::Hash(kind.clone())));
            }
        }
        Ok(())
    }

    fn err(&self, problem: Problem) -> TufError {
        TufError::new(&self.path, None, "5.7.3", problem)
    }
}

impl Request {
    /// Whether it is for the repository.
    pub fn is_remote(&self) -> bool {
        self.source == Source::Repository
    }
}
