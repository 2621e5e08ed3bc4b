//! The throw-away cluster that the store tests run on.

use std::process::Command;

use xtask::setup::{self, Needs};
use xtask::shell;
use xtask::stack::Postgres;

#[test]
fn a_cluster_answers_its_superuser_and_is_gone_afterwards() {
    let bin = setup::run(Needs::Tests).unwrap().postgres_bin.unwrap();
    let postgres = Postgres::start(&bin).unwrap();
    let url = postgres.url().to_string();
    let ask = || {
        let mut psql = Command::new(bin.join("psql"));
        shell::output(psql.args([&url, "-Atc", "show data_directory"]))
    };
    let directory = ask().unwrap();
    drop(postgres);
    assert!(ask().is_err(), "the server still answers");
    assert!(!std::path::Path::new(directory.trim()).exists(), "{directory} is still there");
}
