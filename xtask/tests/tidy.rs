//! Rules of the house that a compiler does not check.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Files longer than this hold more than one idea.
const MAX_LINES: usize = 600;
/// Functions longer than this do more than one thing.
const MAX_FUNCTION_LINES: usize = 70;
/// Exceptions: one flat `match`, and the pass through the model.
const LONG_FUNCTIONS: [&str; 1] = ["fn forward"];
/// Crates that may hold `unsafe`, in kernels and memory mapping alone.
const UNSAFE_CRATES: [&str; 1] = ["edgeformer-engine"];

#[test]
fn files_are_short() {
    let long: Vec<String> = sources(&["rs", "proto", "sql", "sh", "toml"])
        .into_iter()
        .filter_map(|path| {
            let lines = read(&path).lines().count();
            (lines > MAX_LINES).then(|| format!("{}: {lines} lines", shown(&path)))
        })
        .collect();
    assert!(long.is_empty(), "longer than {MAX_LINES} lines:\n{}", long.join("\n"));
}

#[test]
fn functions_are_short() {
    let long: Vec<String> = sources(&["rs"])
        .into_iter()
        .flat_map(|path| long_functions(&path))
        .filter(|found| !LONG_FUNCTIONS.iter().any(|name| found.contains(name)))
        .collect();
    assert!(long.is_empty(), "longer than {MAX_FUNCTION_LINES} lines:\n{}", long.join("\n"));
}

/// Formatted code closes a function with a brace at the indentation of its first line.
fn long_functions(path: &Path) -> Vec<String> {
    let text = read(path);
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let Some(name) = function_name(code) else { continue };
        let close = format!("{}}}", &line[..line.len() - code.len()]);
        let length = lines[start..].iter().position(|l| *l == close).map_or(0, |end| end + 1);
        if length > MAX_FUNCTION_LINES {
            found.push(format!("{}:{}: fn {name}: {length} lines", shown(path), start + 1));
        }
    }
    found
}

fn function_name(code: &str) -> Option<&str> {
    let before = code.split("fn ").next()?;
    let is_start = before.split_whitespace().all(|word| {
        ["pub", "async", "const", "unsafe", "extern"].contains(&word) || word.starts_with("pub(")
    });
    let name = code.get(before.len()..)?.strip_prefix("fn ")?;
    (is_start && !code.ends_with(';')).then(|| name.split(['(', '<']).next().unwrap_or(name))
}

#[test]
fn no_loose_ends() {
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];
    forbid(&sources(&["rs", "proto", "sql", "toml", "md"]), &words);
}

#[test]
fn no_paths_of_one_machine() {
    let words = [
        concat!("\"/tm", "p/"),
        concat!("/ho", "me/"),
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("\"/Us", "ers/"),
    ];
    forbid(&sources(&["rs", "proto", "sql", "toml", "md", "yml", "service"]), &words);
}

#[test]
fn the_engine_has_no_clock_no_network_no_runtime() {
    let words =
        ["tokio", "std::time", "std::net", "SystemTime", "Instant::now", "std::process::Command"];
    let sources = production_sources("agent/engine/src");
    assert!(!sources.is_empty());
    forbid_in_production(&sources, &words);
}

/// Modules that decide: they get the time and everything else as arguments.
#[test]
fn deciding_modules_do_no_input_and_output() {
    let words = [
        "tokio",
        "sqlx",
        "std::fs",
        "std::net",
        "SystemTime::now",
        "Instant::now",
        "OffsetDateTime::now",
        "rand::rng",
    ];
    let planners: Vec<PathBuf> = ["agent/src", "controller/src", "proto/src", "proto/gguf/src"]
        .iter()
        .flat_map(|dir| production_sources(dir))
        .filter(|path| is_pure(path))
        .collect();
    assert!(planners.len() >= 5, "the pure modules were renamed: adapt `is_pure`");
    forbid_in_production(&planners, &words);
}

/// Planners by their file name, and the two shared crates as a whole.
fn is_pure(path: &Path) -> bool {
    let name = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
    let planner = ["plan", "planner", "next_step", "decide"].contains(&name);
    let shared = path.starts_with(root().join("proto")) && !path.ends_with("build.rs");
    planner || shared
}

