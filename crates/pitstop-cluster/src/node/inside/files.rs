//! The file system of a simulated container: a few files that images have, and what commands make of them.

use std::collections::{BTreeMap, BTreeSet};

/// The page that the nginx image serves at `/`.
pub(in super::super) const INDEX_PAGE: &str = "/usr/share/nginx/html/index.html";

/// Folders that every image has.
const FOLDERS: [&str; 7] = ["/bin", "/etc", "/root", "/tmp", "/usr", "/usr/share", "/var"];

/// Largest content of all files together: nobody fills the memory of this process. Units: bytes.
const MAX_SIZE: usize = 1 << 20;
/// Files and folders at most.
const MAX_ENTRIES: usize = 1024;

/// Why a command on a file fails, as tools say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum FileError {
    #[error("No such file or directory")]
    Missing,
    #[error("Is a directory")]
    Folder,
    #[error("Not a directory")]
    NotFolder,
    #[error("File exists")]
    Exists,
    #[error("No space left on device")]
    Full,
}

/// Files by their absolute, normal path; a folder has no content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Files {
    entries: BTreeMap<String, Option<String>>,
}

impl Files {
    /// As an image brings them.
    pub(in super::super) fn of_image(image: &str, hostname: &str, ready_file: Option<&str>) -> Self {
        let mut files = Self {
            entries: FOLDERS
                .iter()
                .map(|folder| ((*folder).to_owned(), None))
                .collect(),
        };
        files.put("/etc/hostname", format!("{hostname}\n"));
        files.put(
            "/etc/hosts",
            format!("127.0.0.1\tlocalhost\n127.0.1.1\t{hostname}\n"),
        );
        if super::shell::image_name(image) == "nginx" {
            files.put("/etc/nginx/nginx.conf", "worker_processes  auto;\n".to_owned());
            for page in [INDEX_PAGE, "/usr/share/nginx/html/50x.html"] {
                files.put(page, "<h1>Welcome to nginx!</h1>\n".to_owned());
            }
        }
        if let Some(path) = ready_file
            .map(|path| normal("/", path))
            .filter(|path| !files.exists(path))
        {
            files.put(&path, String::new());
        }
        files
    }

    /// A file with the folders above it, at a path that is normal.
    fn put(&mut self, path: &str, content: String) {
        let folders = path
            .match_indices('/')
            .skip(1)
            .filter_map(|(at, _)| path.get(..at));
        for folder in folders {
            self.entries.entry(folder.to_owned()).or_insert(None);
        }
        self.entries.insert(path.to_owned(), Some(content));
    }

    /// Is there a file or folder?
    pub(in super::super) fn exists(&self, path: &str) -> bool {
        path == "/" || self.entries.contains_key(path)
    }

    pub(super) fn is_folder(&self, path: &str) -> bool {
        path == "/" || matches!(self.entries.get(path), Some(None))
    }

    pub(super) fn read(&self, path: &str) -> Result<&str, FileError> {
        match self.entries.get(path) {
            Some(Some(content)) => Ok(content),
            _ if self.is_folder(path) => Err(FileError::Folder),
            _ => Err(FileError::Missing),
        }
    }

    /// Writes a file, or adds to it.
    pub(super) fn write(&mut self, path: &str, text: &str, add: bool) -> Result<(), FileError> {
        let mut content = match self.read(path) {
            Ok(old) if add => old.to_owned(),
            Ok(_) => String::new(),
            Err(FileError::Missing) => {
                self.check_parent(path)?;
                String::new()
            }
            Err(error) => return Err(error),
        };
        content.push_str(text);
        let others: usize = self.entries.values().flatten().map(String::len).sum();
        if others + content.len() > MAX_SIZE || self.entries.len() >= MAX_ENTRIES {
            return Err(FileError::Full);
        }
        self.entries.insert(path.to_owned(), Some(content));
        Ok(())
    }

    pub(super) fn make_folder(&mut self, path: &str, parents: bool) -> Result<(), FileError> {
        match self.is_folder(path) {
            true if parents => return Ok(()),
            false if !self.exists(path) => {}
            _ => return Err(FileError::Exists),
        }
        if parents {
            let above = parent(path).to_owned();
            self.make_folder(&above, true).map_err(|error| match error {
                FileError::Exists => FileError::NotFolder,
                other => other,
            })?;
        } else {
            self.check_parent(path)?;
        }
        if self.entries.len() >= MAX_ENTRIES {
            return Err(FileError::Full);
        }
        self.entries.insert(path.to_owned(), None);
        Ok(())
    }

    /// Takes away a file, or a folder with all that is in it.
    pub(super) fn remove(&mut self, path: &str, with_folders: bool) -> Result<(), FileError> {
        if !self.exists(path) {
            return Err(FileError::Missing);
        }
        if self.is_folder(path) && !with_folders {
            return Err(FileError::Folder);
        }
        let below = below(path);
        self.entries
            .retain(|entry, _| entry != path && !entry.starts_with(&below));
        Ok(())
    }

