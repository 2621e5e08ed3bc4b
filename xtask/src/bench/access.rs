//! What walls, policies and the audit log cost: the controller against bare handlers on the same
//! tables, in turn, on SQLite and on PostgreSQL; and how an append and a proof grow with the log.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Effort;
use super::program::{self, number};
use super::report::Row;
use crate::progress::waiting;
use crate::setup::{self, Needs};
use crate::stack::Postgres;

const BENCH: &str = "access";
/// Ratios that count as good enough: the price of two walls and a policy engine on a page, and of a
/// record that is sealed, sequenced and signed on a write.
const PAGE_SQLITE: f64 = 0.8;
const PAGE_POSTGRES: f64 = 0.6;
const WRITE: f64 = 0.7;
/// Runs on logs of growing length.
const LOG_RUNS: usize = 5;

pub(super) fn run(effort: Effort) -> Result<Vec<Row>> {
    let tools = setup::run(Needs::Tests)?;
    let bin = tools.postgres_bin.context("setup found no PostgreSQL")?;
    println!("building the bench with optimisation");
    program::build(BENCH)?;
    let (pairs, turn_ms) = match effort {
        Effort::Quick => ("5", "700"),
        Effort::Full => ("7", "2000"),
    };
    let mut rows = Vec::new();
    for (what, sqlite_bar, postgres_bar) in
        [("page", PAGE_SQLITE, PAGE_POSTGRES), ("write", WRITE, WRITE)]
    {
        let arguments = ["--what", what, "--pairs", pairs, "--turn-ms", turn_ms];
        let lines = waiting(&format!("{what} on SQLite"), || measure(&arguments))?;
        rows.extend(compare(&lines, "SQLite", sqlite_bar)?);
        // With durable commits, unlike the clusters of tests.
        let postgres = Postgres::start_durable(&bin)?;
        let arguments = [&arguments[..], &["--database-url", postgres.url()]].concat();
        let lines = waiting(&format!("{what} on PostgreSQL"), || measure(&arguments))?;
        rows.extend(compare(&lines, "PostgreSQL", postgres_bar)?);
    }
    let mut runs = Vec::new();
    for run in 1..=LOG_RUNS {
        let name = format!("logs of 10^3 to 10^7 records, run {run} of {LOG_RUNS}");
        runs.push(waiting(&name, || measure(&["--what", "log"]))?);
    }
    rows.extend(growth(&runs)?);
    Ok(rows)
}

fn measure(arguments: &[&str]) -> Result<Vec<Value>> {
    program::measure(&mut program::run(BENCH, arguments))
}

/// One row per case.
fn compare(lines: &[Value], database: &str, bar: f64) -> Result<Vec<Row>> {
    let mut cases: Vec<(String, Vec<(f64, f64)>)> = Vec::new();
    for line in lines {
        let case = line["case"].as_str().context("the bench gave no case")?;
        let pair = (number(line, "ours")?, number(line, "reference")?);
        match cases.iter_mut().find(|(name, _)| name == case) {
            Some((_, pairs)) => pairs.push(pair),
            None => cases.push((case.to_owned(), vec![pair])),
        }
    }
    let row = |(case, pairs): (String, Vec<(f64, f64)>)| {
        let note = "bare axum and sqlx on the same tables".to_owned();
        Row::from_pairs("access", format!("{case}, {database}"), "1/s", bar, &pairs, note)
    };
    Ok(cases.into_iter().map(row).collect())
}

/// Operations per second on each length against the shortest log. The bar is the logarithm: a log of
/// ten million records may cost seven thirds of what one of a thousand costs.
fn growth(runs: &[Vec<Value>]) -> Result<Vec<Row>> {
    let mut pairs: BTreeMap<(&str, u64), Vec<(f64, f64)>> = BTreeMap::new();
    for run in runs {
        let first = run.first().context("the bench gave no lines")?;
        for line in run.iter().skip(1) {
            for what in ["append_us", "prove_us"] {
                let pair = (1e6 / number(line, what)?, 1e6 / number(first, what)?);
                let size = line["size"].as_u64().context("the bench gave no size")?;
                pairs.entry((what, size)).or_default().push(pair);
            }
        }
    }
    let row = |((what, size), pairs): ((&str, u64), Vec<(f64, f64)>)| {
        let power = (size as f64).log10();
        let what = if what == "append_us" { "append" } else { "inclusion proof" };
        let note = "reference: the same on 10^3 records; bar: their logarithms".to_owned();
        Row::from_pairs("access", format!("{what}, 10^{power}"), "1/s", 3.0 / power, &pairs, note)
    };
    Ok(pairs.into_iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pairs_are_gathered_by_case_and_growth_is_held_to_the_logarithm() {
        let line = |case: &str, ours| json!({"case": case, "ours": ours, "reference": 10.0});
        let lines = [line("a", 8.0), line("b", 5.0), line("a", 9.0)];
        let rows = compare(&lines, "SQLite", 0.7).unwrap();
        assert_eq!((rows.len(), rows[0].case.as_str(), rows[0].pairs), (2, "a, SQLite", 2));
        assert!((rows[0].ratio - 0.85).abs() < 1e-9);
        let at = |size: u64, us: f64| json!({"size": size, "append_us": us, "prove_us": us});
        let rows = growth(&[vec![at(1000, 100.0), at(10_000_000, 200.0)]]).unwrap();
        assert_eq!(rows[0].case, "append, 10^7");
        assert!((rows[0].ratio - 0.5).abs() < 1e-9 && (rows[0].bar - 3.0 / 7.0).abs() < 1e-9);
    }
}