#[test]
fn unsafe_is_forbidden_outside_the_engine() {
    for package in metadata_packages() {
        if UNSAFE_CRATES.contains(&package.name.as_str()) {
            continue;
        }
        for target in &package.roots {
            let text = read(target);
            assert!(
                text.contains("#![forbid(unsafe_code)]"),
                "{} lacks #![forbid(unsafe_code)]",
                shown(target)
            );
        }
    }
}

#[test]
fn crates_depend_on_each_other_only_downwards() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("edgeformer-gguf", &[][..]),
        ("edgeformer-proto", &[][..]),
        ("edgeformer-engine", &["edgeformer-gguf"][..]),
        ("edgeformer-agent", &["edgeformer-engine", "edgeformer-proto", "edgeformer-gguf"][..]),
        ("edgeformer-controller", &["edgeformer-proto", "edgeformer-gguf"][..]),
        ("edgeformer-cli", &["edgeformer-proto"][..]),
        ("xtask", &[][..]),
    ]);
    let packages = metadata_packages();
    let names: BTreeSet<&str> = packages.iter().map(|p| p.name.as_str()).collect();
    for package in &packages {
        let may = allowed.get(package.name.as_str());
        let may = may.unwrap_or_else(|| panic!("add {} to the layers", package.name));
        for dependency in package.dependencies.iter().filter(|d| names.contains(d.as_str())) {
            assert!(
                may.contains(&dependency.as_str()),
                "{} must not depend on {dependency}",
                package.name
            );
        }
    }
}

#[test]
fn migrations_come_in_pairs() {
    let list = |kind: &str| -> BTreeMap<String, String> {
        let dir = root().join("migrations").join(kind);
        let entries = fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path());
        entries.map(|p| (p.file_name().unwrap().to_string_lossy().into(), read(&p))).collect()
    };
    let (sqlite, postgres) = (list("sqlite"), list("postgres"));
    assert!(!sqlite.is_empty());
    assert_eq!(sqlite.keys().collect::<Vec<_>>(), postgres.keys().collect::<Vec<_>>());
    let number = |name: &String| name.split('_').next().map(str::to_owned);
    let numbers: BTreeSet<_> = sqlite.keys().map(number).collect();
    assert_eq!(numbers.len(), sqlite.len(), "two migrations have one number: {:?}", sqlite.keys());
    for (name, text) in &sqlite {
        let translated = text.replace(" BLOB", " BYTEA");
        for (number, (ours, theirs)) in translated.lines().zip(postgres[name].lines()).enumerate() {
            assert_eq!(ours, theirs, "{name} differs in line {}", number + 1);
        }
        assert_eq!(translated.lines().count(), postgres[name].lines().count(), "{name}");
    }
}

#[test]
fn every_dependency_version_is_decided_in_the_workspace() {
    for manifest in sources(&["toml"]).into_iter().filter(|p| p.ends_with("Cargo.toml")) {
        if manifest == root().join("Cargo.toml") {
            continue;
        }
        let mut in_dependencies = false;
        for line in read(&manifest).lines() {
            if line.starts_with('[') {
                in_dependencies = line.contains("dependencies");
            } else if in_dependencies && line.contains('=') {
                assert!(line.contains("workspace = true"), "{}: {line}", shown(&manifest));
            }
        }
    }
}

/// Tables of `docs/compliance`: each row says which test shows it, or that it is a gap; and the tests
/// and files that documents of that folder name are there.
#[test]
fn every_test_and_file_that_compliance_documents_name_exists() {
    let tests = test_names();
    assert!(tests.len() > 400, "only {} tests were found", tests.len());
    let (mut wrong, mut rows) = (Vec::new(), 0);
    let folder = root().join("docs/compliance");
    for path in sources(&["md"]).into_iter().filter(|path| path.starts_with(&folder)) {
        let text = read(&path);
        let evidence = text.contains("| requirement | feature | shown by | your part |");
        let mut in_code = false;
        for (number, line) in text.lines().enumerate() {
            in_code ^= line.starts_with("```");
            let at = || format!("{}:{}", shown(&path), number + 1);
            let missing = |name: &&str| names_something(name) && !exists(name, &tests, &path);
            let quoted = line.split('`').skip(1).step_by(2).filter(|_| !in_code);
            wrong.extend(quoted.filter(missing).map(|name| format!("{}: no {name}", at())));
            let head = line.starts_with("| requirement") || line.starts_with("|---");
            if !evidence || head || !line.starts_with('|') {
                continue;
            }
            rows += 1;
            let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
            let [_, _, shown_by, _] = cells[..] else {
                wrong.push(format!("{}: {} cells", at(), cells.len()));
                continue;
            };
            if !shown_by.contains('`') && !line.contains("(gap") {
                wrong.push(format!("{}: neither a test nor a gap", at()));
            }
        }
    }
    assert!(rows > 80, "only {rows} rows");
    assert!(wrong.is_empty(), "in docs/compliance:\n{}", wrong.join("\n"));
}

