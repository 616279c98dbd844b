//! Programs that are built from Go modules, and the cache in which they are kept.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The folder below which everything is kept: `PITSTOP_CACHE`, else `~/.cache/pitstop`.
///
/// # Errors
/// There is no home folder.
pub(crate) fn cache() -> Result<PathBuf> {
    if let Some(cache) = std::env::var_os("PITSTOP_CACHE") {
        return Ok(PathBuf::from(cache));
    }
    let home = std::env::var_os("HOME").context("HOME is not set; set PITSTOP_CACHE instead")?;
    Ok(PathBuf::from(home).join(".cache/pitstop"))
}

/// The folder to build into: it is moved into place at the end, so that a build that was broken off is not taken for a
/// whole one.
pub(crate) fn begin(folder: &Path) -> Result<PathBuf> {
    let go = Command::new("go").arg("version").output();
    ensure!(
        go.is_ok_and(|output| output.status.success()),
        "Go is not installed: building programs of others for the suites needs Go 1.24 or newer"
    );
    let mut unfinished = folder.as_os_str().to_owned();
    unfinished.push(".part");
    let unfinished = PathBuf::from(unfinished);
    std::fs::create_dir_all(&unfinished)
        .with_context(|| format!("making the folder {}", unfinished.display()))?;
    Ok(unfinished)
}

/// What was built is whole, and takes the place of what was not.
pub(crate) fn finish(unfinished: &Path, folder: &Path) -> Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    std::fs::rename(unfinished, folder)
        .with_context(|| format!("moving {} to {}", unfinished.display(), folder.display()))
}

/// `go build` of packages of a module.
pub(crate) fn build_packages(
    module: &Path,
    target: &Path,
    linker_flags: &str,
    packages: &[&str],
) -> Result<()> {
    eprintln!("building {}", packages.join(" "));
    let mut target_flag = OsString::from("-o=");
    target_flag.push(target);
    let status = Command::new("go")
        .current_dir(module)
        .args(["build", "-trimpath", "-ldflags", linker_flags])
        .arg(target_flag)
        .args(packages)
        .status()
        .context("starting go build")?;
    ensure!(
        status.success(),
        "go build in {} failed: {status}",
        module.display()
    );
    Ok(())
}

/// Where the files of a module are, which `module` requires.
pub(crate) fn source(module: &Path, required: &str) -> Result<PathBuf> {
    let found = Command::new("go")
        .current_dir(module)
        .args(["list", "-m", "-f", "{{.Dir}}", required])
        .output()
        .context("starting go list")?;
    ensure!(
        found.status.success(),
        "go list in {} failed: {}",
        module.display(),
        String::from_utf8_lossy(&found.stderr)
    );
    Ok(PathBuf::from(String::from_utf8_lossy(&found.stdout).trim()))
}

/// The version of a module that a `go.mod` requires.
pub(crate) fn version(go_mod: &Path, module: &str) -> Result<String> {
    let text = std::fs::read_to_string(go_mod).with_context(|| format!("reading {}", go_mod.display()))?;
    let line = format!("require {module} ");
    let version = text.lines().find_map(|text| text.strip_prefix(&line));
    version
        .map(|version| version.trim().to_owned())
        .with_context(|| format!("{} has no line \"{line}VERSION\"", go_mod.display()))
}
