//! What this device is and has left. Everything that is read here is declared in `DeviceFacts` and
//! `Heartbeat`; nothing else about the machine leaves it.

use std::path::Path;

use edgeformer_proto::v1::DeviceFacts;

/// Longest host name that is reported, in characters.
const MAX_HOSTNAME: usize = 253;

/// Memory of the machine, in bytes. 0 where the system does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    /// Installed.
    pub total_bytes: u64,
    /// Free, or freed on demand.
    pub available_bytes: u64,
}

/// Facts of this device, for enrolment and for each session.
pub fn gather(state_dir: &Path) -> DeviceFacts {
    let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
    DeviceFacts {
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        os: std::env::consts::OS.to_owned(),
        arch: std::env::consts::ARCH.to_owned(),
        cpus: std::thread::available_parallelism()
            .map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX)),
        memory_bytes: memory().total_bytes,
        disk_free_bytes: disk_free_bytes(state_dir).unwrap_or(0),
        cpu_features: cpu_features().into_iter().map(str::to_owned).collect(),
        hostname: hostname.chars().take(MAX_HOSTNAME).collect(),
    }
}

/// Memory of the machine now.
pub fn memory() -> Memory {
    std::fs::read_to_string("/proc/meminfo").map(|text| parse_meminfo(&text)).unwrap_or_default()
}

/// Bytes that this user may still write where `path` lies.
pub fn disk_free_bytes(path: &Path) -> std::io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn parse_meminfo(text: &str) -> Memory {
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name))
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|kib| kib.parse::<u64>().ok())
            .map_or(0, |kib| kib.saturating_mul(1024))
    };
    Memory { total_bytes: field("MemTotal:"), available_bytes: field("MemAvailable:") }
}

#[cfg(target_arch = "x86_64")]
fn cpu_features() -> Vec<&'static str> {
    let all = [
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("f16c", is_x86_feature_detected!("f16c")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("avx512vnni", is_x86_feature_detected!("avx512vnni")),
    ];
    all.into_iter().filter_map(|(name, has)| has.then_some(name)).collect()
}

#[cfg(target_arch = "aarch64")]
fn cpu_features() -> Vec<&'static str> {
    use std::arch::is_aarch64_feature_detected as has;
    let all = [("neon", has!("neon")), ("dotprod", has!("dotprod")), ("i8mm", has!("i8mm"))];
    all.into_iter().filter_map(|(name, has)| has.then_some(name)).collect()
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn cpu_features() -> Vec<&'static str> {
    Vec::new()
}

/// `bytes` for people: three digits and a decimal unit, e.g. "1.2 GB".
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = usize::from(value < 99.95);
    format!("{value:.decimals$} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_like_people_write_them() {
        let check = |bytes, text| assert_eq!(human_bytes(bytes), text);
        check(0, "0 B");
        check(999, "999 B");
        check(1_200_000_000, "1.2 GB");
        check(800_000_000, "800 MB");
        check(999_999, "1.0 MB");
        check(u64::MAX, "18446744 TB");
    }

    #[test]
    fn meminfo_is_read_and_rubbish_is_nothing() {
        let text = "MemTotal:  100 kB\nMemFree: 7 kB\nMemAvailable:   40 kB\n";
        let parsed = Memory { total_bytes: 102_400, available_bytes: 40_960 };
        assert_eq!(parse_meminfo(text), parsed);
        assert_eq!(parse_meminfo("MemTotal: many"), Memory::default());
    }
}