/// A test by the form of its name, or a path of the repository.
fn names_something(quoted: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let is_test = quoted.chars().all(plain) && quoted.matches('_').count() >= 3;
    let is_path = quoted.contains('/') && !quoted.contains([' ', '<', '…', ':']);
    is_test || (is_path && !quoted.starts_with('/'))
}

fn exists(name: &str, tests: &BTreeSet<String>, document: &Path) -> bool {
    let beside = document.parent().unwrap_or(document).join(name);
    tests.contains(name) || root().join(name).exists() || beside.exists()
}

/// Names of functions that stand under an attribute of a test.
fn test_names() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for path in sources(&["rs"]) {
        let mut is_test = false;
        for line in read(&path).lines().map(str::trim) {
            let attribute = line.starts_with("#[");
            is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
            if !attribute && is_test {
                names.extend(function_name(line).map(str::to_owned));
                is_test = false;
            }
        }
    }
    names
}

struct Package {
    name: String,
    /// Normal and build dependencies; a test may lean on anything.
    dependencies: Vec<String>,
    /// Root files of its libraries and programs.
    roots: Vec<PathBuf>,
}

fn metadata_packages() -> Vec<Package> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let out = Command::new(cargo)
        .current_dir(root())
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let metadata: Value = serde_json::from_slice(&out.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    packages.iter().map(package).collect()
}

fn package(value: &Value) -> Package {
    let list = |field: &str| value[field].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    Package {
        name: text(&value["name"]),
        dependencies: list("dependencies")
            .iter()
            .filter(|d| d["kind"].as_str() != Some("dev"))
            .map(|d| text(&d["name"]))
            .collect(),
        roots: list("targets")
            .iter()
            .filter(|t| matches!(t["kind"][0].as_str(), Some("lib" | "bin")))
            .map(|t| PathBuf::from(text(&t["src_path"])))
            .collect(),
    }
}

/// Fails with every place where one of `words` stands.
fn forbid(files: &[PathBuf], words: &[&str]) {
    forbid_in(files, words, true);
}

/// As [`forbid`], in front of the test modules.
fn forbid_in_production(files: &[PathBuf], words: &[&str]) {
    forbid_in(files, words, false);
}

fn forbid_in(files: &[PathBuf], words: &[&str], whole_files: bool) {
    let mut found = Vec::new();
    for path in files {
        for (number, line) in read(path).lines().enumerate() {
            // Test modules stand at the end of a file and may do more than the code they test.
            if line == "#[cfg(test)]" && !whole_files {
                break;
            }
            if words.iter().any(|word| line.contains(word)) {
                found.push(format!("{}:{}: {}", shown(path), number + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "forbidden words {words:?}:\n{}", found.join("\n"));
}

/// Rust files below `dir` that are no test code by their name: `tests.rs`, `tests/`, `*_tests.rs`.
fn production_sources(dir: &str) -> Vec<PathBuf> {
    let below = root().join(dir);
    sources(&["rs"])
        .into_iter()
        .filter(|p| p.starts_with(&below))
        .filter(|p| !p.components().any(|c| c.as_os_str() == "tests"))
        .filter(|p| p.file_stem().is_none_or(|s| !s.to_string_lossy().ends_with("tests")))
        .collect()
}

/// Files of the repository with one of these extensions, as git lists them.
fn sources(extensions: &[&str]) -> Vec<PathBuf> {
    let out = Command::new("git")
        .current_dir(root())
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let listed = String::from_utf8(out.stdout).unwrap();
    let files = listed.lines().map(|line| root().join(line)).filter(|path| path.is_file());
    files
        .filter(|p| p.extension().and_then(|e| e.to_str()).is_some_and(|e| extensions.contains(&e)))
        .collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

fn root() -> PathBuf {
    xtask::paths::repo_root()
}
