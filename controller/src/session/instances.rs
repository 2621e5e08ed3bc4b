//! Whether two machines are one device: a pure decision over what the sessions of a device showed and
//! answered, shared by all controllers through the store.
//!
//! Two things give a copy away. It shows a value that the device has left behind (`proto::instance`); or
//! it is there at the same time: two sessions of different starts of the agent, and both ends answer a
//! question that was asked after each was known. Nothing is believed that may have been said before the
//! question: connections end without a word, and messages come late. An agent answers on one stream, and
//! one state folder has one agent, so neither can happen to a device that restarts or reconnects.

use edgeformer_proto::instance::{Instance, Ratchet, VALUE_BYTES, Verdict};

/// A session and the start of the agent that it came from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seat {
    /// Made up by the controller; empty if there is none.
    pub session: String,
    /// As the agent says.
    pub boot: String,
    /// Whether it answered since both seats were taken.
    pub answered: bool,
}

/// What is known of the sessions of one device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Instances {
    /// The chain of values.
    pub ratchet: Ratchet,
    /// The newest session.
    pub seat: Seat,
    /// The session that it took the place of, if it was of another start of the agent.
    pub rival: Seat,
}

/// How a session may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// It has the seat. With an offer, for agents that know what to do with one.
    Seated(Option<Instance>),
    /// As above, but this controller's store is older than the device.
    Ahead(Option<Instance>),
    /// It shows what the device left behind. It gets no seat; if it answers a probe it is a second
    /// machine.
    Behind,
}

/// Which seat a session has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The newest.
    Seat,
    /// It was superseded by another start of the agent.
    Rival,
    /// It was superseded, and nothing is to be found out by it.
    None,
}

impl Instances {
    /// A session begins. `shown` is absent from agents that do not know instances.
    pub fn open(
        &mut self,
        session: &str,
        boot: &str,
        shown: Option<Instance>,
        fresh: [u8; VALUE_BYTES],
    ) -> Opened {
        let verdict = shown.map(|shown| self.ratchet.hear(shown, fresh));
        if verdict == Some(Verdict::Behind) {
            return Opened::Behind;
        }
        let seat = Seat { session: session.to_owned(), boot: boot.to_owned(), answered: false };
        let before = std::mem::replace(&mut self.seat, seat);
        let contested = !before.session.is_empty() && !boot.is_empty() && before.boot != boot;
        self.rival = if contested { Seat { answered: false, ..before } } else { Seat::default() };
        match verdict {
            None => Opened::Seated(None),
            Some(Verdict::Ahead) => Opened::Ahead(self.ratchet.offered),
            Some(_) => Opened::Seated(self.ratchet.offered),
        }
    }

    /// Where `session` is now.
    pub fn place(&self, session: &str) -> Place {
        match session {
            _ if session == self.seat.session => Place::Seat,
            _ if session == self.rival.session => Place::Rival,
            _ => Place::None,
        }
    }

    /// Whoever is at the other end of `session` answered what it was asked when it had `asked_in`. An
    /// answer from before it lost its seat says nothing about now. True when both are there: they are
    /// two machines.
    pub fn answered(&mut self, session: &str, asked_in: Place) -> bool {
        match self.place(session) {
            place if place != asked_in => {}
            Place::Seat => self.seat.answered = true,
            Place::Rival => self.rival.answered = true,
            Place::None => {}
        }
        !self.rival.session.is_empty() && self.seat.answered && self.rival.answered
    }

    /// Whether a session that was behind when it began, and answered since, is a second machine. `held`
    /// is what it answered.
    pub fn is_copy(&self, held: Instance) -> bool {
        { self.ratchet }.hear(held, [0; VALUE_BYTES]) == Verdict::Behind
    }
}

#[cfg(test)]
#[path = "instances_sim.rs"]
mod simulation;
