//! The files of a certificate.

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rcgen::KeyPair;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls_pki_types::pem::PemObject as _;

use super::Failure;
use crate::journal::{Disk as _, Folder};

/// What is known of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Certificate {
    pub(super) begins: Timestamp,
    pub(super) ends: Timestamp,
}

/// Where certificate and keys are.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
}

/// Puts a file in place of another, durably.
pub(super) fn replace(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let mut disk = Folder::new(folder);
    let new = format!("{name}.new");
    disk.write(&new, bytes)?;
    disk.sync(&new)?;
    disk.rename(&new, name)?;
    disk.sync_folder()
}

/// The name of a node as certificates have it. Source: hub.md B3.
pub(super) fn common_name(node: &str) -> String {
    format!("system:node:{node}")
}

impl Files {
    /// Certificate and key, from the folder of state.
    pub(super) const CERTIFICATE: &str = "pki/hub-client.pem";
    const NAME: &str = "hub-client.pem";
    /// The key of the open question, which a hub that starts again goes on with.
    const NEXT_KEY: &str = "hub-client.key.next";

    pub(super) fn new(state: &Path) -> Self {
        Self {
            folder: state.join("pki"),
        }
    }

    /// The certificate, if there is one.
    pub(super) fn certificate(&self, node: &str) -> Result<Option<Certificate>, String> {
        let pem = match std::fs::read_to_string(self.folder.join(Self::NAME)) {
            Ok(pem) => pem,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let key =
            PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|error| format!("its key: {error}"))?;
        let key = KeyPair::try_from(&key).map_err(|error| format!("its key: {error}"))?;
        read(&pem, node, &key).map(Some)
    }

    /// The key of the question that is open, or a new one.
    pub(super) fn next_key(&self) -> io::Result<KeyPair> {
        match std::fs::read_to_string(self.folder.join(Self::NEXT_KEY)) {
            Ok(pem) => {
                if let Ok(key) = KeyPair::from_pem(&pem) {
                    return Ok(key);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let key = KeyPair::generate().map_err(io::Error::other)?;
        replace(&self.folder, Self::NEXT_KEY, key.serialize_pem().as_bytes())?;
        Ok(key)
    }

    pub(super) fn forget_key(&self) {
        if let Err(error) = std::fs::remove_file(self.folder.join(Self::NEXT_KEY)) {
            tracing::debug!(%error, "a key could not be removed");
        }
    }

    /// Keeps what the cluster gave, if it is what was asked for.
    pub(super) fn keep(&self, node: &str, key: &KeyPair, chain: &str) -> Result<(), Failure> {
        if let Err(why) = read(chain, node, key) {
            self.forget_key();
            return Err(Failure::Denied(format!(
                "the cluster gave another certificate: {why}"
            )));
        }
        let both = format!("{}\n{}", chain.trim_end(), key.serialize_pem());
        replace(&self.folder, Self::NAME, both.as_bytes())
            .map_err(|error| Failure::Passing(format!("keeping the certificate: {error}")))?;
        self.forget_key();
        match self.certificate(node) {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(Failure::Passing("the certificate is gone again".to_owned())),
            Err(why) => Err(Failure::Passing(format!("reading the certificate back: {why}"))),
        }
    }
}

/// The first certificate in the text, if it is of this node and this key.
fn read(pem: &str, node: &str, key: &KeyPair) -> Result<Certificate, String> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| error.to_string())?;
    let (_, certificate) = x509_parser::parse_x509_certificate(&der).map_err(|error| error.to_string())?;
    let names: Vec<&str> = certificate
        .subject()
        .iter_common_name()
        .filter_map(|name| name.as_str().ok())
        .collect();
    if names != [common_name(node)] {
        return Err(format!("it is of {}", names.join(", ")));
    }
    if certificate.public_key().subject_public_key.data != key.public_key_raw() {
        return Err("it is of another key".to_owned());
    }
    let moment = |seconds: i64| Timestamp::from_second(seconds).map_err(|error| error.to_string());
    let validity = certificate.validity();
    Ok(Certificate {
        begins: moment(validity.not_before.timestamp())?,
        ends: moment(validity.not_after.timestamp())?,
    })
}
