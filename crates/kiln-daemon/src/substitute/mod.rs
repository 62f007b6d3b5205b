//! Compilers of workers of another processor architecture, in place of this machine's: which are offered, which were proven equal.
//! Decides nothing about where a unit runs.

mod packaged;
mod probes;
mod proof;
mod variants;

use kiln_cas::Digest;
use kiln_proto::v1;
use kiln_toolchain::Toolchain;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub(crate) use packaged::Substitute;
pub(crate) use variants::{NOT_COUNTED, Variants, Whose, counted};

use crate::action::Analysed;
use crate::daemon::Daemon;
use packaged::could_be;

/// Below the daemon's directory. The number changes with the set of probes: what older ones proved is forgotten.
const DIRECTORY: &str = "substitutes-1";

/// Pairs whose proof is kept: eight toolchains with as many substitutes each. Some 50 KB of description each, 3 MB.
const PROOFS_MAX: usize = 64;

/// Largest description read: one batch of blobs.
const DESCRIPTION_MAX: u64 = kiln_worker::BATCH_BYTES_MAX;

/// How often the scheduler is asked for offers for a toolchain in use.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Toolchains asked for: as many as a daemon remembers.
const LOOKED_MAX: usize = 256;

/// What was found out about a pair.
#[derive(Debug, Clone)]
enum Verdict {
    Equal(Arc<Substitute>),
    /// What was not.
    Differs(String),
}

/// A client's toolchain and a substitute.
type Pair = (Digest, Digest);

#[derive(Default)]
struct State {
    verdicts: HashMap<Pair, Verdict>,
    /// Those that this daemon found out itself.
    own: HashSet<Pair>,
    looked: HashMap<Digest, Instant>,
}

/// What this daemon knows of substitutes.
pub(crate) struct Substitutes {
    on: bool,
    dir: PathBuf,
    state: Mutex<State>,
    /// One toolchain's are proven at a time.
    proving: tokio::sync::Mutex<()>,
}

