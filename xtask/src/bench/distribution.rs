//! What it costs to publish a model, to open it on a device, to bring a second version, and to download
//! a large one. The programs' own code against the bare libraries, `xdelta3` and `zstd --patch-from`.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Effort;
use super::program::{self, number};
use super::report::{Row, median};
use crate::paths::{repo_root, target_dir};
use crate::progress::waiting;
use crate::setup::{self, Needs};
use crate::shell;
use crate::stack::{AgentOptions, Binaries, ControllerOptions, Fleet};

const BENCH: &str = "distribution";
/// Share of the speed of the bare libraries, on one core.
const PUBLISH: f64 = 0.6;
const OPEN: f64 = 0.8;
/// How much faster two cores have to be than one.
const GROWTH: f64 = 1.5;
/// The same of a whole publication, in which an upload is received and hashed as it comes, byte after byte.
const PUBLISH_GROWTH: f64 = 1.2;
/// Most that a second version with 5 % other tensor bytes may cost, in percent of the first download.
const SECOND_PERCENT: f64 = 8.0;
/// Most memory above idle while a model of this size is downloaded.
const ABOVE_IDLE_MIB: f64 = 64.0;
const DOWNLOAD_MIB: u64 = 954;
/// The first versions' window of `xdelta3` and `zstd`: both see the whole of it.
const XDELTA_WINDOW: &str = "134217728";
const ZSTD_WINDOW: &str = "--long=27";
/// A download that takes longer than this is stuck.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(900);

pub(super) fn run(effort: Effort) -> Result<Vec<Row>> {
    let tools = setup::run(Needs::Demo)?;
    setup::delta_tools()?;
    println!("building the bench and the programs with optimisation");
    let mut build = Command::new("cargo");
    build.current_dir(repo_root()).args(["build", "--release", "--locked", "--bins"]);
    for package in ["edgeformer-agent", "edgeformer-cli", "edgeformer-controller"] {
        build.args(["-p", package]);
    }
    shell::run_shown(&mut build)?;
    program::build(BENCH)?;
    let (pairs, mib) = match effort {
        Effort::Quick => (5, 256),
        Effort::Full => (9, 512),
    };
    let folder = tempfile::tempdir().context("no temporary directory")?;
    let large = folder.path().join("large.gguf");
    waiting("a model of real tensors", || make("tile", &tools.model, &large, mib))?;
    let mut rows = speeds(&large, pairs)?;
    fs::remove_file(&large)?;
    for (what, bar) in [("tensors", Some(SECOND_PERCENT)), ("spread", None)] {
        let second = folder.path().join("second.gguf");
        make(what, &tools.model, &second, 0)?;
        rows.extend(Delta { what, first: &tools.model, second: &second, pairs }.rows(bar)?);
    }
    let download = || download_memory(&tools.model, folder.path(), effort);
    rows.push(waiting("the agent's memory while it downloads 1 GB", download)?);
    Ok(rows)
}

fn measure(arguments: &[&str], model: &Path) -> Result<Vec<Value>> {
    program::measure(program::run(BENCH, arguments).arg("--model").arg(model))
}

fn make(what: &str, from: &Path, to: &Path, mib: u64) -> Result<()> {
    let mut make = program::run(BENCH, &["--what", what, "--mib", &mib.to_string()]);
    shell::output(make.arg("--model").arg(from).arg("--second").arg(to)).map(drop)
}

/// Publishing and opening, on one core and on two; the reference is on one.
fn speeds(model: &Path, pairs: usize) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    for cores in 1..=all.min(2) {
        for what in ["publish", "open"] {
            let name = format!("{what} on {cores} core(s)");
            let (pairs, cores) = (pairs.to_string(), cores.to_string());
            let arguments = ["--what", what, "--pairs", &pairs, "--cores", &cores];
            let lines = waiting(&name, || measure(&arguments, model))?;
            rows.extend(speed_rows(&lines, cores.parse()?)?);
        }
    }
    Ok(rows)
}

/// A row for each case of these lines.
fn speed_rows(lines: &[Value], cores: u32) -> Result<Vec<Row>> {
    let mut cases: Vec<(&str, Vec<&Value>)> = Vec::new();
    for line in lines {
        let case = line["case"].as_str().context("the bench gave no case")?;
        match cases.iter_mut().find(|(name, _)| *name == case) {
            Some((_, lines)) => lines.push(line),
            None => cases.push((case, vec![line])),
        }
    }
    let row = |(case, lines): (&str, Vec<&Value>)| {
        let pairs = |ours, reference| -> Result<Vec<(f64, f64)>> {
            lines.iter().map(|line| Ok((number(line, ours)?, number(line, reference)?))).collect()
        };
        let cpu = pairs("ours_cpu", "reference_cpu")?;
        let cpu = median(cpu.iter().map(|(ours, reference)| ours / reference).collect());
        let (bar, growth, reference) = match case {
            "seal" => (PUBLISH, GROWTH, "zstd 3, AES-256-GCM, SHA-256"),
            "publish" => (PUBLISH, PUBLISH_GROWTH, "the same, written to one file"),
            _ => (OPEN, GROWTH, "AES-256-GCM, zstd, SHA-256 of one file"),
        };
        let bar = if cores > 1 { bar * growth } else { bar };
        let note = format!("reference: {reference}; 1 core; by CPU time {cpu:.2}");
        let pairs = pairs("ours", "reference")?;
        let case = format!("{case}, {cores} core(s)");
        Ok(Row::from_pairs(BENCH, case, "MB/s", bar, &pairs, note))
    };
    cases.into_iter().map(row).collect()
}

