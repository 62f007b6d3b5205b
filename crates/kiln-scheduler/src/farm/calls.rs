//! What clients ask: grants, renewals, returns; and their answers with signed tokens. Knows no worker's report.

use crate::farm::actor::{Actor, Asked, HeldNames, KnownClient, answer};
use crate::farm::error::{CallError, checked, shown};
use crate::farm::event::AcquireCall;
use crate::limits::{ADDRESS_MAX, LEASES_PER_CALL_MAX, NAME_MAX, TEXT_MAX, TOKEN_LEASE};
use kiln_cas::{Digest, Hasher};
use kiln_proto::v1;
use kiln_sched::limits::{AVOID_MAX, ITEMS_MAX, LEASE, SUBSTITUTES_MAX};
use kiln_sched::{
    Acquire, ActionKey, ClientId, Granted, Item, LeaseId, MachineId, Micros, Need, Outcome, Refusal, RequestId, RootId,
    ToolchainId, UserId, WorkerId,
};

impl Actor {
    pub(crate) fn acquire(&mut self, call: AcquireCall) {
        if call.reply.is_closed() {
            return;
        }
        if self.stopping {
            return answer(call.reply, Err(CallError::Stopping));
        }
        match self.prepare(&call) {
            Err(error) => answer(call.reply, Err(error)),
            Ok((acquire, names)) => {
                let (client, user, instance) = (acquire.client, call.user, call.message.instance);
                self.asked.insert(acquire.request, Asked { reply: call.reply, client, user, instance, names });
                self.apply(kiln_sched::Event::Acquire(acquire));
            }
        }
    }

    /// The call in numbers, and the names it keeps in use.
    fn prepare(&mut self, call: &AcquireCall) -> Result<(Acquire, HeldNames), CallError> {
        let message = &call.message;
        checked("client_id", &call.client, NAME_MAX)?;
        for (field, text) in [("toolchain", &message.toolchain), ("machine", &message.machine), ("kiln_root", &message.kiln_root)] {
            if !text.is_empty() {
                checked(field, text, NAME_MAX)?;
            }
        }
        if message.instance.len() > ADDRESS_MAX {
            return Err(CallError::Bad("instance is too long".to_owned()));
        }
        let (client, user) = self.client(&call.user, &call.client)?;
        let (need, machine, mut names) = self.need(message)?;
        // Names that nobody has registered serve nobody: those are left out, and none is kept in use for them.
        let substitutes = message.substitutes.iter().take(SUBSTITUTES_MAX).filter(|name| self.toolchains.find(name).is_some());
        let substitutes: Vec<u32> =
            substitutes.cloned().collect::<Vec<_>>().iter().filter_map(|name| self.toolchains.hold(name)).collect();
        names.toolchains.extend(&substitutes);
        let node = |name: &String| self.members.find(name).map(|(id, _)| id);
        // One more than may be asked for, so that the core counts the excess without being given a million.
        let wanted = message.requests.iter().take(ITEMS_MAX + 1);
        let acquire = Acquire {
            request: call.request,
            client,
            user,
            need,
            machine,
            substitutes: substitutes.into_iter().map(ToolchainId).collect(),
            items: wanted.map(|request| item(&message.instance, request)).collect(),
            wait: Micros::from_ms(u64::from(message.wait_ms)),
            backlog: message.backlog,
            cores: message.client_cores,
            local: node(&message.local_worker),
            avoid: message.avoid.iter().take(AVOID_MAX).filter_map(node).collect(),
            batch: message.batch,
        };
        Ok((acquire, names))
    }

