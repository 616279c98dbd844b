//! The kubeconfig that `up` writes, and the promise that no other one is ever touched.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use kube::config::Kubeconfig;

use crate::failure;

/// First line of the file.
const MARK: &str =
    "# Written by `pitstop up` and overwritten at every start. Do not add other clusters to it.";

/// The name of everything in our file. One entry of another name, and the file is somebody else's.
const OURS: &str = "pitstop";

/// Writes the kubeconfig to `path`, readable by its owner alone.
///
/// # Errors
/// The file exists and is not one that we wrote, or it cannot be written.
pub fn write(path: &Path, yaml: &str) -> anyhow::Result<()> {
    check(path)?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    let writing = || format!("writing {}", path.display());
    // Written beside it and renamed, so that a reader never sees half a file.
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let beside = path.with_file_name(name);
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)
        .with_context(writing)?;
    file.write_all(format!("{MARK}\n{yaml}").as_bytes())
        .with_context(writing)?;
    std::fs::rename(&beside, path).with_context(writing)
}

/// May we write to `path`: is nothing there, or a file that we wrote?
///
/// # Errors
/// The file holds something else.
pub fn check(path: &Path) -> anyhow::Result<()> {
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
        Ok(text) if is_ours(&text) => Ok(()),
        Ok(_) => Err(failure::failed(
            format!("{} exists and was not written by pitstop", path.display()),
            "choose a file that does not exist with --write-kubeconfig; yours stays as it is",
        )),
    }
}

/// Is this text one of our files, and nothing of anybody else in it?
fn is_ours(text: &str) -> bool {
    let Ok(config) = Kubeconfig::from_yaml(text) else {
        return false;
    };
    let names = (config.clusters.iter().map(|entry| &entry.name))
        .chain(config.contexts.iter().map(|entry| &entry.name))
        .chain(config.auth_infos.iter().map(|entry| &entry.name));
    let mut is_any = false;
    for name in names {
        is_any = true;
        if name != OURS {
            return false;
        }
    }
    is_any && text.starts_with(MARK)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kubeconfig(name: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: {name}\nclusters:\n- name: {name}\n  cluster:\n    \
             server: https://127.0.0.1:7443\ncontexts:\n- name: {name}\n  context:\n    cluster: {name}\n    user: \
             {name}\nusers:\n- name: {name}\n  user:\n    token: t\n"
        )
    }

    #[test]
    fn our_own_file_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/kubeconfig");
        write(&path, &kubeconfig(OURS)).unwrap();
        write(&path, &kubeconfig(OURS)).unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().starts_with(MARK));
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_kubeconfig_of_the_user_is_never_touched() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        for theirs in [
            kubeconfig("prod"),
            kubeconfig(OURS),
            format!("{MARK}\n{}", kubeconfig("prod")),
            String::new(),
            "not: [a kubeconfig".to_owned(),
        ] {
            std::fs::write(&path, &theirs).unwrap();
            let error = write(&path, &kubeconfig(OURS)).unwrap_err();
            assert!(
                error.to_string().contains("was not written by pitstop"),
                "{error}"
            );
            assert_eq!(std::fs::read_to_string(&path).unwrap(), theirs);
        }
    }

    #[test]
    fn only_the_owner_reads_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kubeconfig");
        write(&path, &kubeconfig(OURS)).unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
}