/// What one way to bring the second version takes.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    bytes: f64,
    make_s: f64,
    make_mib: f64,
    apply_s: f64,
    apply_mib: f64,
}

/// A second version, and the ways to bring it to a device that has the first.
struct Delta<'a> {
    what: &'static str,
    first: &'a Path,
    second: &'a Path,
    pairs: usize,
}

impl Delta<'_> {
    fn rows(&self, bar_percent: Option<f64>) -> Result<Vec<Row>> {
        let (mut percent, mut ours, mut xdelta, mut zstd) = (vec![], vec![], vec![], vec![]);
        for pair in 1..=self.pairs {
            let name = format!("second version ({}), pair {pair} of {}", self.what, self.pairs);
            waiting(&name, || {
                let (cost, full_bytes) = self.ours()?;
                percent.push(cost.bytes * 100.0 / full_bytes);
                ours.push(cost);
                xdelta.push(self.xdelta3()?);
                zstd.push(self.zstd()?);
                Ok(())
            })?;
        }
        let case = format!("2nd version, {}: download", self.what);
        let note = "5 % of the tensor bytes are new; reference: the most it may be".to_owned();
        let reference = bar_percent.unwrap_or(SECOND_PERCENT);
        let pairs: Vec<_> = percent.iter().map(|ours| (*ours, reference)).collect();
        let bar = if bar_percent.is_some() { 1.0 } else { 0.0 };
        let mut rows = vec![Row::from_costs(BENCH, case, "% of all", bar, &pairs, note)];
        for (tool, theirs) in [("xdelta3", xdelta), ("zstd --patch-from", zstd)] {
            rows.extend(self.beside(tool, &ours, &theirs));
        }
        Ok(rows)
    }

    fn beside(&self, tool: &str, ours: &[Cost], theirs: &[Cost]) -> Vec<Row> {
        type Part = fn(&Cost) -> f64;
        let parts: [(&str, &'static str, Part); 5] = [
            ("size", "MB", |cost| cost.bytes / 1e6),
            ("make", "s", |cost| cost.make_s),
            ("make, peak", "MiB", |cost| cost.make_mib),
            ("apply", "s", |cost| cost.apply_s),
            ("apply, peak", "MiB", |cost| cost.apply_mib),
        ];
        let row = |(part, unit, of): (&str, &'static str, Part)| {
            let pairs: Vec<_> = ours.iter().zip(theirs).map(|(a, b)| (of(a), of(b))).collect();
            let note = match part {
                "apply" => format!("{tool}; ours: opening the version, as at every start"),
                "make" => format!("{tool}; ours: publishing, with the upload and its signature"),
                _ => tool.to_owned(),
            };
            let case = format!("2nd version, {}: {part}", self.what);
            Row::from_costs(BENCH, case, unit, 0.0, &pairs, note)
        };
        parts.into_iter().map(row).collect()
    }

    /// Also what the whole second version would be.
    fn ours(&self) -> Result<(Cost, f64)> {
        let second = self.second.to_string_lossy();
        let lines = measure(&["--what", "second", "--second", &second], self.first)?;
        let line = lines.first().context("the bench gave nothing")?;
        let cost = Cost {
            bytes: number(line, "second_bytes")?,
            make_s: number(line, "make_s")?,
            make_mib: number(line, "make_kib")? / 1024.0,
            apply_s: number(line, "apply_s")?,
            apply_mib: number(line, "apply_kib")? / 1024.0,
        };
        Ok((cost, number(line, "full_bytes")?))
    }

    fn xdelta3(&self) -> Result<Cost> {
        let xdelta3 = || {
            let mut command = Command::new("xdelta3");
            command.args(["-f", "-B", XDELTA_WINDOW]);
            command
        };
        self.patched(
            |patch| {
                let mut make = xdelta3();
                make.arg("-e").arg("-s").arg(self.first).arg(self.second).arg(patch);
                make
            },
            |patch, out| {
                let mut apply = xdelta3();
                apply.arg("-d").arg("-s").arg(self.first).arg(patch).arg(out);
                apply
            },
        )
    }

    fn zstd(&self) -> Result<Cost> {
        let zstd = || {
            let mut command = Command::new("zstd");
            command.args(["-q", "-f", "-3", ZSTD_WINDOW]);
            command.arg(format!("--patch-from={}", self.first.display()));
            command
        };
        self.patched(
            |patch| {
                let mut make = zstd();
                make.arg(self.second).arg("-o").arg(patch);
                make
            },
            |patch, out| {
                let mut apply = zstd();
                apply.arg("-d").arg(patch).arg("-o").arg(out);
                apply
            },
        )
    }

    fn patched(
        &self,
        make: impl Fn(&Path) -> Command,
        apply: impl Fn(&Path, &Path) -> Command,
    ) -> Result<Cost> {
        let folder = tempfile::tempdir()?;
        let (patch, out) = (folder.path().join("patch"), folder.path().join("out"));
        let (make_s, make_mib) = run_measured(&mut make(&patch))?;
        let (apply_s, apply_mib) = run_measured(&mut apply(&patch, &out))?;
        let same = setup::sha256_file(&out)? == setup::sha256_file(self.second)?;
        ensure!(same, "the patch does not make the second version");
        let bytes = fs::metadata(&patch)?.len() as f64;
        Ok(Cost { bytes, make_s, make_mib, apply_s, apply_mib })
    }
}

