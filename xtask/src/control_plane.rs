//! The programs of a real Kubernetes control plane, built from their published Go modules.
//!
//! The end-to-end suites start them; nothing that users of pitstop run depends on them.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};

use crate::golang::{self, build_packages, version};

/// What a folder must hold to be a control plane, laid out as `KUBEBUILDER_ASSETS` expects.
pub const PROGRAMS: &[&str] = &[
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubectl",
];

/// Where the modules are pinned, below the root of the workspace.
const MODULE: &str = "tools/control-plane";
const KUBERNETES: &str = "k8s.io/kubernetes";
const ETCD: &str = "go.etcd.io/etcd/server/v3";

/// The folder with the programs: the one that `KUBEBUILDER_ASSETS` names, else the one in the cache, built if it is not
/// there yet. Building takes about five minutes on two cores and needs Go and a module proxy.
///
/// # Errors
/// `KUBEBUILDER_ASSETS` names a folder that lacks programs, or building failed.
pub fn provide(root: &Path) -> Result<PathBuf> {
    if let Some(given) = std::env::var_os("KUBEBUILDER_ASSETS").filter(|given| !given.is_empty()) {
        let folder = PathBuf::from(given);
        let missing = missing(&folder);
        ensure!(
            missing.is_empty(),
            "KUBEBUILDER_ASSETS is {}, which has no {}; unset it to build all of them",
            folder.display(),
            missing.join(", ")
        );
        return Ok(folder);
    }
    let folder = cached(root)?;
    if !missing(&folder).is_empty() {
        build(root, &folder)?;
    }
    Ok(folder)
}

/// Where the programs are when they were built: keyed by version, below `PITSTOP_CACHE` or `~/.cache/pitstop`.
///
/// # Errors
/// The versions cannot be read, or there is no home folder.
pub fn cached(root: &Path) -> Result<PathBuf> {
    let kubernetes = version(&root.join(MODULE).join("go.mod"), KUBERNETES)?;
    let etcd = version(&root.join(MODULE).join("etcd/go.mod"), ETCD)?;
    Ok(golang::cache()?.join(format!("control-plane-{kubernetes}-etcd-{etcd}")))
}

/// Which of [`PROGRAMS`] are not in a folder.
pub fn missing(folder: &Path) -> Vec<&'static str> {
    let there = |program: &&&str| !folder.join(program).is_file();
    PROGRAMS.iter().filter(there).copied().collect()
}

fn build(root: &Path, folder: &Path) -> Result<()> {
    let unfinished = golang::begin(folder)?;
    let module = root.join(MODULE);
    build_packages(&module.join("etcd"), &unfinished.join("etcd"), "-s -w", &[ETCD])?;
    let packages: Vec<String> = PROGRAMS
        .iter()
        .filter(|program| **program != "etcd")
        .map(|program| format!("{KUBERNETES}/cmd/{program}"))
        .collect();
    let packages: Vec<&str> = packages.iter().map(String::as_str).collect();
    let kubernetes = version(&module.join("go.mod"), KUBERNETES)?;
    // A folder as the target needs the slash at its end.
    build_packages(&module, &unfinished.join(""), &stamp(&kubernetes)?, &packages)?;
    golang::finish(&unfinished, folder)
}

/// What the release process of Kubernetes tells the linker: clients read the version of a server.
fn stamp(version: &str) -> Result<String> {
    let mut parts = version.trim_start_matches('v').split('.');
    let (Some(major), Some(minor)) = (parts.next(), parts.next()) else {
        bail!("{version:?} is not a version");
    };
    let variables = [("gitVersion", version), ("gitMajor", major), ("gitMinor", minor)];
    let flags = variables.map(|(name, value)| format!("-X k8s.io/component-base/version.{name}={value}"));
    Ok(format!("-s -w {}", flags.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_keyed_by_both_versions() {
        let folder = cached(&crate::root()).unwrap();
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        assert!(name.starts_with("control-plane-v1.34."), "{name}");
        assert!(name.contains("-etcd-v3."), "{name}");
    }

    #[test]
    fn the_linker_is_told_the_version() {
        assert_eq!(
            stamp("v1.34.2").unwrap(),
            "-s -w -X k8s.io/component-base/version.gitVersion=v1.34.2 \
             -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=34"
        );
        assert!(stamp("latest").is_err());
    }
}
