//! Where the API server is and who we are to it, from a kubeconfig.
//!
//! Files that it names are read again when they change: the certificates of nodes are renewed while we run.
//!
//! Source: hub.md B3.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    #[serde(default)]
    current_context: String,
    #[serde(default)]
    clusters: Vec<Named<ClusterOf>>,
    #[serde(default)]
    contexts: Vec<Named<ContextOf>>,
    #[serde(default)]
    users: Vec<Named<UserOf>>,
}

#[derive(Debug, Deserialize)]
struct Named<T> {
    name: String,
    #[serde(flatten)]
    inner: T,
}

#[derive(Debug, Deserialize)]
struct ClusterOf {
    cluster: Cluster,
}

#[derive(Debug, Deserialize)]
struct ContextOf {
    context: Context,
}

#[derive(Debug, Deserialize)]
struct UserOf {
    #[serde(default)]
    user: User,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
    tls_server_name: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Context {
    cluster: String,
    #[serde(default)]
    user: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<String>,
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<PathBuf>,
}

/// Where the API server is and who we are to it.
#[derive(Debug)]
pub(crate) struct Access {
    /// Whether TLS is spoken.
    pub(crate) tls: bool,
    /// Name or address of the server.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// What stands before each path.
    pub(crate) prefix: String,
    /// The name that its certificate has to have, if not the host.
    pub(crate) server_name: Option<String>,
    /// Certificates that sign the server's, in PEM.
    pub(crate) authorities: Option<Vec<u8>>,
    /// Our certificate and key, in PEM.
    pub(crate) identity: Option<(Vec<u8>, Vec<u8>)>,
    pub(crate) token: Option<String>,
    /// The files that this was read from, as they were.
    pub(crate) stamps: Vec<Stamp>,
}

/// A file as it was.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    path: PathBuf,
    state: Option<(SystemTime, u64)>,
}

impl Stamp {
    fn of(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            state: std::fs::metadata(path)
                .and_then(|meta| Ok((meta.modified()?, meta.len())))
                .ok(),
        }
    }

    pub(crate) fn changed(&self) -> bool {
        Self::of(&self.path) != *self
    }
}

/// Reads what a kubeconfig names, and remembers what was read.
struct Reader<'a> {
    folder: &'a Path,
    stamps: Vec<Stamp>,
}

impl Reader<'_> {
    fn file(&mut self, path: &Path) -> Result<Vec<u8>, String> {
        let path = self.folder.join(path);
        self.stamps.push(Stamp::of(&path));
        std::fs::read(&path).map_err(|error| format!("reading {}: {error}", path.display()))
    }

    fn either(&mut self, data: Option<&str>, path: Option<&Path>) -> Result<Option<Vec<u8>>, String> {
        match (data, path) {
            (Some(data), _) => {
                let bytes = STANDARD.decode(data.trim());
                bytes
                    .map(Some)
                    .map_err(|error| format!("data of the kubeconfig: {error}"))
            }
            (None, Some(path)) => self.file(path).map(Some),
            (None, None) => Ok(None),
        }
    }
}

