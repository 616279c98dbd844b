//! House rules of the repository, as functions that return what breaks them. `tests/tidy.rs` runs them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

pub mod control_plane;
mod golang;
pub mod kwok;

/// Which crate may use which, development dependencies included. Source: design.md section 3.
const EDGES: &[(&str, &[&str])] = &[
    ("pitstop-api", &[]),
    ("pitstop-engine", &["pitstop-api", "pitstop-engine"]),
    ("pitstop-controller", &["pitstop-api", "pitstop-engine"]),
    ("pitstop-hub", &["pitstop-api", "pitstop-engine"]),
    ("pitstop-cluster", &["pitstop-api"]),
    (
        "pitstop",
        &[
            "pitstop-api",
            "pitstop-engine",
            "pitstop-controller",
            "pitstop-hub",
            "pitstop-cluster",
            // Its tests ask where the programs of a real control plane are.
            "xtask",
        ],
    ),
    ("xtask", &[]),
];

/// What a crate must not link, because its rules would no longer be enforced by the compiler. Source: style.md B1.
const FORBIDDEN: &[(&str, &[&str])] = &[
    ("pitstop-api", &["tokio", "hyper", "tracing", "kube", "rand"]),
    (
        "pitstop-engine",
        &["tokio", "hyper", "tracing", "kube", "rand", "futures"],
    ),
];

/// Longest module, tests not counted. Units: lines. Source: style.md B2.
const MODULE_LINES: usize = 800;

/// Beginnings of string keys that belong into `keys.rs` or `reasons.rs` of `pitstop-api`. Source: style.md B2.
const KEY_DOMAINS: &[&str] = &[
    "\"apps.openyurt.io/",
    "\"pitstop.io/",
    "\"sim.pitstop.io/",
    "\"node.kubernetes.io/",
];

/// The folder of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map_or_else(PathBuf::new, Path::to_path_buf)
}

/// What cargo says of the workspace.
fn metadata() -> Result<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root())
        .output()
        .context("running cargo metadata")?;
    serde_json::from_slice(&output.stdout).context("reading cargo metadata")
}

/// Which program `cargo run` runs, where that is not clear: the first command of the README is one.
///
/// # Errors
/// When cargo cannot be asked.
pub fn unclear_program() -> Result<Vec<String>> {
    let metadata = metadata()?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata without packages")?;
    let is_main = |package: &&Value| package["name"] == "pitstop";
    let main = packages.iter().find(is_main).context("no package pitstop")?;
    let default_run = main["default_run"].as_str().unwrap_or("nothing");
    Ok((default_run != "pitstop")
        .then(|| {
            format!(
                "crates/pitstop/Cargo.toml: default-run is {default_run}, so `cargo run` does not run pitstop"
            )
        })
        .into_iter()
        .collect())
}

/// Edges between crates, and links to outside crates, that the design does not have.
///
/// # Errors
/// `cargo metadata` does not answer.
pub fn unwanted_dependencies() -> Result<Vec<String>> {
    let metadata = metadata()?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata without packages")?;
    let edges: BTreeMap<&str, &[&str]> = EDGES.iter().copied().collect();
    let forbidden: BTreeMap<&str, &[&str]> = FORBIDDEN.iter().copied().collect();
    let mut found = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let Some(allowed) = edges.get(name) else {
            found.push(format!(
                "crate {name} is not in the table of crates (xtask, style.md B1)"
            ));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let target = dependency["name"].as_str().unwrap_or_default();
            if edges.contains_key(target) && !allowed.contains(&target) {
                found.push(format!("{name} must not use {target}"));
            }
            if forbidden.get(name).is_some_and(|list| list.contains(&target)) {
                found.push(format!("{name} must not link {target}"));
            }
        }
    }
    Ok(found)
}

/// Rust files that no module declaration reaches, so that no build compiles them.
///
/// # Errors
/// A file cannot be read.
pub fn unreachable_files() -> Result<Vec<String>> {
    let mut reached = BTreeSet::new();
    let all = rust_files()?;
    for file in &all {
        if is_crate_root(file) {
            reach(file, true, &mut reached)?;
        }
    }
    Ok(all
        .into_iter()
        .filter(|file| !reached.contains(file))
        .map(|file| format!("{} is not part of any module", shown(&file)))
        .collect())
}

/// Modules that grew beyond what a reader takes in.
///
/// # Errors
/// A file cannot be read.
pub fn long_modules() -> Result<Vec<String>> {
    let mut found = Vec::new();
    for file in rust_files()?.into_iter().filter(|file| is_product(file)) {
        let lines = without_tests(&std::fs::read_to_string(&file)?).lines().count();
        if lines > MODULE_LINES {
            found.push(format!(
                "{} has {lines} lines, {MODULE_LINES} are the most",
                shown(&file)
            ));
        }
    }
    Ok(found)
}

