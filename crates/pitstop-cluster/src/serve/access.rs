//! Who may come in: certificate authority, bearer token, kubeconfig.

use std::fs::{self, File};
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::Request;
use http::header::AUTHORIZATION;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use rand::TryRng;
use rand::rngs::SysRng;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::ServeError;
use crate::access::{ANONYMOUS, User};
use crate::api::Api;
use crate::cluster::ADMIN;

/// Paths that need no token.
///
/// Source: embedded-cluster.md 15.
const OPEN_PATHS: [&str; 4] = ["/healthz", "/livez", "/readyz", "/version"];

/// Name of cluster, user and context in the kubeconfig.
const NAME: &str = "pitstop";

/// Years that the authority and the server's certificate are valid, before and after the year in which they are made.
const VALID_YEARS: i16 = 10;

/// Keys of one server.
#[derive(Debug)]
pub(super) struct Access {
    ca_pem: String,
    chain: Vec<rustls::pki_types::CertificateDer<'static>>,
    key: KeyPair,
    token: String,
}

impl Access {
    /// Reads the authority and the token from the data folder, or makes them; makes a certificate for an address.
    pub(super) fn prepare(data: Option<&Path>, addr: SocketAddr, now: Timestamp) -> Result<Self, ServeError> {
        let authority = Authority::prepare(data, now)?;
        let token = match data {
            Some(folder) => keep(&folder.join("token"), new_token)?,
            None => new_token()?,
        };
        let key = KeyPair::generate().map_err(|error| certificate_error(&error))?;
        let certificate = server_params(addr, now)?
            .signed_by(&key, &authority.issuer)
            .map_err(|error| certificate_error(&error))?;
        Ok(Self {
            ca_pem: authority.pem,
            chain: vec![certificate.der().clone()],
            key,
            token,
        })
    }

    /// The authority that signed the server's certificate, as PEM.
    pub(super) fn ca_certificate(&self) -> &str {
        &self.ca_pem
    }

    /// The TLS side: HTTP/2 and HTTP/1.1 by ALPN.
    pub(super) fn tls(&self) -> Result<Arc<rustls::ServerConfig>, ServeError> {
        let failed = |error: rustls::Error| ServeError::Certificate(error.to_string());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(failed)?
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), key)
            .map_err(failed)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// Who asks; `None` when a token is needed and missing or wrong.
    pub(super) fn user<B>(&self, request: &Request<B>, api: &Api) -> Option<User> {
        let given = request.headers().get(AUTHORIZATION).and_then(|v| v.to_str().ok());
        let token = given.and_then(|v| v.strip_prefix("Bearer ")).map(str::trim);
        match token {
            Some(token) if same(token.as_bytes(), self.token.as_bytes()) => {
                Some(User::named(ADMIN).into_master())
            }
            Some(token) => api.authenticate(token),
            // What somebody without a name may do is for the roles to say, where there are any.
            None if api.decides_by_roles() || OPEN_PATHS.contains(&request.uri().path()) => {
                Some(User::named(ANONYMOUS))
            }
            None => None,
        }
    }

    /// A kubeconfig that leads to an address.
    pub(super) fn kubeconfig(&self, addr: SocketAddr) -> String {
        let ca = STANDARD.encode(&self.ca_pem);
        let token = &self.token;
        // A server that listens everywhere is reached on loopback.
        let host = match addr.ip() {
            ip if ip.is_unspecified() => "127.0.0.1".to_owned(),
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        let port = addr.port();
        format!(
            "apiVersion: v1\n\
             kind: Config\n\
             clusters:\n\
             - name: {NAME}\n  cluster:\n    server: https://{host}:{port}\n    certificate-authority-data: {ca}\n\
             users:\n\
             - name: {NAME}\n  user:\n    token: {token}\n\
             contexts:\n\
             - name: {NAME}\n  context:\n    cluster: {NAME}\n    user: {NAME}\n\
             current-context: {NAME}\n"
        )
    }
}

