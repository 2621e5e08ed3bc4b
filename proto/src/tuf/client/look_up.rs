//! Section 5.6.7: who says what a target is. Depth first, in the order of the delegations, each
//! role once, so many at most.

use std::collections::BTreeSet;

use super::super::delegation::{DelegatedRole, Delegations};
use super::super::error::{Problem, TufError};
use super::super::metadata::Targets;
use super::super::target::Target;
use super::check::{self, Delegator};
use super::refresh::{Trusted, fetch_listed, missing};
use super::{Change, Next, Progress, Request, Source};

/// What a look-up found, with the metadata that it began with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// To look up more.
    pub trusted: Trusted,
    /// None if nobody who may speak for the path lists it.
    pub target: Option<Target>,
}

/// One role that is still to be visited.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Visit {
    delegator: String,
    delegations: std::sync::Arc<Delegations>,
    at: usize,
}

impl Visit {
    fn role(&self) -> &DelegatedRole {
        &self.delegations.roles[self.at]
    }
}

/// A look-up under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookUp {
    trusted: Trusted,
    path: String,
    /// Names visited, `targets` among them.
    visited: BTreeSet<String>,
    /// The next one is the last.
    stack: Vec<Visit>,
    now: Visit,
    source: Source,
}

type Step = Result<Progress<LookUp, Found>, TufError>;

impl Trusted {
    /// Looks a target up by its path. Roles that it is delegated to are read with the keys that their
    /// delegator names for them here, whoever else delegated to them before.
    ///
    /// # Errors
    /// The search may visit no further role.
    pub fn look_up(self, path: &str) -> Step {
        let visited = BTreeSet::from(["targets".to_owned()]);
        // 5.6.7.1 for the role that every search begins with.
        if let Some(target) = found_in("targets", &self.targets, path) {
            return Ok(Progress::done(Vec::new(), Found { trusted: self, target: Some(target) }));
        }
        let mut stack = Vec::new();
        push_delegations("targets", self.targets.delegations.clone(), path, &mut stack);
        next_role(self, path.to_owned(), visited, stack, Vec::new())
    }
}

impl LookUp {
    /// What it needs now.
    pub fn request(&self) -> Request {
        let role = &self.now.role().name;
        let limit = self.trusted.limits.targets_bytes;
        match (self.source, self.trusted.snapshot.meta.get(role)) {
            (Source::Repository, Some(listed)) => {
                fetch_listed(&self.trusted.root, role, listed, limit)
            }
            _ => Request::stored(role, limit),
        }
    }

    /// Takes what was asked for, or that there is no such file.
    ///
    /// # Errors
    /// The role's metadata is not to be believed or not there, which ends the search.
    pub fn answer(self, answer: Option<Vec<u8>>) -> Step {
        let Self { trusted, path, mut visited, mut stack, now, source } = self;
        let role = now.role().clone();
        let listed = trusted.snapshot.meta.get(&role.name);
        let listed = listed
            .ok_or_else(|| TufError::new(&role.name, None, "5.6.7", Problem::NotInSnapshot))?;
        let by = Delegator::Role(&now.delegator, &now.delegations, &role);
        let check =
            |bytes: &[u8]| check::check_targets(&by, listed, bytes, trusted.now_s, &trusted.limits);
        let mut changes = Vec::new();
        let targets = match (source, answer) {
            (Source::Stored, answer) => match answer.and_then(|bytes| check(&bytes).ok()) {
                Some(targets) => targets,
                None => {
                    let source = Source::Repository;
                    let state = Self { trusted, path, visited, stack, now, source };
                    return Ok(Progress::ask(changes, state));
                }
            },
            (Source::Repository, Some(bytes)) => {
                let targets = check(&bytes)?;
                let version = targets.common.version;
                changes.push(Change::Store { role: role.name.clone(), version, bytes });
                targets
            }
            (Source::Repository, None) => {
                return Err(missing(&role.name, Some(listed.version), "5.6.7"));
            }
        };
        visited.insert(role.name.clone());
        // 5.6.7.1
        if let Some(target) = found_in(&role.name, &targets, &path) {
            return Ok(Progress::done(changes, Found { trusted, target: Some(target) }));
        }
        // 5.6.7.2
        push_delegations(&role.name, targets.delegations, &path, &mut stack);
        next_role(trusted, path, visited, stack, changes)
    }
}

fn found_in(role: &str, targets: &Targets, path: &str) -> Option<Target> {
    let file = targets.targets.get(path)?;
    Some(Target { path: path.to_owned(), role: role.to_owned(), file: file.clone() })
}

/// 5.6.7.2: puts the roles on the stack that may speak for `path`, the first on top. After a
/// terminating one nobody else is asked, neither of this role's nor of those above.
fn push_delegations(
    delegator: &str,
    delegations: Option<Delegations>,
    path: &str,
    stack: &mut Vec<Visit>,
) {
    let Some(delegations) = delegations.map(std::sync::Arc::new) else { return };
    let mut matching = Vec::new();
    for (at, role) in delegations.roles.iter().enumerate() {
        if !role.paths.cover(path) {
            continue;
        }
        let delegations = std::sync::Arc::clone(&delegations);
        matching.push(Visit { delegator: delegator.to_owned(), delegations, at });
        if role.terminating {
            stack.clear();
            break;
        }
    }
    stack.extend(matching.into_iter().rev());
}

/// Goes on with the next role that was not visited yet.
fn next_role(
    trusted: Trusted,
    path: String,
    visited: BTreeSet<String>,
    mut stack: Vec<Visit>,
    changes: Vec<Change>,
) -> Step {
    while let Some(now) = stack.pop() {
        // 5.6.7.1: each role once, and so many at most.
        if visited.contains(&now.role().name) {
            continue;
        }
        if visited.len() > trusted.limits.roles {
            let visited = visited.len();
            let problem = Problem::SearchTooLong { path, visited };
            return Err(TufError::new(&now.role().name, None, "5.6.7.1", problem));
        }
        let source = Source::Stored;
        return Ok(Progress::ask(changes, LookUp { trusted, path, visited, stack, now, source }));
    }
    Ok(Progress::done(changes, Found { trusted, target: None }))
}

impl LookUp {
    /// As [`super::Refresh::run`].
    ///
    /// # Errors
    /// Those of [`Self::answer`], and what `give` and `keep` return.
    pub fn run<E: From<TufError>>(
        step: Progress<Self, Found>,
        mut give: impl FnMut(&Request) -> Result<Option<Vec<u8>>, E>,
        mut keep: impl FnMut(Change) -> Result<(), E>,
    ) -> Result<Found, E> {
        let mut step = step;
        loop {
            step.changes.into_iter().try_for_each(&mut keep)?;
            match step.next {
                Next::Done(found) => return Ok(found),
                Next::Ask(state) => {
                    let answer = give(&state.request())?;
                    step = state.answer(answer)?;
                }
            }
        }
    }
}
