//! TLS settings of servers and clients from PEM files. Knows no socket; what a certificate's names mean stands here.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::RwLock;

use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::WebPkiClientVerifier;
use x509_parser::prelude::FromDer;
use x509_parser::prelude::X509Certificate;

use crate::Role;

/// Names of PEM files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates of the CA that peers must chain to.
    pub ca: Option<PathBuf>,
    /// This side's certificate, its chain after it.
    pub cert: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
}

/// What is wrong with TLS settings.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or holds no such PEM item.
    #[error("{path}: {why}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A needed file is not named.
    #[error("TLS needs `{0}`")]
    Missing(&'static str),
    /// The items do not fit together.
    #[error("TLS settings: {0}")]
    Rejected(String),
}

/// What a server shows and asks of clients. A client certificate is asked for where a CA is named, and never required: a
/// client without one needs another credential.
#[derive(Debug)]
pub struct ServerTls {
    files: TlsFiles,
    config: RwLock<Arc<ServerConfig>>,
}

/// How a client secures its connections.
#[derive(Debug, Clone, Default)]
pub struct ClientTls {
    config: Option<Arc<ClientConfig>>,
}

/// Protocols offered in the handshake: gRPC, and HTTP/1 for `/metrics` and `/healthz`.
const SERVER_ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

impl ServerTls {
    /// Reads the files: `cert` and `key` are needed.
    ///
    /// # Errors
    /// A file is missing, unreadable or does not fit; a key that everybody may read.
    pub fn from_files(files: &TlsFiles) -> Result<ServerTls, TlsError> {
        Ok(ServerTls { files: files.clone(), config: RwLock::new(Arc::new(server_config(files)?)) })
    }

    /// Reads the files again; connections made from now on use them.
    ///
    /// # Errors
    /// As [`ServerTls::from_files`]; what was valid before stays then.
    pub fn reload(&self) -> Result<(), TlsError> {
        let config = Arc::new(server_config(&self.files)?);
        *self.config.write().unwrap_or_else(std::sync::PoisonError::into_inner) = config;
        Ok(())
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        self.config.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

impl ClientTls {
    /// No TLS: for Unix sockets, loopback, and where `insecure` is stated.
    pub fn plain() -> ClientTls {
        ClientTls::default()
    }

    /// Servers must chain to `ca`; `cert` and `key`, if named, are shown to servers that ask.
    ///
    /// # Errors
    /// A file is missing, unreadable or does not fit.
    pub fn from_files(files: &TlsFiles) -> Result<ClientTls, TlsError> {
        let ca = files.ca.as_deref().ok_or(TlsError::Missing("ca"))?;
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(rejected)?
            .with_root_certificates(roots(ca)?);
        let mut config = match (&files.cert, &files.key) {
            (Some(cert), Some(key)) => {
                let (chain, key) = (chain(cert)?, private_key(key)?);
                match chain.first().is_some_and(is_for_clients) {
                    true => builder.with_client_auth_cert(chain, key).map_err(rejected)?,
                    // Shown all the same, a server would close the connection: it is this side's listeners' alone.
                    false => builder.with_no_client_auth(),
                }
            }
            (None, None) => builder.with_no_client_auth(),
            (Some(_), None) => return Err(TlsError::Missing("key")),
            (None, Some(_)) => return Err(TlsError::Missing("cert")),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(ClientTls { config: Some(Arc::new(config)) })
    }

    /// Whether connections are encrypted.
    pub fn is_tls(&self) -> bool {
        self.config.is_some()
    }

    pub(crate) fn config(&self) -> Option<Arc<ClientConfig>> {
        self.config.clone()
    }
}

/// What a client certificate says of its bearer: the CN and, where the OU is `user`, `worker` or `admin`, the role.
pub(crate) fn certificate_caller(certificate: &CertificateDer<'_>) -> Option<(String, Role)> {
    let (_, parsed) = X509Certificate::from_der(certificate.as_ref()).ok()?;
    let subject = parsed.subject();
    let role = subject.iter_organizational_unit().find_map(|unit| unit.as_str().ok()?.parse().ok())?;
    let name = subject.iter_common_name().find_map(|name| name.as_str().ok())?;
    Some((name.to_owned(), role))
}

/// Whether a client may show this certificate: it names no uses, or that one among them.
fn is_for_clients(certificate: &CertificateDer<'_>) -> bool {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate.as_ref()) else { return false };
    match parsed.extended_key_usage() {
        Ok(Some(usage)) => usage.value.client_auth || usage.value.any,
        Ok(None) => true,
        Err(_) => false,
    }
}

fn server_config(files: &TlsFiles) -> Result<ServerConfig, TlsError> {
    let cert = files.cert.as_deref().ok_or(TlsError::Missing("cert"))?;
    let key = files.key.as_deref().ok_or(TlsError::Missing("key"))?;
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().map_err(rejected)?;
    let builder = match &files.ca {
        Some(ca) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(ca)?), provider())
                .allow_unauthenticated()
                .build()
                .map_err(|error| TlsError::Rejected(error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain(cert)?, private_key(key)?).map_err(rejected)?;
    config.alpn_protocols = SERVER_ALPN.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(config)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

#[expect(clippy::needless_pass_by_value, reason = "fits map_err")]
fn rejected(error: rustls::Error) -> TlsError {
    TlsError::Rejected(error.to_string())
}

fn file_error(path: &Path, why: impl ToString) -> TlsError {
    TlsError::File { path: path.to_owned(), why: why.to_string() }
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let items = CertificateDer::pem_file_iter(path).map_err(|error| file_error(path, error))?;
    let items = items.collect::<Result<Vec<_>, _>>().map_err(|error| file_error(path, error))?;
    if items.is_empty() { Err(file_error(path, "no certificate in it")) } else { Ok(items) }
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for item in chain(path)? {
        store.add(item).map_err(|error| file_error(path, error))?;
    }
    Ok(store)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let mode = std::fs::metadata(path).map_err(|error| file_error(path, error))?.mode();
    // A group may read it: distributions keep keys for a group of services.
    if mode & 0o007 != 0 {
        return Err(file_error(path, format!("mode {:o}: everybody can use this private key (chmod 600)", mode & 0o7777)));
    }
    PrivateKeyDer::from_pem_file(path).map_err(|error| file_error(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::ExtendedKeyUsagePurpose;

    #[test]
    fn a_client_shows_what_is_meant_for_clients() {
        let made = |uses: &[ExtendedKeyUsagePurpose]| {
            let mut params = rcgen::CertificateParams::new(vec!["node".to_owned()]).unwrap();
            params.extended_key_usages = uses.to_vec();
            params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().clone()
        };
        assert!(is_for_clients(&made(&[])));
        assert!(is_for_clients(&made(&[ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth])));
        assert!(!is_for_clients(&made(&[ExtendedKeyUsagePurpose::ServerAuth])));
        assert!(!is_for_clients(&CertificateDer::from(vec![0x30, 0x80])));
        assert_eq!(certificate_caller(&made(&[])), None);
    }
}
