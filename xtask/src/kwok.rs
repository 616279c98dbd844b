//! kwok, another simulator of nodes, built from its published Go module.
//!
//! An end-to-end suite runs it on the embedded API server; nothing that users of pitstop run depends on it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::golang::{self, build_packages, source, version};

/// The program.
pub const PROGRAM: &str = "kwok";
/// Its configuration: how nodes and pods live, as its project ships it.
pub const STAGES: &str = "stages.yaml";

const MODULE: &str = "tools/kwok";
const KWOK: &str = "sigs.k8s.io/kwok";
/// The lives of nodes and pods that are quick, below the module.
const LIVES: &[&str] = &["node/fast", "node/heartbeat-with-lease", "pod/fast"];

/// The folder with the program and its stages, built if it is not there yet. Building takes about three minutes on two
/// cores and needs Go and a module proxy.
///
/// # Errors
/// Building failed.
pub fn provide(root: &Path) -> Result<PathBuf> {
    let folder = cached(root)?;
    if !is_whole(&folder) {
        let unfinished = golang::begin(&folder)?;
        let module = root.join(MODULE);
        let package = format!("{KWOK}/cmd/{PROGRAM}");
        build_packages(&module, &unfinished.join(PROGRAM), "-s -w", &[&package])?;
        let stages = stages(&source(&module, KWOK)?.join("kustomize/stage"))?;
        std::fs::write(unfinished.join(STAGES), stages).context("writing the stages of kwok")?;
        golang::finish(&unfinished, &folder)?;
    }
    Ok(folder)
}

/// Where it is when it was built.
///
/// # Errors
/// The version cannot be read, or there is no home folder.
pub fn cached(root: &Path) -> Result<PathBuf> {
    let version = version(&root.join(MODULE).join("go.mod"), KWOK)?;
    Ok(golang::cache()?.join(format!("{PROGRAM}-{version}")))
}

/// Does a folder hold all of it?
pub fn is_whole(folder: &Path) -> bool {
    folder.join(PROGRAM).is_file() && folder.join(STAGES).is_file()
}

/// All stages in one file.
fn stages(folder: &Path) -> Result<String> {
    let mut all = String::new();
    for life in LIVES {
        let folder = folder.join(life);
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
            paths.push(entry?.path());
        }
        paths.sort();
        let is_stage = |path: &&PathBuf| {
            path.extension().is_some_and(|extension| extension == "yaml")
                && path.file_name().is_some_and(|name| name != "kustomization.yaml")
        };
        for path in paths.iter().filter(is_stage) {
            let text =
                std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
            let _ = writeln!(all, "---\n{text}");
        }
    }
    Ok(all)
}
