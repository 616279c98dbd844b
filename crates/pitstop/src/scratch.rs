//! A folder for the life of a command.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// A folder that nobody else may use, removed when it is dropped.
pub(crate) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// A folder whose name says what it is for.
    ///
    /// # Errors
    /// The place for temporary files cannot be written.
    pub(crate) fn new(purpose: &str) -> anyhow::Result<Self> {
        let (process, random) = (std::process::id(), rand::random::<u32>());
        let path = std::env::temp_dir().join(format!("pitstop-{purpose}-{process}-{random:08x}"));
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
        made.with_context(|| format!("making {}", path.display()))?;
        Ok(Self { path })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A folder in the place for temporary files, at worst.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
