//! This machine's own compilers, packaged so that clients whose compilers its processor cannot run may use them. Knows no client.

use kiln_cas::{BlobStore as _, Digest};
use kiln_proto::v1;
use kiln_store::{DiskStore, PinGuard, StoreError};
use kiln_toolchain::{DigestCache, Entry, Family, LookupEnv, Toolchain, ToolchainError};
use prost::Message as _;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Compilers that one worker offers: C and C++ of four releases; the scheduler takes no more.
const OFFERS_MAX: usize = 8;

/// Where drivers find programs, if the environment does not say.
const PATH_FALLBACK: &str = "/usr/local/bin:/usr/bin:/bin";

/// What a worker offers.
#[derive(Default)]
pub(crate) struct Offers {
    pub(crate) offered: Vec<v1::Substitute>,
    /// What could not be offered, for people; empty when nothing is wrong.
    pub(crate) trouble: String,
    /// The compilers stay in the store as they were packaged, whatever happens to them on this machine.
    _pins: Vec<PinGuard>,
}

#[derive(Debug, thiserror::Error)]
enum OfferError {
    #[error(transparent)]
    Toolchain(#[from] ToolchainError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{path}: {source}")]
    Read { path: String, source: std::io::Error },
    #[error("{0} changed while it was packaged")]
    Changed(String),
}

/// Packages `drivers` into `store`. One that cannot be is told of and left out. Blocks.
pub(crate) fn offer(drivers: &[PathBuf], store: &DiskStore) -> Offers {
    let mut offers = Offers::default();
    if drivers.is_empty() {
        return offers;
    }
    let mut cache = DigestCache::new();
    let mut trouble = Vec::new();
    for driver in drivers.iter().take(OFFERS_MAX) {
        match package(driver, &mut cache, store) {
            Ok((offered, pins)) => {
                tracing::info!("{} may stand in for {} {} for {}", offered.driver, offered.family, offered.version, offered.target);
                offers.offered.push(offered);
                offers._pins.push(pins);
            }
            Err(error) => trouble.push(format!("substitute {}: {error}", driver.display())),
        }
    }
    if drivers.len() > OFFERS_MAX {
        trouble.push(format!("more than {OFFERS_MAX} substitutes"));
    }
    trouble.iter().for_each(|line| tracing::error!("{line}"));
    offers.trouble = trouble.join("; ");
    offers
}

fn package(driver: &Path, cache: &mut DigestCache, store: &DiskStore) -> Result<(v1::Substitute, PinGuard), OfferError> {
    let path = std::env::var("PATH").ok().filter(|path| !path.is_empty()).unwrap_or_else(|| PATH_FALLBACK.to_owned());
    let toolchain = Toolchain::discover(driver, &LookupEnv { path, ..LookupEnv::default() }, cache)?;
    let packaged = packaged(&toolchain);
    let bytes = packaged.encode_to_vec();
    let id = Digest::of(&bytes);
    let files = toolchain.entries.iter().filter_map(|entry| match entry {
        Entry::File { digest, .. } => Some(*digest),
        _ => None,
    });
    let pins = store.pin(&files.chain([id]).collect::<Vec<_>>());
    for entry in &toolchain.entries {
        let Entry::File { path, digest, executable } = entry else { continue };
        if store.contains(digest) {
            continue;
        }
        let file = File::open(path).map_err(|source| OfferError::Read { path: path.clone(), source })?;
        if store.put_file(&file, digest.size, *executable)? != *digest {
            return Err(OfferError::Changed(path.clone()));
        }
    }
    store.put(&id, &bytes)?;
    let v1::PackagedToolchain { driver, family, cxx, version, target, .. } = packaged;
    Ok((v1::Substitute { id: id.to_string(), family, cxx, version, target, driver }, pins))
}

fn packaged(toolchain: &Toolchain) -> v1::PackagedToolchain {
    let entries = toolchain.entries.iter().map(|entry| match entry {
        Entry::File { path, digest, executable } => {
            v1::PackagedEntry { path: path.clone(), digest: digest.to_string(), executable: *executable, target: String::new() }
        }
        Entry::Symlink { path, target } => {
            v1::PackagedEntry { path: path.clone(), target: target.clone(), ..v1::PackagedEntry::default() }
        }
        Entry::Directory { path } => v1::PackagedEntry { path: path.clone(), ..v1::PackagedEntry::default() },
    });
    v1::PackagedToolchain {
        driver: toolchain.driver.to_string_lossy().into_owned(),
        family: family_name(toolchain.family).to_owned(),
        cxx: toolchain.cxx,
        version: toolchain.version.clone(),
        target: toolchain.target.clone(),
        machine: toolchain.host_arch.to_owned(),
        search_path: toolchain.search_path.clone(),
        entries: entries.collect(),
    }
}

/// A family as the wire names it.
pub fn family_name(family: Family) -> &'static str {
    match family {
        Family::Gcc => "gcc",
        Family::Clang => "clang",
    }
}
