//! A disk in memory that counts what is asked of it, and fails, fills up or loses power at any count.
//! Power loss keeps what was synced; of the rest a seed chooses: each directory keeps a first part of
//! its changes, each file its bytes, a part of them, or zeros in their place.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use edgeformer_agent::durable::{Entry, FileSystem, Folder, Space, Sync};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};

/// What happens at a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Power is gone before the operation.
    PowerLoss,
    /// The operation fails and does nothing.
    Fails,
    /// Half of the bytes are written, then the disk is full.
    ShortWrite,
    /// A sync fails: what it was to write is in memory only, and no later sync writes it.
    SyncLosesData,
    /// The disk is full for some operations.
    Full,
}

/// Operations that find the disk full.
const FULL_FOR: usize = 12;

/// One counted operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A name is made, changed or removed.
    Names,
    /// Bytes are written.
    Write,
    /// Something is made durable.
    Sync,
    /// A worker or the origin was asked.
    Act,
}

impl Step {
    /// Faults that can happen there.
    pub fn faults(self) -> &'static [Fault] {
        match self {
            Self::Names => &[Fault::PowerLoss, Fault::Fails, Fault::Full],
            Self::Write => &[Fault::PowerLoss, Fault::Fails, Fault::ShortWrite],
            Self::Sync => &[Fault::PowerLoss, Fault::Fails, Fault::SyncLosesData],
            Self::Act => &[Fault::PowerLoss],
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    File(usize),
    Directory,
}

#[derive(Debug, Clone)]
enum Change {
    Set(String, Node),
    Unset(String),
    Rename(String, String),
}

#[derive(Debug, Clone, Default)]
struct Directory {
    now: BTreeMap<String, Node>,
    durable: BTreeMap<String, Node>,
    pending: Vec<Change>,
}

#[derive(Debug, Clone, Default)]
struct Inode {
    now: Vec<u8>,
    durable: Vec<u8>,
    dirty: bool,
}

#[derive(Debug)]
struct State {
    directories: BTreeMap<PathBuf, Directory>,
    inodes: Vec<Inode>,
    capacity: u64,
    foreign: u64,
    steps: Vec<Step>,
    fault: Option<(usize, Fault)>,
    full_until: usize,
    power: bool,
}

/// The disk.
#[derive(Debug, Clone)]
pub struct SimDisk(Arc<Mutex<State>>);

fn no_power() -> io::Error {
    io::Error::other("the power is gone")
}

fn failed() -> io::Error {
    io::Error::other("input/output error, as ordered")
}

impl SimDisk {
    /// Empty, with one fault to come.
    pub fn new(capacity: u64, fault: Option<(usize, Fault)>) -> Self {
        let state = State {
            directories: BTreeMap::from([(PathBuf::from("/"), Directory::default())]),
            inodes: Vec::new(),
            capacity,
            foreign: 0,
            steps: Vec::new(),
            fault,
            full_until: 0,
            power: true,
        };
        Self(Arc::new(Mutex::new(state)))
    }

    /// The state directory on it.
    pub fn folder(&self) -> Folder {
        Folder::on(Arc::new(self.clone()), Path::new("/state"))
    }

    /// All steps so far.
    pub fn steps(&self) -> Vec<Step> {
        self.state().steps.clone()
    }

    /// How many steps there were.
    pub fn count(&self) -> usize {
        self.state().steps.len()
    }

    /// Whether the power is on.
    pub fn has_power(&self) -> bool {
        self.state().power
    }

    /// Counts something that is no file operation. Fails without power.
    pub fn act(&self) -> io::Result<()> {
        self.state().step(Step::Act).map(drop)
    }

    /// Paths of all files.
    pub fn files(&self) -> Vec<PathBuf> {
        let state = self.state();
        let of_directory = |(path, directory): (&PathBuf, &Directory)| {
            let files = directory.now.iter().filter(|(_, node)| **node != Node::Directory);
            files.map(|(name, _)| path.join(name)).collect::<Vec<_>>()
        };
        state.directories.iter().flat_map(of_directory).collect()
    }

    /// A bit of a file flips on the medium.
    pub fn damage(&self, path: &Path) {
        let mut state = self.state();
        let directory = path.parent().and_then(|parent| state.directories.get(parent));
        let name = path.file_name().unwrap().to_str().unwrap();
        let Some(Node::File(number)) = directory.and_then(|entries| entries.now.get(name)).copied()
        else {
            panic!("{path:?} is no file");
        };
        let inode = &mut state.inodes[number];
        inode.now[7] ^= 1;
        inode.durable = inode.now.clone();
    }