    fn need(&mut self, message: &v1::AcquireRequest) -> Result<(Need, Option<MachineId>, HeldNames), CallError> {
        let mut names = HeldNames::default();
        let mut full = false;
        let mut machine = None;
        if !message.machine.is_empty() {
            names.machine = self.machines.hold(&message.machine);
            machine = names.machine.map(MachineId);
            full |= names.machine.is_none();
        }
        let need = if !message.kiln_root.is_empty() {
            names.root = self.roots.hold(&message.kiln_root);
            names.root.map(|id| Need::Root(RootId(id)))
        } else if !message.toolchain.is_empty() {
            names.toolchains.extend(self.toolchains.hold(&message.toolchain));
            names.toolchains.first().map(|id| Need::Toolchain(ToolchainId(*id)))
        } else {
            Some(Need::Any)
        };
        match need {
            Some(need) if !full => Ok((need, machine, names)),
            _ => {
                self.let_go(names);
                Err(CallError::TooMany("different toolchains"))
            }
        }
    }

    fn client(&mut self, user: &str, client: &str) -> Result<(ClientId, UserId), CallError> {
        let key = (user.to_owned(), client.to_owned());
        if let Some(id) = self.clients.find(&key).map(ClientId)
            && let Some(known) = self.known_clients.get(&id)
        {
            return Ok((id, known.user));
        }
        let user = self.users.hold(&key.0).ok_or(CallError::TooMany("users"))?;
        let Some(id) = self.clients.hold(&key) else {
            self.users.drop_use(user);
            return Err(CallError::TooMany("clients"));
        };
        let (id, user) = (ClientId(id), UserId(user));
        self.known_clients.insert(id, KnownClient { user, nodes_told: 0 });
        Ok((id, user))
    }

    fn find_client(&self, user: String, client: String) -> Option<ClientId> {
        self.clients.find(&(user, client)).map(ClientId)
    }

    pub(crate) fn answer_granted(&mut self, request: RequestId, granted: &[Granted]) {
        let Some(asked) = self.asked.remove(&request) else { return self.take_back(None, granted) };
        let grants = granted.iter().filter_map(|granted| self.grant(&asked, granted)).collect();
        let nodes = self.nodes_for(asked.client);
        let response = v1::AcquireResponse { grants, refusal: v1::Refusal::None as i32, nodes };
        self.let_go(asked.names);
        if asked.reply.send(Ok(response)).is_err() {
            self.take_back(Some(asked.client), granted);
        }
    }

    /// The asker went away in the same moment: nobody will use these.
    fn take_back(&mut self, client: Option<ClientId>, granted: &[Granted]) {
        let Some(client) = client else { return };
        for granted in granted {
            self.later(kiln_sched::Event::Release { client, lease: granted.lease, outcome: Outcome::Unused });
        }
    }

    fn grant(&mut self, asked: &Asked, granted: &Granted) -> Option<v1::Grant> {
        let lease = self.lease_name(granted.lease);
        let substitute = granted.substitute.and_then(|id| self.toolchains.name(id.0).cloned()).unwrap_or_default();
        let member = self.members.get_mut(granted.worker)?;
        let token = member.sign(v1::GrantToken {
            lease: lease.clone(),
            user: asked.user.clone(),
            instance: asked.instance.clone(),
            attempt: granted.attempt,
            lease_ms: TOKEN_LEASE.as_millis() as u32,
            ..Default::default()
        });
        Some(v1::Grant {
            lease,
            token,
            worker_name: member.about.name.clone(),
            worker_address: member.about.address.clone(),
            tls_name: member.about.tls_name.clone(),
            lease_ms: u32::try_from(LEASE.as_ms()).unwrap_or(u32::MAX),
            local: granted.local,
            join: granted.join,
            request: u32::try_from(granted.item).unwrap_or(u32::MAX),
            substitute,
        })
    }

    fn nodes_for(&mut self, client: ClientId) -> Option<v1::Nodes> {
        let version = self.members.version();
        let known = self.known_clients.get_mut(&client)?;
        let told = std::mem::replace(&mut known.nodes_told, version);
        (told != version).then(|| self.members.nodes())
    }

