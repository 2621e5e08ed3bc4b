//! What can go wrong with a TPM, in words that say what to do.

use std::io;
use std::path::PathBuf;

use super::place::Place;

/// A TPM did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[error("the TPM at {place}: {fault}")]
pub struct TpmError {
    /// Which TPM.
    pub place: Place,
    /// What happened.
    pub fault: Fault,
}

/// What happened.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// There is none.
    #[error(
        "it is not there ({0}): check that the TPM is switched on in the firmware and that the kernel \
         has its driver (`ls /dev/tpm*`); for a simulator, start it first"
    )]
    Absent(io::Error),
    /// The kernel lets one program at a time use it, and another does.
    #[error(
        "another program has it: use the kernel's resource manager instead, tpm:/dev/tpmrm0, which \
         many programs can use at a time"
    )]
    InUse,
    /// This user may not use it.
    #[error(
        "this user may not use it: add the user of the agent to the group that owns the device, mostly \
         `tss`; under systemd also let the unit have it (DeviceAllow=/dev/tpmrm0 rw)"
    )]
    Forbidden,
    /// The path is no device.
    #[error("{0} is not a device: name the TPM's, mostly /dev/tpmrm0")]
    NoDevice(PathBuf),
    /// A simulator elsewhere.
    #[error(
        "{0} is not on this machine: what a TPM answers is secret, and goes over no network in clear"
    )]
    Elsewhere(String),
    /// It could not be asked.
    #[error("it does not answer ({0})")]
    Io(io::Error),
    /// It answered nonsense.
    #[error("it answers with {0}, as no TPM 2.0 should: check that it is one, and its firmware")]
    Reply(&'static str),
    /// It refused.
    #[error("{}", sentence(command, *code))]
    Code {
        /// The command.
        command: &'static str,
        /// TPM_RC.
        code: u32,
    },
    /// The key was made under another storage key than this TPM has.
    #[error(
        "it did not make this device's keys, or was cleared since it did (they were made under storage \
         key {made}, it has {has}), and nothing else can use them: give the device its own TPM back, or \
         remove the state directory and enrol the device again (`edgeformer device replace` then gives \
         it its old place in the fleet)"
    )]
    OtherTpm {
        /// The first digits of the storage key's name under which the key was made.
        made: String,
        /// Those of the one that the TPM has.
        has: String,
    },
}

/// TPM_RC_INITIALIZE: TPM2_Startup is needed first.
const INITIALIZE: u32 = 0x100;

impl Fault {
    /// No room for another object.
    pub(super) fn is_room(&self) -> bool {
        matches!(self, Self::Code { code, .. } if matches!(base(*code), 0x902..=0x906))
    }

    /// To be asked again in a moment.
    pub(super) fn is_busy(&self) -> bool {
        let busy = |code| matches!(base(code), 0x908 | 0x909 | 0x90a | 0x920 | 0x922 | 0x923);
        matches!(self, Self::Code { code, .. } if busy(*code))
    }

    /// Nobody started it; the kernel and firmware do with a real one.
    pub(super) fn is_not_started(&self) -> bool {
        matches!(self, Self::Code { code, .. } if base(*code) == INITIALIZE)
    }
}

/// A code without the number of the parameter, handle or session, and without the layer that adds to it.
fn base(code: u32) -> u32 {
    match code & 0xfff {
        code if code & 0x80 != 0 => code & 0xbf,
        code => code,
    }
}

fn sentence(command: &str, code: u32) -> String {
    let what = match base(code) {
        0x100 => "nobody started it: restart the machine, or the simulator",
        0x101 => {
            "it found a fault in itself and does nothing more: restart the machine; if that does \
                  not help, it is broken"
        }
        0x120 | 0x85 => "its owner hierarchy is switched off: switch it on in the firmware",
        0x82 | 0x92 | 0x81 | 0xa6 | 0x83 | 0x143 => {
            "it has no P-256 with ECDSA and ECDH, which the device's keys need: use `--keys file` on \
             this device"
        }
        0x8e | 0xa2 | 0x12f => {
            "its owner hierarchy has a password, which the agent does not know: take it away \
             (`tpm2_changeauth -c owner -p PASSWORD`)"
        }
        0x9f | 0x95 | 0x9a | 0x84 => {
            "it does not take the wrapped key: the file is damaged; restore it, or remove the state \
             directory and enrol the device again"
        }
        0x902..=0x906 => {
            "it has no room for another key: other programs keep theirs loaded; use the kernel's \
             resource manager, tpm:/dev/tpmrm0, or end them"
        }
        0x921 => {
            "it is locked out after wrong passwords of other programs: wait, or reset the lockout \
             (`tpm2_dictionarylockout --clear-lockout`)"
        }
        0x908 | 0x909 | 0x90a | 0x920 | 0x922 | 0x923 => {
            "it stayed busy for a long time: the agent asks again later"
        }
        _ => "it refused",
    };
    format!("{what} ({command}: TPM error {code:#05x})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_become_words_whatever_they_are_about() {
        let check = |code, part: &str| {
            let text = Fault::Code { command: "TPM2_Load", code }.to_string();
            assert!(text.contains(part), "{code:#x}: {text}");
        };
        check(0x921, "locked out");
        check(0x902, "no room");
        check(0x1df, "damaged");
        check(0x98e, "has a password");
        check(0x9a2, "has a password");
        check(0x185, "hierarchy is switched off");
        check(0x100, "nobody started it");
        check(0x1ff, "it refused (TPM2_Load: TPM error 0x1ff)");
    }

    #[test]
    fn only_what_passes_is_tried_again() {
        let fault = |code| Fault::Code { command: "TPM2_Sign", code };
        assert!(fault(0x922).is_busy() && !fault(0x921).is_busy());
        assert!(fault(0x902).is_room() && !fault(0x922).is_room());
        assert!(fault(0x100).is_not_started());
    }
}
