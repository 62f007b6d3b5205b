//! A private CA and certificates for a small farm. Makes PEM text; writes no file.

use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::DistinguishedName;
use rcgen::DnType;
use rcgen::ExtendedKeyUsagePurpose;
use rcgen::IsCa;
use rcgen::Issuer;
use rcgen::KeyPair;
use rcgen::KeyUsagePurpose;

use crate::Role;

/// A certificate and its key, PEM.
#[derive(Clone)]
pub struct Made {
    /// The certificate.
    pub cert: String,
    /// The private key: to be kept in a file of mode 0600.
    pub key: String,
}

impl std::fmt::Debug for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Made(...)")
    }
}

/// Why no certificate could be made.
#[derive(Debug, thiserror::Error)]
#[error("no certificate: {0}")]
pub struct CertError(#[from] rcgen::Error);

/// A private CA is made anew with the farm it serves.
const CA_DAYS: u64 = 3650;
/// The longest that common verifiers accept of a leaf.
const NODE_DAYS: u64 = 825;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Makes a self-signed CA called `name`.
///
/// # Errors
/// The system gives no key.
pub fn make_ca(name: &str) -> Result<Made, CertError> {
    let key = KeyPair::generate()?;
    let mut params = params(name, Vec::new(), CA_DAYS)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(Made { cert: params.self_signed(&key)?.pem(), key: key.serialize_pem() })
}

/// Makes a certificate called `name` (CN), signed by `ca`, valid as a server for `hosts` (names and addresses) and, where a
/// role is given (OU), as a client's credential of that role.
///
/// # Errors
/// `ca` is no CA's PEM, a host is no name, or `role` is one that no certificate can carry.
pub fn make_node(ca: &Made, name: &str, role: Option<Role>, hosts: &[String]) -> Result<Made, CertError> {
    let issuer = Issuer::from_ca_cert_pem(&ca.cert, KeyPair::from_pem(&ca.key)?)?;
    let key = KeyPair::generate()?;
    let mut params = params(name, hosts.to_vec(), NODE_DAYS)?;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // A server is a client of others too; what it may do there is said by its role, or by its token.
    params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
    if !hosts.is_empty() {
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    }
    if let Some(role) = role {
        params.distinguished_name.push(DnType::OrganizationalUnitName, role.name());
    }
    Ok(Made { cert: params.signed_by(&key, &issuer)?.pem(), key: key.serialize_pem() })
}

fn params(name: &str, hosts: Vec<String>, days: u64) -> Result<CertificateParams, CertError> {
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // A day back: machines of one farm need not agree on the hour.
    params.not_before = rcgen::date_time_ymd(1970, 1, 1) + now.saturating_sub(DAY);
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + now + DAY * u32::try_from(days).unwrap_or(u32::MAX);
    Ok(params)
}