    pub(crate) fn answer_refused(&mut self, request: RequestId, why: Refusal) {
        let Some(asked) = self.asked.remove(&request) else { return };
        let refusal = match why {
            Refusal::Full => v1::Refusal::Full,
            Refusal::UnknownToolchain => v1::Refusal::UnknownToolchain,
            Refusal::NoWorkers => v1::Refusal::NoWorkers,
        };
        let nodes = self.nodes_for(asked.client);
        self.let_go(asked.names);
        answer(asked.reply, Ok(v1::AcquireResponse { grants: Vec::new(), refusal: refusal as i32, nodes }));
    }

    pub(crate) fn renew(&mut self, user: String, client: String, leases: Vec<String>) -> Result<v1::RenewResponse, CallError> {
        if leases.len() > LEASES_PER_CALL_MAX {
            return Err(CallError::TooMany("leases"));
        }
        let mut response = v1::RenewResponse::default();
        let mut own = Vec::new();
        for name in leases {
            match self.own_lease(&name) {
                Some(lease) => own.push(lease),
                // Another scheduler's, or one of an earlier life: it goes on as long as its worker says so.
                None if self.foreign.contains_key(&name) => {}
                None => response.unknown.push(name),
            }
        }
        let name_all = |leases: Vec<LeaseId>| leases.into_iter().map(|lease| self.lease_name(lease)).collect::<Vec<_>>();
        let Some(client) = self.find_client(user, client) else {
            response.unknown.extend(name_all(own));
            return Ok(response);
        };
        self.apply(kiln_sched::Event::Renew { client, leases: own });
        let (unknown, lost) = self.renewed.take().unwrap_or_default();
        response.unknown.extend(unknown.into_iter().map(|lease| self.lease_name(lease)));
        response.lost.extend(lost.into_iter().map(|lease| self.lease_name(lease)));
        Ok(response)
    }

    pub(crate) fn release(
        &mut self,
        user: String,
        client: String,
        released: Vec<v1::Released>,
    ) -> Result<v1::ReleaseResponse, CallError> {
        if released.len() > LEASES_PER_CALL_MAX {
            return Err(CallError::TooMany("leases"));
        }
        let Some(client) = self.find_client(user, client) else { return Ok(v1::ReleaseResponse {}) };
        for one in released {
            let Some(lease) = self.own_lease(&one.lease) else { continue };
            let outcome = outcome(one.outcome());
            if outcome == Outcome::WorkerFailed
                && let Some(worker) = self.core.lease_worker(client, lease)
            {
                self.note_failure(worker, &one.detail);
            }
            self.apply(kiln_sched::Event::Release { client, lease, outcome });
        }
        Ok(v1::ReleaseResponse {})
    }

    fn note_failure(&mut self, worker: WorkerId, detail: &str) {
        if let Some(member) = self.members.get_mut(worker) {
            member.failure = shown(detail, TEXT_MAX);
        }
    }
}

fn item(instance: &str, request: &v1::GrantRequest) -> Item {
    let action = request.action.parse::<Digest>().ok().map(|action| {
        let mut hasher = Hasher::new();
        hasher.update(&(instance.len() as u64).to_le_bytes());
        hasher.update(instance.as_bytes());
        hasher.update(&action.hash);
        hasher.update(&action.size.to_le_bytes());
        ActionKey(hasher.finish().hash)
    });
    Item { action, attempt: request.attempt, cost_ms: request.cost_ms, memory: request.memory_bytes }
}

fn outcome(outcome: v1::Outcome) -> Outcome {
    match outcome {
        v1::Outcome::Unused => Outcome::Unused,
        v1::Outcome::Ok => Outcome::Ok,
        v1::Outcome::JobFailed => Outcome::JobFailed,
        v1::Outcome::Rejected => Outcome::Rejected,
        v1::Outcome::WorkerFailed => Outcome::WorkerFailed,
        v1::Outcome::Cancelled => Outcome::Cancelled,
    }
}
