//! Ports for listeners that are stopped and started again on the same address.

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Result, bail};

/// Services of the machine live below.
const FIRST: u16 = 15_000;
/// Where outgoing connections begin when the system does not say.
const EPHEMERAL: u16 = 32_768;
/// Tries before giving up; each hits a free port with near certainty.
const TRIES: u32 = 100;

/// A port of the loopback address that is free now and that no outgoing connection can take while
/// its listener is down. Whoever takes it all the same makes the start fail with a clear message.
pub(super) fn free_port() -> Result<u16> {
    let end = ephemeral_start();
    for _ in 0..TRIES {
        let port = FIRST + random_below(end - FIRST);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port between {FIRST} and {end} on 127.0.0.1");
}

/// `127.0.0.1:P` with a free port.
pub(super) fn free_address() -> Result<String> {
    Ok(format!("127.0.0.1:{}", free_port()?))
}

fn ephemeral_start() -> u16 {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let first = range.split_whitespace().next().and_then(|first| first.parse().ok());
    first.unwrap_or(EPHEMERAL).max(FIRST + 1000)
}

/// Each `RandomState` has new random keys; the bias of the remainder does not matter here.
fn random_below(limit: u16) -> u16 {
    let random = RandomState::new().build_hasher().finish();
    u16::try_from(random % u64::from(limit)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_free_and_out_of_the_way() {
        for _ in 0..20 {
            let port = free_port().unwrap();
            assert!((FIRST..ephemeral_start()).contains(&port), "{port}");
        }
    }
}
