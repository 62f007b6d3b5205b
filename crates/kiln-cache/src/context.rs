//! What all services share: the instances there are, who may do what, and the blobs. Knows no request.

use crate::blobs::Blobs;
use kiln_cas::{BLOB_SIZE_MAX, Digest};
use kiln_proto::{convert, reapi};
use kiln_rpc::{Caller, Role};
use std::collections::BTreeMap;
use std::sync::Arc;
use tonic::{Request, Status};

/// One trust domain: its blobs and results are readable by all who may call the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Instance {
    /// Whether users, not only workers, may store action results in it. Such results are never read through from another
    /// instance.
    pub client_writable: bool,
}

/// The instances served, by name. The empty name is an instance like any other.
#[derive(Debug, Clone, Default)]
pub struct Instances {
    by_name: BTreeMap<String, Instance>,
}

impl Instances {
    /// The instance that kiln's own daemons and workers use, written by workers only.
    pub const MAIN: &'static str = "main";

    /// These and no others.
    pub fn new(instances: impl IntoIterator<Item = (String, Instance)>) -> Instances {
        Instances { by_name: instances.into_iter().collect() }
    }

    /// `main` alone, written by workers only.
    pub fn main_only() -> Instances {
        Instances::new([(Instances::MAIN.to_owned(), Instance::default())])
    }

    /// The instance of that name.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when there is none. (`NOT_FOUND` would be taken for a miss, and the mistake never seen.)
    pub fn get(&self, name: &str) -> Result<Instance, Status> {
        let unknown = || Status::invalid_argument(format!("unknown instance {:?}", name.chars().take(80).collect::<String>()));
        self.by_name.get(name).copied().ok_or_else(unknown)
    }
}

/// Which roles may read and write blobs. (`Local` may always.)
#[derive(Debug, Clone)]
pub struct Access {
    /// May read blobs and results.
    pub read: Vec<Role>,
    /// May write blobs.
    pub write: Vec<Role>,
}

impl Access {
    /// Of the cluster's cache: users and workers read and write blobs, admins look.
    pub fn cluster() -> Access {
        Access { read: vec![Role::User, Role::Worker, Role::Admin], write: vec![Role::User, Role::Worker] }
    }

    /// Of a worker: holders of a grant read and write, other workers read.
    pub fn worker() -> Access {
        Access { read: vec![Role::Granted, Role::Worker], write: vec![Role::Granted] }
    }
}

/// What the blob services need; cheap to clone.
#[derive(Clone)]
pub struct CasContext {
    pub(crate) blobs: Blobs,
    pub(crate) instances: Arc<Instances>,
    pub(crate) access: Arc<Access>,
    pub(crate) blob_bytes_max: u64,
}

impl CasContext {
    /// Blobs of at most 4 GiB or the store's bound, whichever is less.
    pub fn new(blobs: Blobs, instances: Instances, access: Access) -> CasContext {
        let blob_bytes_max = BLOB_SIZE_MAX.min(blobs.disk().max_bytes());
        CasContext { blobs, instances: Arc::new(instances), access: Arc::new(access), blob_bytes_max }
    }

    /// The same with a smaller bound on single blobs.
    #[must_use]
    pub fn with_blob_bytes_max(mut self, bytes: u64) -> CasContext {
        self.blob_bytes_max = self.blob_bytes_max.min(bytes);
        self
    }

    /// The blobs.
    pub fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    pub(crate) fn reader<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        kiln_rpc::require(request, &self.access.read)
    }

    pub(crate) fn writer<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        kiln_rpc::require(request, &self.access.write)
    }

    /// Whether a blob of that size may be written.
    pub(crate) fn takes(&self, digest: &Digest) -> Result<(), Status> {
        match digest.size > self.blob_bytes_max {
            true => Err(Status::invalid_argument(format!("{digest} is larger than {} bytes", self.blob_bytes_max))),
            false => Ok(()),
        }
    }

    /// Checks instance and digest function, which stand in every request.
    pub(crate) fn instance(&self, name: &str, digest_function: i32) -> Result<Instance, Status> {
        use reapi::digest_function::Value;
        let instance = self.instances.get(name)?;
        match Value::try_from(digest_function) {
            Ok(Value::Unknown | Value::Sha256) => Ok(instance),
            Ok(other) => Err(Status::invalid_argument(format!("digest function {} is not served; SHA256 is", other.as_str_name()))),
            Err(_) => Err(Status::invalid_argument(format!("unknown digest function {digest_function}"))),
        }
    }
}

pub(crate) fn digest(digest: Option<&reapi::Digest>) -> Result<Digest, Status> {
    convert::digest_from_wire(digest).map_err(|error| Status::invalid_argument(format!("bad digest: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_named_instances_are_served() {
        let instances = Instances::new([("a/b".to_owned(), Instance { client_writable: true })]);
        assert!(instances.get("a/b").unwrap().client_writable);
        for name in ["", "a", "a/b/", "A/B"] {
            assert_eq!(instances.get(name).unwrap_err().code(), tonic::Code::InvalidArgument);
        }
    }
}