    /// Copies a file or folder; a target that is a folder gets it by its name.
    pub(super) fn copy(&mut self, from: &str, to: &str) -> Result<(), FileError> {
        if !self.exists(from) {
            return Err(FileError::Missing);
        }
        let target = self.target(from, to);
        if target == from {
            return Ok(());
        }
        self.check_parent(&target)?;
        if self.is_folder(from) && self.exists(&target) && !self.is_folder(&target) {
            return Err(FileError::NotFolder);
        }
        let inside = below(from);
        let mut copies: Vec<(String, Option<String>)> = Vec::new();
        for (path, content) in &self.entries {
            if let Some(rest) = path.strip_prefix(&inside) {
                copies.push((format!("{target}/{rest}"), content.clone()));
            } else if path == from {
                copies.push((target.clone(), content.clone()));
            }
        }
        let size: usize = copies
            .iter()
            .filter_map(|(_, content)| content.as_ref().map(String::len))
            .sum();
        let present: usize = self.entries.values().flatten().map(String::len).sum();
        if present + size > MAX_SIZE || self.entries.len() + copies.len() > MAX_ENTRIES {
            return Err(FileError::Full);
        }
        self.entries.extend(copies);
        Ok(())
    }

    /// Moves a file or folder.
    pub(super) fn rename(&mut self, from: &str, to: &str) -> Result<(), FileError> {
        if self.target(from, to) == from {
            return Ok(());
        }
        self.copy(from, to)?;
        self.remove(from, true)
    }

    fn target(&self, from: &str, to: &str) -> String {
        if self.is_folder(to) {
            let name = from.rsplit('/').next().unwrap_or_default();
            format!("{}/{name}", to.trim_end_matches('/'))
        } else {
            to.to_owned()
        }
    }

    /// Names in a folder.
    pub(super) fn list(&self, path: &str) -> Result<Vec<&str>, FileError> {
        if !self.exists(path) {
            return Err(FileError::Missing);
        }
        if !self.is_folder(path) {
            return Err(FileError::NotFolder);
        }
        let below = below(path);
        let names = self.entries.keys().filter_map(|entry| entry.strip_prefix(&below));
        let names: BTreeSet<&str> = names
            .filter(|rest| !rest.is_empty() && !rest.contains('/'))
            .collect();
        Ok(names.into_iter().collect())
    }

    fn check_parent(&self, path: &str) -> Result<(), FileError> {
        let above = parent(path);
        match (self.is_folder(above), self.exists(above)) {
            (true, _) => Ok(()),
            (false, true) => Err(FileError::NotFolder),
            (false, false) => Err(FileError::Missing),
        }
    }
}

fn below(folder: &str) -> String {
    format!("{}/", folder.trim_end_matches('/'))
}

fn parent(path: &str) -> &str {
    match path.rfind('/') {
        Some(at @ 1..) => path.get(..at).unwrap_or("/"),
        _ => "/",
    }
}

/// The absolute path without `.`, `..` and doubled slashes.
pub(in super::super) fn normal(folder: &str, path: &str) -> String {
    let start = if path.starts_with('/') { "" } else { folder };
    let mut parts: Vec<&str> = Vec::new();
    for part in start.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_made_normal() {
        for (folder, path, want) in [
            ("/", "tmp/a", "/tmp/a"),
            ("/root", "a", "/root/a"),
            ("/root", "/a//b/./../c/", "/a/c"),
            ("/", "../..", "/"),
        ] {
            assert_eq!(normal(folder, path), want, "{folder} {path}");
        }
    }

    #[test]
    fn an_image_brings_its_files() {
        let files = Files::of_image("docker.io/library/nginx:1.19.4", "web-1", None);
        assert!(files.exists(INDEX_PAGE));
        assert_eq!(files.read("/etc/hostname"), Ok("web-1\n"));
        assert_eq!(files.list("/usr/share"), Ok(vec!["nginx"]));
        let files = Files::of_image("busybox", "b", Some("/run/ready"));
        assert!(files.exists("/run/ready") && !files.exists(INDEX_PAGE));
    }

    #[test]
    fn files_are_moved_copied_and_removed() {
        let mut files = Files::of_image("nginx", "h", None);
        files.rename(INDEX_PAGE, "/tmp").unwrap();
        assert!(files.exists("/tmp/index.html") && !files.exists(INDEX_PAGE));
        files.copy("/usr/share/nginx", "/tmp/n").unwrap();
        assert_eq!(files.list("/tmp/n/html"), Ok(vec!["50x.html"]));
        files.remove("/tmp/n", true).unwrap();
        assert_eq!(files.list("/tmp"), Ok(vec!["index.html"]));
        assert_eq!(files.remove("/tmp", false), Err(FileError::Folder));
        assert_eq!(files.rename("/nosuch", "/tmp"), Err(FileError::Missing));
        assert_eq!(files.write("/nosuch/a", "", false), Err(FileError::Missing));
        assert_eq!(files.write("/etc/hosts/a", "", false), Err(FileError::NotFolder));
        files.make_folder("/a/b", true).unwrap();
        assert_eq!(files.make_folder("/a", false), Err(FileError::Exists));
        assert_eq!(
            files.write("/a/b/c", &"x".repeat(MAX_SIZE), false),
            Err(FileError::Full)
        );
    }
}