impl Substitutes {
    /// With what was proven earlier. None are used where they are not switched on.
    pub(crate) fn load(on: bool, state_dir: &std::path::Path) -> Substitutes {
        let dir = state_dir.join(DIRECTORY);
        let mut state = State::default();
        if on {
            let names = std::fs::read_dir(&dir).into_iter().flatten().flatten().map(|entry| entry.path());
            state.verdicts.extend(names.take(PROOFS_MAX).filter_map(|path| read_proof(&path)));
        }
        Substitutes { on, dir, state: Mutex::new(state), proving: tokio::sync::Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that may compile what `toolchain` compiles.
    pub(crate) fn of(&self, toolchain: &Toolchain) -> Vec<Arc<Substitute>> {
        let state = self.state();
        let mut proven: Vec<_> = state
            .verdicts
            .iter()
            .filter_map(|((own, _), verdict)| match verdict {
                Verdict::Equal(substitute) if *own == toolchain.id => Some(Arc::clone(substitute)),
                _ => None,
            })
            .collect();
        proven.sort_by_key(|substitute| substitute.id);
        proven
    }

    /// Whether offers for a toolchain are to be looked for now; it is looked for by whoever is told so.
    fn is_due(&self, toolchain: &Digest) -> bool {
        let mut state = self.state();
        if state.looked.get(toolchain).is_some_and(|looked| looked.elapsed() < LOOK_AGAIN) {
            return false;
        }
        if state.looked.len() >= LOOKED_MAX {
            state.looked.clear();
        }
        state.looked.insert(*toolchain, Instant::now());
        true
    }

    fn verdict(&self, pair: &Pair) -> Option<Verdict> {
        self.state().verdicts.get(pair).cloned()
    }

    /// The verdict that this daemon came to itself, if it has.
    fn own_verdict(&self, pair: &Pair) -> Option<Verdict> {
        let state = self.state();
        state.verdicts.get(pair).filter(|_| state.own.contains(pair)).cloned()
    }

    /// Keeps a verdict: one that something differs until the daemon ends, the other on disk.
    fn judge(&self, pair: Pair, verdict: Verdict, description: &[u8]) {
        let path = self.dir.join(format!("{}.{}-{}", pair.0.hex(), pair.0.size, pair.1.hex()));
        let mut state = self.state();
        if state.verdicts.len() >= PROOFS_MAX {
            state.verdicts.clear();
            state.own.clear();
            let _ = std::fs::remove_dir_all(&self.dir);
        }
        let kept = match &verdict {
            Verdict::Equal(_) => {
                let aside = path.with_extension("new");
                let written = std::fs::create_dir_all(&self.dir).and_then(|()| std::fs::write(&aside, description));
                written.and_then(|()| std::fs::rename(&aside, &path))
            }
            Verdict::Differs(why) => {
                tracing::warn!("a substitute is not used: {why}");
                match std::fs::remove_file(&path) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
                    _ => Ok(()),
                }
            }
        };
        if let Err(error) = kept {
            tracing::warn!("{}: {error}", path.display());
        }
        state.verdicts.insert(pair, verdict);
        state.own.insert(pair);
    }
}

/// A proof of an earlier daemon: named by the pair, and the description of the substitute in it.
fn read_proof(path: &std::path::Path) -> Option<(Pair, Verdict)> {
    let name = path.file_name()?.to_str()?;
    let (own, id) = name.split_once('-')?;
    let size = std::fs::metadata(path).ok().map(|metadata| metadata.len()).filter(|size| *size <= DESCRIPTION_MAX)?;
    let bytes = std::fs::read(path).ok()?;
    let id = Digest::from_wire(id, i64::try_from(size).ok()?).ok().filter(|id| id.matches(&bytes))?;
    let (own, own_size) = own.split_once('.')?;
    let own = Digest::from_wire(own, own_size.parse().ok()?).ok()?;
    Some(((own, id), Verdict::Equal(Arc::new(Substitute::read(id, &bytes).ok()?))))
}

/// Looks for substitutes for the unit's toolchain, and proves those that are new, while the unit goes its way.
pub(crate) fn look(daemon: &Arc<Daemon>, unit: &Analysed) {
    let substitutes = &daemon.substitutes;
    if !substitutes.on || !substitutes.is_due(&unit.toolchain.id) {
        return;
    }
    let (daemon, toolchain) = (Arc::clone(daemon), Arc::clone(&unit.toolchain));
    tokio::spawn(async move {
        for offer in offers(&daemon).await.unwrap_or_default() {
            if could_be(&toolchain, &offer.substitute) && daemon.substitutes.verdict(&(toolchain.id, offer.id)).is_none() {
                let _ = prove(&daemon, &toolchain, &offer).await;
            }
        }
    });
}

/// A substitute and a worker that offers it.
#[derive(Debug, Clone)]
struct Offer {
    id: Digest,
    substitute: v1::Substitute,
    worker: String,
    machine: String,
}

/// All that workers offer now, each once.
async fn offers(daemon: &Daemon) -> Result<Vec<Offer>, String> {
    let Some(farm) = &daemon.farm else { return Ok(Vec::new()) };
    let mut offers: Vec<Offer> = Vec::new();
    for worker in farm.status().await?.workers {
        for substitute in worker.substitutes {
            let Ok(id) = substitute.id.parse::<Digest>() else { continue };
            if offers.len() < PROOFS_MAX && offers.iter().all(|known| known.id != id) {
                offers.push(Offer { id, substitute, worker: worker.name.clone(), machine: worker.machine.clone() });
            }
        }
    }
    Ok(offers)
}

/// Finds out whether the compiler on offer does what `toolchain` does.
///
/// # Errors
/// That could not be tried, and why.
async fn prove(daemon: &Arc<Daemon>, toolchain: &Arc<Toolchain>, offer: &Offer) -> Result<Verdict, String> {
    let pair = (toolchain.id, offer.id);
    let _turn = daemon.substitutes.proving.lock().await;
    if let Some(verdict) = daemon.substitutes.own_verdict(&pair) {
        return Ok(verdict);
    }
    let proven = proof::prove(daemon, toolchain, offer).await;
    match proven {
        Ok((verdict, description)) => {
            daemon.substitutes.judge(pair, verdict.clone(), &description);
            Ok(verdict)
        }
        Err(error) => {
            tracing::info!("{} on {} was not tried: {error}", offer.substitute.driver, offer.worker);
            Err(error)
        }
    }
}

/// For `kiln doctor`: each compiler on offer, with the toolchains used so far that it could stand in for. What an earlier
/// daemon proved is proven anew.
pub(crate) async fn doctor(daemon: &Arc<Daemon>) -> Value {
    let mut told = Vec::new();
    for offer in offers(daemon).await.unwrap_or_default() {
        let mut tried = Vec::new();
        for (driver, toolchain) in daemon.toolchains.list() {
            if !daemon.substitutes.on || !could_be(&toolchain, &offer.substitute) {
                continue;
            }
            let (equal, why) = match prove(daemon, &toolchain, &offer).await {
                Ok(Verdict::Equal(_)) => (Some(true), String::new()),
                Ok(Verdict::Differs(why)) => (Some(false), why),
                Err(error) => (None, error),
            };
            tried.push(json!({ "driver": driver, "equal": equal, "why": why }));
        }
        let v1::Substitute { family, version, target, driver, .. } = &offer.substitute;
        told.push(json!({ "worker": offer.worker, "machine": offer.machine, "driver": driver, "family": family,
            "version": version, "target": target, "for": tried }));
    }
    json!({ "on": daemon.substitutes.on, "offers": told })
}