/// Server, port and prefix of `https://host:port/prefix`.
fn address(server: &str) -> Result<(bool, String, u16, String), String> {
    let uri: http::Uri = server
        .parse()
        .map_err(|error| format!("server {server:?}: {error}"))?;
    let tls = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err(format!("server {server:?} is neither http nor https")),
    };
    let host = uri
        .host()
        .ok_or_else(|| format!("server {server:?} has no host"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
    Ok((tls, host, port, uri.path().trim_end_matches('/').to_owned()))
}

/// As [`address`], where nothing may go in the clear.
pub(crate) fn https(server: &str) -> Result<(bool, String, u16, String), String> {
    let parts = address(server)?;
    if parts.0 {
        Ok(parts)
    } else {
        Err(format!("{server:?} is not https"))
    }
}

impl Access {
    /// Leads to another server, whose certificate has another name or is signed by others.
    pub(crate) fn lead_to(
        &mut self,
        server: &str,
        name: Option<&str>,
        authorities: Option<&Path>,
    ) -> Result<(), String> {
        (self.tls, self.host, self.port, self.prefix) = https(server)?;
        if let Some(name) = name {
            self.server_name = Some(name.to_owned());
        }
        if let Some(path) = authorities {
            let mut reader = Reader {
                folder: Path::new("."),
                stamps: std::mem::take(&mut self.stamps),
            };
            let read = reader.file(path);
            self.stamps = reader.stamps;
            self.authorities = Some(read?);
        }
        Ok(())
    }

    /// The server, as kubeconfigs write it.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority(), self.prefix)
    }

    /// Host and port.
    pub(crate) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Reads a kubeconfig, its current context or another one.
    pub(crate) fn read(path: &Path, context: Option<&str>) -> Result<Self, String> {
        let mut reader = Reader {
            folder: path.parent().unwrap_or(Path::new(".")),
            stamps: vec![Stamp::of(path)],
        };
        let text =
            std::fs::read_to_string(path).map_err(|error| format!("reading {}: {error}", path.display()))?;
        let file: File =
            serde_saphyr::from_str(&text).map_err(|error| format!("reading {}: {error}", path.display()))?;
        let wanted = context.unwrap_or(&file.current_context);
        let missing = |what: &str, name: &str| format!("{} has no {what} {name:?}", path.display());
        let context = file.contexts.iter().find(|context| context.name == wanted);
        let context = &context.ok_or_else(|| missing("context", wanted))?.inner.context;
        let cluster = file
            .clusters
            .iter()
            .find(|cluster| cluster.name == context.cluster);
        let cluster = &cluster
            .ok_or_else(|| missing("cluster", &context.cluster))?
            .inner
            .cluster;
        let nobody = User::default();
        let user = file.users.iter().find(|user| user.name == context.user);
        let user = user.map_or(&nobody, |user| &user.inner.user);

        let (tls, host, port, prefix) = address(&cluster.server)?;
        let authorities = reader.either(
            cluster.certificate_authority_data.as_deref(),
            cluster.certificate_authority.as_deref(),
        )?;
        let certificate = reader.either(
            user.client_certificate_data.as_deref(),
            user.client_certificate.as_deref(),
        )?;
        let key = reader.either(user.client_key_data.as_deref(), user.client_key.as_deref())?;
        let token = match (&user.token_file, &user.token) {
            (Some(file), _) => Some(String::from_utf8_lossy(&reader.file(file)?).trim().to_owned()),
            (None, token) => token.clone(),
        };
        if !tls && token.is_some() && !matches!(host.as_str(), "127.0.0.1" | "::1" | "localhost") {
            return Err(format!(
                "{}: a token would be sent to {host} in the clear",
                path.display()
            ));
        }
        Ok(Self {
            tls,
            host,
            port,
            prefix,
            server_name: cluster.tls_server_name.clone(),
            authorities,
            identity: certificate.zip(key),
            token,
            stamps: reader.stamps,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_beside_the_kubeconfig() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kubelet.conf");
        let text = r"
apiVersion: v1
kind: Config
preferences: {}
clusters:
- name: c
  cluster: {server: 'https://[::1]:6443/prefix/', certificate-authority: ca.crt, tls-server-name: kubernetes}
contexts:
- name: system:node:n1@c
  context: {cluster: c, user: system:node:n1, namespace: default}
current-context: system:node:n1@c
users:
- name: system:node:n1
  user: {client-certificate: node.pem, client-key: node.pem}
";
        std::fs::write(&path, text).unwrap();
        assert!(Access::read(&path, None).unwrap_err().contains("ca.crt"));
        std::fs::write(folder.path().join("ca.crt"), "CA").unwrap();
        std::fs::write(folder.path().join("node.pem"), "PEM").unwrap();
        let access = Access::read(&path, None).unwrap();
        assert_eq!(
            (access.host.as_str(), access.port, access.prefix.as_str()),
            ("::1", 6443, "/prefix")
        );
        assert_eq!(access.identity, Some((b"PEM".to_vec(), b"PEM".to_vec())));
        assert!(access.tls && access.token.is_none());
        assert!(!access.stamps.iter().any(Stamp::changed));
        std::fs::write(folder.path().join("node.pem"), "NEW PEM").unwrap();
        assert!(access.stamps.iter().any(Stamp::changed));
        assert!(
            Access::read(&path, Some("other"))
                .unwrap_err()
                .contains("no context")
        );
    }

    #[test]
    fn a_token_is_not_sent_in_the_clear() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        for (server, fine) in [("http://127.0.0.1:8001", true), ("http://10.0.0.1:8001", false)] {
            let text = format!(
                "{{current-context: a, contexts: [{{name: a, context: {{cluster: a, user: a}}}}], \
                 clusters: [{{name: a, cluster: {{server: '{server}'}}}}], users: [{{name: a, user: {{token: t}}}}]}}"
            );
            std::fs::write(&path, text).unwrap();
            assert_eq!(Access::read(&path, None).is_ok(), fine, "{server}");
        }
    }
}
