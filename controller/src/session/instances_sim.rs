//! Devices that crash, reconnect over other networks and reach other controllers, with messages that come
//! late or never, in thousands of seeded orders: one machine is never taken for two, and two are found.

use std::collections::VecDeque;

use edgeformer_proto::instance::Instance;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{Instances, Opened, Place};

#[derive(Debug, Clone, PartialEq)]
enum Up {
    Hello { boot: String, shown: Instance },
    Kept(Instance),
    Answer { nonce: u64, held: Instance },
}

#[derive(Debug, Clone, PartialEq)]
enum Down {
    Offer(Instance),
    Probe(u64),
    Superseded,
}

/// One connection with the controller's end of it. Each controller keeps what it has in the store, so
/// they are told apart by nothing here but how late each hears.
struct Stream {
    up: VecDeque<Up>,
    down: VecDeque<Down>,
    session: Option<String>,
    behind: bool,
    asked: Option<(u64, Place)>,
    ended: bool,
}

/// A machine with a state folder. `process` is a running agent: its boot id, what it holds, its stream.
#[derive(Default)]
struct Machine {
    disk: Instance,
    process: Option<(String, Instance, Option<usize>)>,
}

struct World {
    rng: StdRng,
    store: Instances,
    streams: Vec<Stream>,
    machines: Vec<Machine>,
    next: u64,
    found: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            store: Instances::default(),
            streams: Vec::new(),
            machines: vec![Machine::default()],
            next: 0,
            found: false,
        }
    }

    fn unique(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn fresh(&mut self) -> [u8; 16] {
        u128::from(self.unique()).to_be_bytes()
    }

    /// A new stream of a running agent; the one before is read no more, whatever is on its way.
    fn connect(&mut self, machine: usize) {
        let boot = format!("boot-{}", self.unique());
        let at = self.streams.len();
        let Machine { disk, process } = &mut self.machines[machine];
        let (boot, held, stream) = process.get_or_insert_with(|| (boot, *disk, None));
        *stream = Some(at);
        let hello = Up::Hello { boot: boot.clone(), shown: *held };
        self.streams.push(Stream {
            up: [hello].into(),
            down: VecDeque::new(),
            session: None,
            behind: false,
            asked: None,
            ended: false,
        });
    }

    /// The agent reads one message, if there is one. `crash` 1: before it wrote; 2: before it answered.
    fn read(&mut self, machine: usize, crash: u32) {
        let Machine { disk, process } = &mut self.machines[machine];
        let Some((_, held, stream)) = process else { return };
        let Some(at) = *stream else { return };
        let Some(message) = self.streams[at].down.pop_front() else { return };
        match message {
            Down::Superseded => *stream = None,
            Down::Probe(nonce) => self.streams[at].up.push_back(Up::Answer { nonce, held: *held }),
            Down::Offer(offer) if held.takes(&offer) => {
                if crash != 1 {
                    *disk = offer;
                }
                if crash != 0 {
                    *process = None;
                    return;
                }
                *held = offer;
                self.streams[at].up.push_back(Up::Kept(offer));
            }
            Down::Offer(_) => {}
        }
    }

    /// A controller hears one message of a stream.
    fn deliver(&mut self, at: usize) {
        if self.streams[at].ended {
            return;
        }
        let Some(message) = self.streams[at].up.pop_front() else { return };
        match message {
            Up::Hello { boot, shown } => {
                let (session, fresh) = (format!("session-{}", self.unique()), self.fresh());
                let opened = self.store.open(&session, &boot, Some(shown), fresh);
                self.streams[at].session = Some(session);
                self.streams[at].behind = opened == Opened::Behind;
                if let Opened::Seated(Some(offer)) = opened {
                    self.streams[at].down.push_back(Down::Offer(offer));
                }
                assert!(!matches!(opened, Opened::Ahead(_)), "the store was never put back");
                self.ask(at, Place::Seat);
            }
            Up::Kept(kept) => {
                self.store.ratchet.kept(kept);
            }
            Up::Answer { nonce, held } => {
                let stream = &self.streams[at];
                let Some((_, asked_in)) = stream.asked.filter(|(asked, _)| *asked == nonce) else {
                    return;
                };
                let session = stream.session.clone().unwrap();
                self.found |= match stream.behind {
                    true => self.store.is_copy(held),
                    false => self.store.answered(&session, asked_in),
                };
            }
        }
    }

    fn ask(&mut self, at: usize, asked_in: Place) {
        let nonce = self.unique();
        self.streams[at].asked = Some((nonce, asked_in));
        self.streams[at].down.push_back(Down::Probe(nonce));
    }

    /// A controller looks whether a session of its own was superseded.
    fn recheck(&mut self, at: usize) {
        let stream = &self.streams[at];
        let Some(session) = stream.session.clone().filter(|_| !stream.ended && !stream.behind)
        else {
            return;
        };
        match self.store.place(&session) {
            Place::Seat => {}
            Place::Rival if stream.asked.is_none_or(|(_, place)| place != Place::Rival) => {
                self.ask(at, Place::Rival);
            }
            // It had its time to answer, or nobody wants to know.
            _ => {
                self.streams[at].down.push_back(Down::Superseded);
                self.streams[at].ended = self.rng.random_bool(0.5);
            }
        }
    }

    /// A connection breaks: what is on its way is lost from some message on, one way or both.
    fn cut(&mut self, at: usize) {
        let stream = &mut self.streams[at];
        let keep = self.rng.random_range(0..=stream.up.len());
        stream.up.truncate(keep);
        stream.down.clear();
        stream.ended |= self.rng.random_bool(0.5);
    }

    fn step(&mut self, machines: &[usize]) {
        let machine = machines[self.rng.random_range(0..machines.len())];
        let streams = self.streams.len();
        let any = |rng: &mut StdRng| (streams > 0).then(|| rng.random_range(0..streams));
        match self.rng.random_range(0..100) {
            0..12 => self.connect(machine),
            12..16 => self.machines[machine].process = None,
            16..45 => {
                let crash = self.rng.random_range(0..12_u32);
                self.read(machine, if crash <= 2 { crash } else { 0 });
            }
            45..80 => {
                // Mostly the newest, which is alive; sometimes what was left behind long ago.
                let newest = self.rng.random_bool(0.6);
                let at = if newest { streams.checked_sub(1) } else { any(&mut self.rng) };
                at.into_iter().for_each(|at| self.deliver(at));
            }
            80..95 => any(&mut self.rng).into_iter().for_each(|at| self.recheck(at)),
            _ => any(&mut self.rng).into_iter().for_each(|at| self.cut(at)),
        }
    }

    /// One machine has a whole session, undisturbed, and goes.
    fn whole_session(&mut self, machine: usize) {
        self.connect(machine);
        let at = self.streams.len() - 1;
        for _ in 0..6 {
            self.deliver(at);
            self.read(machine, 0);
            self.read(machine, 0);
        }
    }
}