    /// Others fill the disk until so much is free. Returns how many percent that is.
    pub fn leave_free(&self, bytes: u64) -> u64 {
        let mut state = self.state();
        state.foreign = 0;
        state.foreign = state.capacity - state.used() - bytes;
        bytes * 100 / state.capacity
    }

    /// Power is lost, if it was on, and comes back. No further fault is to come.
    pub fn power_cycle(&self, seed: u64) {
        let mut state = self.state();
        let mut rng = StdRng::seed_from_u64(seed);
        for inode in &mut state.inodes {
            inode.lose(&mut rng);
        }
        let mut surviving = BTreeMap::new();
        let mut paths = vec![PathBuf::from("/")];
        while let Some(path) = paths.pop() {
            let mut directory = state.directories.get(&path).cloned().unwrap_or_default();
            let kept = rng.random_range(0..=directory.pending.len());
            for change in directory.pending.drain(..).take(kept) {
                apply(&mut directory.durable, change);
            }
            directory.now = directory.durable.clone();
            let below = directory.now.iter().filter(|(_, node)| **node == Node::Directory);
            paths.extend(below.map(|(name, _)| path.join(name)));
            surviving.insert(path, directory);
        }
        state.directories = surviving;
        state.power = true;
        state.fault = None;
        state.full_until = 0;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl Inode {
    fn lose(&mut self, rng: &mut StdRng) {
        if self.dirty {
            match rng.random_range(0..4) {
                0 => {}
                1 => self.durable = self.now.clone(),
                2 => self.durable = self.now[..rng.random_range(0..=self.now.len())].to_vec(),
                _ => {
                    self.durable = self.now.clone();
                    let from = rng.random_range(0..=self.now.len());
                    self.durable[from..].fill(0);
                }
            }
        }
        self.now = self.durable.clone();
        self.dirty = false;
    }
}

fn apply(names: &mut BTreeMap<String, Node>, change: Change) {
    match change {
        Change::Set(name, node) => drop(names.insert(name, node)),
        Change::Unset(name) => drop(names.remove(&name)),
        Change::Rename(from, to) => {
            if let Some(node) = names.remove(&from) {
                names.insert(to, node);
            }
        }
    }
}

impl State {
    /// Counts an operation. `Some` if it is to go wrong in a way of its own.
    fn step(&mut self, step: Step) -> io::Result<Option<Fault>> {
        if !self.power {
            return Err(no_power());
        }
        let count = self.steps.len();
        self.steps.push(step);
        match self.fault.filter(|(at, _)| *at == count).map(|(_, fault)| fault) {
            Some(Fault::PowerLoss) => {
                self.power = false;
                Err(no_power())
            }
            Some(Fault::Fails) => Err(failed()),
            Some(Fault::Full) => {
                self.full_until = count + FULL_FOR;
                Ok(None)
            }
            fault => Ok(fault),
        }
    }

    fn read_only(&self) -> io::Result<()> {
        if self.power { Ok(()) } else { Err(no_power()) }
    }

    fn used(&self) -> u64 {
        let files = self.directories.values().flat_map(|directory| directory.now.values());
        let length = |node: &Node| match node {
            Node::File(inode) => self.inodes[*inode].now.len() as u64,
            Node::Directory => 0,
        };
        files.map(length).sum::<u64>() + self.foreign
    }

    fn free(&self) -> u64 {
        match self.steps.len() < self.full_until {
            true => 0,
            false => self.capacity.saturating_sub(self.used()),
        }
    }

    fn split(path: &Path) -> (PathBuf, String) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (path.parent().unwrap().to_owned(), name)
    }

    fn node(&self, path: &Path) -> io::Result<Node> {
        if path == Path::new("/") {
            return Ok(Node::Directory);
        }
        let (parent, name) = Self::split(path);
        let node = self.directories.get(&parent).and_then(|directory| directory.now.get(&name));
        node.copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn inode(&self, path: &Path) -> io::Result<&Inode> {
        match self.node(path)? {
            Node::File(inode) => Ok(&self.inodes[inode]),
            Node::Directory => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn change(&mut self, directory: &Path, change: Change) -> io::Result<()> {
        let directory = self.directories.get_mut(directory).ok_or(io::ErrorKind::NotFound)?;
        apply(&mut directory.now, change.clone());
        directory.pending.push(change);
        Ok(())
    }

    fn sync_inode(&mut self, inode: usize, fault: Option<Fault>) -> io::Result<()> {
        let inode = &mut self.inodes[inode];
        inode.dirty = false;
        if fault == Some(Fault::SyncLosesData) {
            return Err(failed());
        }
        inode.durable = inode.now.clone();
        Ok(())
    }
}

fn capped(bytes: &[u8], limit: u64) -> io::Result<Vec<u8>> {
    match bytes.len() as u64 > limit {
        true => Err(io::ErrorKind::InvalidData.into()),
        false => Ok(bytes.to_vec()),
    }
}

impl FileSystem for SimDisk {
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let state = self.state();
        state.read_only()?;
        capped(&state.inode(path)?.now, limit)
    }

    fn read_back(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let state = self.state();
        state.read_only()?;
        capped(&state.inode(path)?.durable, limit)
    }

    fn size(&self, path: &Path) -> io::Result<u64> {
        let state = self.state();
        state.read_only()?;
        match state.node(path)? {
            Node::Directory => Ok(0),
            Node::File(inode) => Ok(state.inodes[inode].now.len() as u64),
        }
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<Entry>> {
        let state = self.state();
        state.read_only()?;
        state.node(directory)?;
        let directory = state.directories.get(directory).ok_or(io::ErrorKind::NotADirectory)?;
        let entry = |(name, node): (&String, &Node)| Entry {
            name: name.clone(),
            is_directory: *node == Node::Directory,
        };
        Ok(directory.now.iter().map(entry).collect())
    }

    fn space(&self, _: &Path) -> io::Result<Space> {
        let state = self.state();
        state.read_only()?;
        // What fills the disk by order comes after whoever asks has asked.
        Ok(Space { total: state.capacity, free: state.capacity.saturating_sub(state.used()) })
    }

    fn create(&self, path: &Path, bytes: &[u8], sync: Sync) -> io::Result<()> {
        let mut state = self.state();
        let (parent, name) = State::split(path);
        state.read_only()?;
        state.node(&parent)?;
        state.step(Step::Names)?;
        let number = state.inodes.len();
        state.inodes.push(Inode::default());
        state.change(&parent, Change::Set(name, Node::File(number)))?;
        let fault = state.step(Step::Write)?;
        let room = usize::try_from(state.free()).unwrap_or(usize::MAX);
        let room = if fault == Some(Fault::ShortWrite) { bytes.len() / 2 } else { room };
        let written = &bytes[..bytes.len().min(room)];
        state.inodes[number] = Inode { now: written.to_vec(), durable: Vec::new(), dirty: true };
        if written.len() < bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        match sync {
            Sync::Later => Ok(()),
            Sync::Now => {
                let fault = state.step(Step::Sync)?;
                state.sync_inode(number, fault)
            }
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step(Step::Names)?;
        let ((parent, from_name), (_, to_name)) = (State::split(from), State::split(to));
        state.node(from)?;
        if matches!(state.node(to), Ok(Node::Directory)) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        state.change(&parent, Change::Rename(from_name, to_name))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.read_only()?;
        state.inode(path)?;
        state.step(Step::Names)?;
        let (parent, name) = State::split(path);
        state.change(&parent, Change::Unset(name))
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step(Step::Names)?;
        if state.node(path).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let (parent, name) = State::split(path);
        state.change(&parent, Change::Set(name, Node::Directory))?;
        state.directories.insert(path.to_owned(), Directory::default());
        Ok(())
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step(Step::Names)?;
        match state.directories.get(path) {
            None => return Err(io::ErrorKind::NotFound.into()),
            Some(directory) if !directory.now.is_empty() => {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
            Some(_) => {}
        }
        let (parent, name) = State::split(path);
        state.change(&parent, Change::Unset(name))
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let fault = state.step(Step::Sync)?;
        let directory = state.directories.get_mut(path).ok_or(io::ErrorKind::NotFound)?;
        if fault == Some(Fault::SyncLosesData) {
            // The names stay in memory, and a later sync may write them.
            return Err(failed());
        }
        directory.pending.clear();
        directory.durable = directory.now.clone();
        Ok(())
    }

    fn sync_all(&self, _: &Path) -> io::Result<()> {
        let mut state = self.state();
        let fault = state.step(Step::Sync)?;
        for number in 0..state.inodes.len() {
            if state.inodes[number].dirty {
                // The first that is dirty loses its data, the others do not.
                state.sync_inode(number, fault)?;
            }
        }
        for directory in state.directories.values_mut() {
            directory.pending.clear();
            directory.durable = directory.now.clone();
        }
        Ok(())
    }

    fn blocks(&self) -> bool {
        false
    }
}
