//! The farm's nodes by name: what they said of themselves, their keys, and the list of nodes that others get. Knows no lease.

use crate::farm::error::{CallError, checked, shown};
use crate::farm::names::Names;
use crate::limits::{ADDRESS_MAX, NAME_MAX, NODES_MAX, TEXT_MAX};
use kiln_proto::grant::{GRANT_KEY_BYTES, GrantKey};
use kiln_proto::v1;
use kiln_rpc::Address;
use kiln_sched::WorkerId;
use kiln_sched::limits::{SUBSTITUTES_MAX, TOOLCHAINS_MAX, WORKERS_MAX};
use std::collections::BTreeMap;

/// A node as it registered.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) about: v1::RegisterRequest,
    pub(crate) kind: v1::NodeKind,
    /// Names this registration in heartbeats.
    pub(crate) registration: String,
    key: GrantKey,
    serial: u64,
    /// Number of its last heartbeat.
    pub(crate) sequence: u64,
    pub(crate) unwell: String,
    /// What people should know of it.
    pub(crate) note: String,
    /// What the last client that it failed told.
    pub(crate) failure: String,
    pub(crate) disk_free_bytes: u64,
    /// Leases of its last report that are not this scheduler's.
    pub(crate) foreign: Vec<String>,
    /// The list of nodes it was last told.
    pub(crate) nodes_told: u64,
    /// Whether it stands in the list.
    listed: bool,
}

impl Member {
    /// A token for this worker.
    pub(crate) fn sign(&mut self, mut token: v1::GrantToken) -> Vec<u8> {
        self.serial += 1;
        token.worker_id.clone_from(&self.registration);
        token.serial = self.serial;
        self.key.sign(token)
    }
}

/// All nodes.
#[derive(Debug)]
pub(crate) struct Members {
    names: Names<String>,
    members: BTreeMap<WorkerId, Member>,
    by_registration: BTreeMap<String, WorkerId>,
    /// Counts changes of the list.
    version: u64,
}

/// Random bytes.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], CallError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| CallError::NoRandomness(error.to_string()))?;
    Ok(bytes)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is wrong with a registration, if anything.
pub(crate) fn check(about: &v1::RegisterRequest) -> Result<v1::NodeKind, CallError> {
    checked("name", &about.name, NAME_MAX)?;
    checked("address", &about.address, ADDRESS_MAX)?;
    checked("boot_id", &about.boot_id, NAME_MAX)?;
    about.address.parse::<Address>().map_err(|error| CallError::Bad(format!("address {error}")))?;
    let optional = [("machine", &about.machine), ("kiln_root", &about.kiln_root), ("tls_name", &about.tls_name)];
    for (field, text) in optional.into_iter().filter(|(_, text)| !text.is_empty()) {
        checked(field, text, ADDRESS_MAX)?;
    }
    if about.toolchains.len() > TOOLCHAINS_MAX {
        return Err(CallError::Bad(format!("more than {TOOLCHAINS_MAX} toolchains")));
    }
    for toolchain in &about.toolchains {
        checked("toolchain", toolchain, NAME_MAX)?;
    }
    if about.substitutes.len() > SUBSTITUTES_MAX {
        return Err(CallError::Bad(format!("more than {SUBSTITUTES_MAX} substitutes")));
    }
    for substitute in &about.substitutes {
        checked("substitute", &substitute.id, NAME_MAX)?;
        let told = [&substitute.family, &substitute.version, &substitute.target, &substitute.driver];
        told.into_iter().try_for_each(|text| checked("substitute", text, ADDRESS_MAX))?;
    }
    match v1::NodeKind::try_from(about.kind) {
        Ok(v1::NodeKind::Unspecified) | Err(_) => Err(CallError::Bad("kind is neither worker nor cache".to_owned())),
        Ok(kind) => Ok(kind),
    }
}

impl Members {
    pub(crate) fn new() -> Members {
        Members { names: Names::new(WORKERS_MAX), members: BTreeMap::new(), by_registration: BTreeMap::new(), version: 1 }
    }