/// The authority that signs server certificates. It outlives the process, so that kubeconfigs stay valid.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn prepare(data: Option<&Path>, now: Timestamp) -> Result<Self, ServeError> {
        let new_key = || {
            Ok(KeyPair::generate()
                .map_err(|error| certificate_error(&error))?
                .serialize_pem())
        };
        let folder = data.map(|data| data.join("pki"));
        let key = match &folder {
            Some(folder) => {
                let path = folder.join("ca.key");
                fs::create_dir_all(folder).map_err(|cause| ServeError::File {
                    path: path.clone(),
                    cause,
                })?;
                keep(&path, new_key)?
            }
            None => new_key()?,
        };
        let key = KeyPair::from_pem(&key).map_err(|error| certificate_error(&error))?;
        let params = authority_params(now)?;
        let new_certificate = || {
            Ok(params
                .self_signed(&key)
                .map_err(|error| certificate_error(&error))?
                .pem())
        };
        let pem = match &folder {
            Some(folder) => keep(&folder.join("ca.crt"), new_certificate)?,
            None => new_certificate()?,
        };
        Ok(Self {
            pem,
            issuer: Issuer::new(params, key),
        })
    }
}

/// The same name each time: a certificate names its issuer by it.
fn authority_params(now: Timestamp) -> Result<CertificateParams, ServeError> {
    let mut params = CertificateParams::new(Vec::new()).map_err(|error| certificate_error(&error))?;
    params.distinguished_name.push(DnType::CommonName, "pitstop-ca");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    set_validity(&mut params, now);
    Ok(params)
}

fn server_params(addr: SocketAddr, now: Timestamp) -> Result<CertificateParams, ServeError> {
    let mut names: Vec<String> = [
        "localhost",
        "127.0.0.1",
        "::1",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
    ]
    .map(str::to_owned)
    .to_vec();
    let ip = addr.ip().to_string();
    if !addr.ip().is_unspecified() && !names.contains(&ip) {
        names.push(ip);
    }
    let mut params = CertificateParams::new(names).map_err(|error| certificate_error(&error))?;
    params.distinguished_name.push(DnType::CommonName, "pitstop");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    set_validity(&mut params, now);
    Ok(params)
}

fn set_validity(params: &mut CertificateParams, now: Timestamp) {
    let year = now.to_zoned(TimeZone::UTC).year();
    // A clock that is a little off, or a simulated one, must not lock anyone out.
    params.not_before = date_time_ymd(i32::from(year.saturating_sub(VALID_YEARS)), 1, 1);
    params.not_after = date_time_ymd(i32::from(year.saturating_add(VALID_YEARS)), 1, 1);
}

fn certificate_error(error: &rcgen::Error) -> ServeError {
    ServeError::Certificate(error.to_string())
}

/// 32 random bytes of the operating system, never of a seed.
fn new_token() -> Result<String, ServeError> {
    let mut bytes = [0_u8; 32];
    SysRng
        .try_fill_bytes(&mut bytes)
        .map_err(|error| ServeError::Certificate(error.to_string()))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// The content of a file, which is made when it is not there.
pub(crate) fn keep(
    path: &Path,
    make: impl FnOnce() -> Result<String, ServeError>,
) -> Result<String, ServeError> {
    match fs::read_to_string(path) {
        Ok(text) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
        _ => {
            let text = make()?;
            write_private(path, &text)?;
            Ok(text.trim().to_owned())
        }
    }
}

/// Writes a file that only its owner may read, all or nothing.
pub(super) fn write_private(path: &Path, text: &str) -> Result<(), ServeError> {
    let failed = |cause| ServeError::File {
        path: path.to_owned(),
        cause,
    };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let mut file = create_private(&temporary).map_err(failed)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(failed)?;
    fs::rename(&temporary, path).map_err(failed)
}

#[cfg(unix)]
fn create_private(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    // A leftover of a killed process could have other permissions.
    if path.exists() {
        fs::remove_file(path)?;
    }
    File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

#[cfg(not(unix))]
fn create_private(path: &Path) -> std::io::Result<File> {
    File::create(path)
}

/// Compares in a time that tells nothing about where they differ.
fn same(given: &[u8], known: &[u8]) -> bool {
    given.len() == known.len() && given.iter().zip(known).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}
