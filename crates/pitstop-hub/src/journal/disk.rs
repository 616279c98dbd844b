//! The system calls of a log, one by one, so that a test can fail or kill at each of them.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::settings::FaultPoints;

/// A folder as a log uses it.
pub(crate) trait Disk: Send {
    /// The content of a file; empty if there is none.
    fn read(&mut self, file: &str) -> io::Result<Vec<u8>>;
    /// Adds bytes at the end of a file, which is made if there is none. After an error any part of them may be there.
    fn append(&mut self, file: &str, bytes: &[u8]) -> io::Result<()>;
    /// Makes the content of a file durable.
    fn sync(&mut self, file: &str) -> io::Result<()>;
    /// Cuts a file off.
    fn truncate(&mut self, file: &str, length: u64) -> io::Result<()>;
    /// Makes a file with exactly this content.
    fn write(&mut self, file: &str, bytes: &[u8]) -> io::Result<()>;
    /// Puts one file in the place of another.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;
    /// Makes the names of the folder durable.
    fn sync_folder(&mut self) -> io::Result<()>;
}

/// A folder of the machine.
pub(crate) struct Folder {
    path: PathBuf,
    open: BTreeMap<String, File>,
}

impl Folder {
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            open: BTreeMap::new(),
        }
    }

    fn file(&mut self, name: &str) -> io::Result<&mut File> {
        if !self.open.contains_key(name) {
            let path = self.path.join(name);
            let fresh = !path.exists();
            let file = OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o600)
                .open(path)?;
            if fresh {
                self.sync_folder()?;
            }
            self.open.insert(name.to_owned(), file);
        }
        self.open
            .get_mut(name)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Disk for Folder {
    fn read(&mut self, file: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match File::open(self.path.join(file)) {
            Ok(mut file) => file.read_to_end(&mut bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        Ok(bytes)
    }

    fn append(&mut self, file: &str, bytes: &[u8]) -> io::Result<()> {
        self.file(file)?.write_all(bytes)
    }

    fn sync(&mut self, file: &str) -> io::Result<()> {
        self.file(file)?.sync_data()
    }

    fn truncate(&mut self, file: &str, length: u64) -> io::Result<()> {
        self.file(file)?.set_len(length)
    }

    fn write(&mut self, file: &str, bytes: &[u8]) -> io::Result<()> {
        self.open.remove(file);
        let mut new = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(self.path.join(file))?;
        new.write_all(bytes)?;
        self.open.insert(file.to_owned(), new);
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.open.remove(from);
        self.open.remove(to);
        std::fs::rename(self.path.join(from), self.path.join(to))
    }

    fn sync_folder(&mut self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

/// A disk that tells before each system call which one it is.
pub(crate) struct Counted<D> {
    inner: D,
    calls: usize,
    tell: FaultPoints,
}

impl<D> Counted<D> {
    pub(crate) fn new(inner: D, tell: FaultPoints) -> Self {
        Self {
            inner,
            calls: 0,
            tell,
        }
    }

    fn next(&mut self) -> &mut D {
        (self.tell)(self.calls);
        self.calls += 1;
        &mut self.inner
    }
}

impl<D: Disk> Disk for Counted<D> {
    fn read(&mut self, file: &str) -> io::Result<Vec<u8>> {
        self.next().read(file)
    }

    fn append(&mut self, file: &str, bytes: &[u8]) -> io::Result<()> {
        // A write may be cut off anywhere; half-way is one place.
        let (first, rest) = bytes.split_at(bytes.len() / 2);
        self.next().append(file, first)?;
        self.next().append(file, rest)
    }

    fn sync(&mut self, file: &str) -> io::Result<()> {
        self.next().sync(file)
    }

    fn truncate(&mut self, file: &str, length: u64) -> io::Result<()> {
        self.next().truncate(file, length)
    }

    fn write(&mut self, file: &str, bytes: &[u8]) -> io::Result<()> {
        self.next().write(file, bytes)
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.next().rename(from, to)
    }

    fn sync_folder(&mut self) -> io::Result<()> {
        self.next().sync_folder()
    }
}