/// String keys outside the files that hold them.
///
/// # Errors
/// A file cannot be read.
pub fn stray_keys() -> Result<Vec<String>> {
    let mut found = Vec::new();
    for file in rust_files()?.into_iter().filter(|file| is_product(file)) {
        if file.ends_with("pitstop-api/src/keys.rs")
            || file.ends_with("pitstop-api/src/reasons.rs")
            || in_folder(&file, "xtask")
        {
            continue;
        }
        let text = std::fs::read_to_string(&file)?;
        for (i, line) in without_tests(&text).lines().enumerate() {
            let is_comment = line.trim_start().starts_with("//");
            if !is_comment && KEY_DOMAINS.iter().any(|domain| line.contains(domain)) {
                found.push(format!(
                    "{}:{} has a key that belongs into keys.rs: {}",
                    shown(&file),
                    i + 1,
                    line.trim()
                ));
            }
        }
    }
    Ok(found)
}

/// Paths that the map names and that are not there.
///
/// # Errors
/// The map cannot be read.
pub fn wrong_paths_in_the_map() -> Result<Vec<String>> {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md"))?;
    let named = text.split('`').skip(1).step_by(2);
    Ok(named
        .filter(|path| {
            ["crates/", "xtask/"]
                .iter()
                .any(|folder| path.starts_with(folder))
        })
        .filter(|path| !root().join(path).exists())
        .map(|path| format!("ARCHITECTURE.md names {path}, which is not there"))
        .collect())
}

/// Modules named after nothing.
///
/// # Errors
/// A folder cannot be read.
pub fn nameless_modules() -> Result<Vec<String>> {
    const NAMELESS: [&str; 5] = ["utils.rs", "util.rs", "common.rs", "helpers.rs", "mod.rs"];
    Ok(rust_files()?
        .into_iter()
        .filter(|file| {
            file.file_name()
                .is_some_and(|name| NAMELESS.iter().any(|bad| name == *bad))
        })
        .map(|file| format!("{}: name the thing (style.md B2)", shown(&file)))
        .collect())
}

fn rust_files() -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![root().join("crates"), root().join("xtask")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                if path.file_name().is_none_or(|name| name != "target") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Is the file part of what is built, rather than unit tests in a file of their own?
fn is_product(file: &Path) -> bool {
    let is_test = in_folder(file, "tests") || file.file_name().is_some_and(|name| name == "tests.rs");
    in_folder(file, "src") && !is_test
}

fn in_folder(file: &Path, folder: &str) -> bool {
    file.components().any(|part| part.as_os_str() == folder)
}

/// `lib.rs`, `main.rs`, and every file directly in `tests`, `benches` or `examples` begins a crate of its own; so does
/// `main.rs` in a folder of `tests`.
fn is_crate_root(file: &Path) -> bool {
    let folder = file.parent().and_then(Path::file_name).unwrap_or_default();
    let name = file.file_name().unwrap_or_default();
    (folder == "src" && (name == "lib.rs" || name == "main.rs"))
        || folder == "tests" && parent_is_package(file)
        || name == "main.rs"
            && file
                .parent()
                .is_some_and(|of| of.parent().is_some_and(|f| f.ends_with("tests")) && parent_is_package(of))
        || (folder == "benches" || folder == "examples") && parent_is_package(file)
        || (folder == "bin" && in_folder(file, "src"))
}

fn parent_is_package(file: &Path) -> bool {
    file.parent()
        .and_then(Path::parent)
        .is_some_and(|package| package.join("Cargo.toml").exists())
}

fn reach(file: &Path, is_root: bool, reached: &mut BTreeSet<PathBuf>) -> Result<()> {
    if !reached.insert(file.to_path_buf()) {
        return Ok(());
    }
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let parent = file.parent().unwrap_or(Path::new(""));
    let folder = if is_root {
        parent.to_path_buf()
    } else {
        parent.join(file.file_stem().unwrap_or_default())
    };
    let mut explicit_path = None;
    for line in text.lines().map(str::trim) {
        if let Some(path) = line
            .strip_prefix("#[path = \"")
            .and_then(|rest| rest.strip_suffix("\"]"))
        {
            explicit_path = Some(parent.join(path));
            continue;
        }
        let declared = line.strip_suffix(';').and_then(|line| {
            let (visibility, name) = line.rsplit_once("mod ").unwrap_or(("", ""));
            let visible = visibility.is_empty() || visibility.starts_with("pub");
            (visible && !name.is_empty() && !name.contains(' ')).then_some(name)
        });
        if let Some(name) = declared {
            let child = explicit_path
                .take()
                .unwrap_or_else(|| folder.join(format!("{name}.rs")));
            if child.exists() {
                reach(&child, false, reached)?;
            }
        }
    }
    Ok(())
}

/// The text before the unit tests of a file.
fn without_tests(text: &str) -> &str {
    text.find("\n#[cfg(test)]\nmod ")
        .and_then(|end| text.get(..end))
        .unwrap_or(text)
}

fn shown(file: &Path) -> String {
    file.strip_prefix(root()).unwrap_or(file).display().to_string()
}