    /// The number a node of that name has or would get, and whether it is the same process as before.
    pub(crate) fn find(&self, name: &str) -> Option<(WorkerId, &Member)> {
        let id = WorkerId(self.names.find(&name.to_owned())?);
        Some((id, self.members.get(&id)?))
    }

    /// Enters a checked registration in place of an earlier one of that name.
    pub(crate) fn enter(&mut self, mut about: v1::RegisterRequest, kind: v1::NodeKind) -> Result<WorkerId, CallError> {
        about.version = shown(&about.version, TEXT_MAX);
        about.sandbox = shown(&about.sandbox, TEXT_MAX);
        let (nonce, key_id, secret) = (random::<8>()?, random::<8>()?, random::<GRANT_KEY_BYTES>()?);
        let id = match self.names.find(&about.name) {
            Some(id) => id,
            None => self.names.hold(&about.name).ok_or(CallError::TooMany("nodes"))?,
        };
        let id = WorkerId(id);
        let registration = format!("{id}.{}", hex(&nonce));
        let key = GrantKey::new(hex(&key_id), secret);
        let member = Member {
            about,
            kind,
            registration: registration.clone(),
            key,
            serial: 0,
            sequence: 0,
            unwell: String::new(),
            note: String::new(),
            failure: String::new(),
            disk_free_bytes: 0,
            foreign: Vec::new(),
            nodes_told: 0,
            listed: true,
        };
        if let Some(before) = self.members.insert(id, member) {
            self.by_registration.remove(&before.registration);
        }
        self.by_registration.insert(registration, id);
        self.version += 1;
        Ok(id)
    }

    /// The answer to a registration.
    pub(crate) fn welcome(&mut self, id: WorkerId) -> Option<v1::RegisterResponse> {
        let nodes = self.nodes();
        let version = self.version;
        let member = self.members.get_mut(&id)?;
        member.nodes_told = version;
        Some(v1::RegisterResponse {
            worker_id: member.registration.clone(),
            grant_key: member.key.secret().to_vec(),
            grant_key_id: member.key.id().to_owned(),
            heartbeat_ms: u32::try_from(kiln_sched::limits::HEARTBEAT.as_ms()).unwrap_or(u32::MAX),
            nodes: Some(nodes),
        })
    }

    pub(crate) fn registered(&self, registration: &str) -> Option<WorkerId> {
        self.by_registration.get(registration).copied()
    }

    pub(crate) fn get(&self, id: WorkerId) -> Option<&Member> {
        self.members.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: WorkerId) -> Option<&mut Member> {
        self.members.get_mut(&id)
    }

    /// Drops a node; its number is free.
    pub(crate) fn forget(&mut self, id: WorkerId) -> Option<Member> {
        let member = self.members.remove(&id)?;
        self.by_registration.remove(&member.registration);
        self.names.drop_use(id.0);
        self.version += u64::from(member.listed);
        Some(member)
    }

    /// Takes a node into the list or out of it.
    pub(crate) fn list(&mut self, id: WorkerId, listed: bool) {
        if let Some(member) = self.members.get_mut(&id)
            && member.listed != listed
        {
            member.listed = listed;
            self.version += 1;
        }
    }

    /// Number of the list as it is now.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// The list that others get: live cache servers, then live workers, by number.
    pub(crate) fn nodes(&self) -> v1::Nodes {
        let of = |kind| self.members.values().filter(move |member| member.listed && member.kind == kind);
        let listed = of(v1::NodeKind::Cache).chain(of(v1::NodeKind::Worker)).take(NODES_MAX);
        let nodes = listed.map(|member| v1::Node {
            name: member.about.name.clone(),
            address: member.about.address.clone(),
            kind: member.kind as i32,
            tls_name: member.about.tls_name.clone(),
        });
        v1::Nodes { nodes: nodes.collect() }
    }
}