/// Runs a program to its end. Returns the seconds it took and the most memory it had, in MiB.
fn run_measured(command: &mut Command) -> Result<(f64, f64)> {
    let shown = shell::describe(command);
    let started = Instant::now();
    let command = command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = command.spawn().with_context(|| format!("cannot start `{shown}`"))?;
    let status_file = format!("/proc/{}/status", child.id());
    let mut peak_kib = 0.0_f64;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        // Gone between the two is no error: the last look has the peak of a long life.
        let text = fs::read_to_string(&status_file).unwrap_or_default();
        peak_kib = memory_kib(&text, "VmHWM").map_or(peak_kib, |seen| peak_kib.max(seen));
        std::thread::sleep(Duration::from_millis(5));
    };
    ensure!(status.success(), "`{shown}` failed ({status})");
    Ok((started.elapsed().as_secs_f64(), peak_kib / 1024.0))
}

/// A line of /proc/<pid>/status in KiB.
fn memory_kib(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

/// A real agent downloads a model of 1 GB from a real controller.
fn download_memory(model: &Path, folder: &Path, effort: Effort) -> Result<Row> {
    let large = folder.join("download.gguf");
    make("tile", model, &large, DOWNLOAD_MIB)?;
    let binaries = Binaries::in_dir(&target_dir().join("release"))?;
    let runs = if effort == Effort::Quick { 1 } else { 3 };
    let mut pairs = Vec::new();
    for _ in 0..runs {
        let fleet = Fleet::start(&binaries, ControllerOptions::default())?;
        fleet.publish("large", "1.0.0", &large)?;
        let agent = fleet.agent("edge", AgentOptions::default())?;
        crate::stack::wait_for("the device to be online", DOWNLOAD_LIMIT, || {
            Ok((fleet.device("edge")?["online"] == true).then_some(()))
        })?;
        let process = agent.id().context("the agent does not run")?;
        let memory = |name| -> Result<f64> {
            let status = fs::read_to_string(format!("/proc/{process}/status"))?;
            memory_kib(&status, name).context("the agent has no memory")
        };
        let idle = memory("VmRSS")?;
        let rollout = fleet.rollout("large", "1.0.0", &["--all"])?;
        // It is no model that runs: it is fetched, verified, given to a worker, and refused there.
        let ended = fleet.rollout_end(&rollout, DOWNLOAD_LIMIT)?;
        ensure!(ended["state"] == "failed", "a model of tiles did run: {ended}");
        let slot = crate::stack::slot_of(&fleet.device("edge")?, "large");
        ensure!(slot["reason"] == "load", "the download failed: {slot}");
        pairs.push(((memory("VmHWM")? - idle) / 1024.0, ABOVE_IDLE_MIB));
    }
    let note = "peak of the agent above idle; reference: the most it may be".to_owned();
    let case = "download of 1 GB: memory".to_owned();
    Ok(Row::from_costs(BENCH, case, "MiB", 1.0, &pairs, note))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cases_become_rows_with_the_bar_of_their_cores() {
        let line = |case: &str, ours: f64| {
            json!({"case": case, "ours": ours, "reference": 100.0,
                   "ours_cpu": ours, "reference_cpu": 100.0})
        };
        let lines =
            [line("seal", 70.0), line("seal", 90.0), line("seal", 80.0), line("open", 90.0)];
        let rows = speed_rows(&lines, 1).unwrap();
        assert_eq!((rows.len(), rows[0].case.as_str(), rows[0].pairs), (2, "seal, 1 core(s)", 3));
        assert!((rows[0].ratio - 0.8).abs() < 1e-9 && (rows[0].bar - PUBLISH).abs() < 1e-9);
        assert!((speed_rows(&lines, 2).unwrap()[1].bar - OPEN * GROWTH).abs() < 1e-9);
        assert!(speed_rows(&[json!({"case": "seal"})], 1).is_err());
    }

    #[test]
    fn memory_is_read_by_its_name() {
        let status = "Name:\tagent\nVmHWM:\t   2048 kB\nVmRSS:\t  1024 kB\n";
        assert_eq!(memory_kib(status, "VmHWM"), Some(2048.0));
        assert_eq!(memory_kib(status, "VmSwap"), None);
    }
}
