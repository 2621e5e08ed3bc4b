//! Decides whether a new worker fits beside the old one. Pure but for [`available_bytes`], which
//! reads what the kernel says.

/// Left to the rest of the system: the agent itself, the page cache it works from, a login shell.
const RESERVE_BYTES: u64 = 64 << 20;

/// What a worker allocates beyond its manifest's sum before that counts as a leak: allocator
/// overhead, thread stacks, one request's text.
const LIMIT_HEADROOM_BYTES: u64 = 256 << 20;

/// How a trial gets its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryPlan {
    /// Old and new run side by side; no request waits.
    Beside,
    /// The old worker ends first; the slot answers nothing until the new one is active.
    StopFirst,
    /// Not even then.
    Refuse {
        /// What the new worker may use at most.
        available_bytes: u64,
    },
}

/// What the decision is made from, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryFacts {
    /// What the new worker needs.
    pub need: u64,
    /// What the slot's serving worker holds now; 0 if none serves.
    pub old: u64,
    /// What all workers hold now, the old one included.
    pub all_workers: u64,
    /// What the system can still give.
    pub available: u64,
    /// What all workers may hold together.
    pub limit: Option<u64>,
}

/// Chooses.
pub fn plan(facts: MemoryFacts) -> MemoryPlan {
    let system = facts.available.saturating_sub(RESERVE_BYTES);
    let allowance = facts.limit.map_or(u64::MAX, |limit| limit.saturating_sub(facts.all_workers));
    let free = system.min(allowance);
    let free_without_old = free.saturating_add(facts.old);
    if facts.need <= free {
        MemoryPlan::Beside
    } else if facts.need <= free_without_old {
        MemoryPlan::StopFirst
    } else {
        MemoryPlan::Refuse { available_bytes: free_without_old }
    }
}

/// The limit set on the worker process, so that a leak ends the worker and not the device. 0, no
/// limit, where the manifest does not state the need.
pub fn process_limit_bytes(need: u64) -> u64 {
    if need == 0 {
        return 0;
    }
    need.saturating_add(need / 4).saturating_add(LIMIT_HEADROOM_BYTES)
}

/// What the system can still give, by `/proc/meminfo` and the control group of this process.
/// `u64::MAX` where neither can be read: the kernel decides then.
pub fn available_bytes() -> u64 {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let number = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let group = match (number("/sys/fs/cgroup/memory.max"), number("/sys/fs/cgroup/memory.current"))
    {
        (Some(max), Some(current)) => max.saturating_sub(current),
        _ => u64::MAX,
    };
    kib_of(&meminfo, "MemAvailable:").map_or(u64::MAX, |kib| kib * 1024).min(group)
}

/// Resident memory of a process; 0 when it is gone.
pub fn rss_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    kib_of(&status, "VmRSS:").unwrap_or(0) * 1024
}

/// Processes that the kernel killed for lack of memory since it started.
pub fn oom_kills() -> u64 {
    let vmstat = std::fs::read_to_string("/proc/vmstat").unwrap_or_default();
    kib_of(&vmstat, "oom_kill").unwrap_or(0)
}

fn kib_of(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        if words.next()? != name {
            return None;
        }
        words.next()?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn check(need: u64, old: u64, available: u64, limit: Option<u64>, expected: MemoryPlan) {
        let facts = MemoryFacts {
            need: need * MIB,
            old: old * MIB,
            all_workers: old * MIB,
            available: available * MIB,
            limit: limit.map(|limit| limit * MIB),
        };
        assert_eq!(plan(facts), expected, "{facts:?}");
    }

    #[test]
    fn side_by_side_when_both_fit_and_one_after_the_other_when_not() {
        check(100, 0, 164, None, MemoryPlan::Beside);
        check(100, 0, 163, None, MemoryPlan::Refuse { available_bytes: 99 * MIB });
        check(100, 90, 90, None, MemoryPlan::StopFirst);
        check(100, 90, 1000, Some(190), MemoryPlan::Beside);
        check(100, 90, 1000, Some(189), MemoryPlan::StopFirst);
        check(100, 90, 1000, Some(99), MemoryPlan::Refuse { available_bytes: 99 * MIB });
        check(0, 0, 0, None, MemoryPlan::Beside);
    }

    #[test]
    fn a_leak_is_stopped_but_a_need_that_nobody_stated_is_not() {
        assert_eq!(process_limit_bytes(0), 0);
        assert_eq!(process_limit_bytes(400 * MIB), 756 * MIB);
    }

    #[test]
    fn numbers_are_read_by_whole_name() {
        let text = "MemTotal:  10 kB\nMemAvailableX: 7 kB\nMemAvailable:   42 kB\noom_kill_x 1\noom_kill 3";
        assert_eq!(kib_of(text, "MemAvailable:"), Some(42));
        assert_eq!(kib_of(text, "oom_kill"), Some(3));
        assert_eq!(kib_of(text, "SwapFree:"), None);
        assert!(rss_bytes(std::process::id()) > 0);
    }
}