#[test]
fn one_machine_is_never_taken_for_two() {
    for seed in 0..4000 {
        let mut world = World::new(seed);
        for step in 0..300 {
            world.step(&[0]);
            assert!(!world.found, "seed {seed}, step {step}");
        }
        // Everything that is still on its way arrives after all.
        for at in 0..world.streams.len() {
            while !world.streams[at].up.is_empty() && !world.streams[at].ended {
                world.deliver(at);
            }
            assert!(!world.found, "seed {seed}, late messages");
        }
    }
}

#[test]
fn a_copy_is_found_whenever_it_was_made_and_however_the_two_take_turns() {
    let mut at_once = 0;
    for seed in 0..2000 {
        let mut world = World::new(seed);
        for _ in 0..world.rng.random_range(1..120) {
            world.step(&[0]);
        }
        let disk = world.machines[0].disk;
        world.machines.push(Machine { disk, process: None });
        for _ in 0..world.rng.random_range(0..200) {
            world.step(&[0, 1]);
        }
        at_once += u32::from(world.found);
        // Never at the same time: each has whole sessions while the other is off.
        for turn in 0..6 {
            if world.found {
                break;
            }
            let machine = turn % 2;
            world.machines[1 - machine].process = None;
            world.whole_session(machine);
        }
        assert!(world.found, "seed {seed}: two machines went unnoticed");
    }
    assert!(at_once > 200, "only {at_once} of 2000 were found while both were there");
}

#[test]
fn a_machine_put_back_to_an_old_image_is_found_when_it_comes_back() {
    let mut world = World::new(1);
    world.whole_session(0);
    let image = world.machines[0].disk;
    world.whole_session(0);
    assert!(!world.found);
    world.machines[0] = Machine { disk: image, process: None };
    world.whole_session(0);
    assert!(world.found);
}

#[test]
fn two_that_are_there_at_the_same_time_are_found_before_either_comes_again() {
    let mut world = World::new(1);
    world.whole_session(0);
    let disk = world.machines[0].disk;
    world.machines.push(Machine { disk, process: None });
    world.whole_session(1);
    assert!(!world.found, "the first is not known to be there");
    let first = 0;
    world.recheck(first);
    world.read(0, 0);
    world.deliver(first);
    assert!(world.found);
}
