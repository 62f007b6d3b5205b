//! Compiles probes with a toolchain of this machine and with its substitute on a worker, and compares. Keeps nothing.

use kiln_cas::Digest;
use kiln_frame::Compile;
use kiln_proto::convert::digest_from_wire;
use kiln_proto::reapi::ActionResult;
use kiln_proto::v1::{AcquireRequest, GrantRequest};
use kiln_rpc::Address;
use kiln_toolchain::Toolchain;
use kiln_worker::{BlobClient, CancelSwitch};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::probes::{self, OBJECT, Probe, SOURCES};
use super::{DESCRIPTION_MAX, Offer, Substitute, Verdict};
use crate::action::Analysed;
use crate::daemon::Daemon;
use crate::farm::{Farm, Granted, INSTANCE, Sent};
use crate::unit::analyst;

/// Longest wait for a slot for one probe, in milliseconds.
const WAIT_MS: u32 = 10_000;

/// What is made of one probe: each output by its path, and whether anything was said.
#[derive(Debug, PartialEq, Eq)]
struct Made {
    outputs: BTreeMap<String, Digest>,
    exit_code: i32,
    silent: bool,
}

impl Made {
    fn of(result: &ActionResult) -> Result<Made, String> {
        let digest = |of: &kiln_proto::reapi::OutputFile| digest_from_wire(of.digest.as_ref()).map_err(|error| error.to_string());
        let outputs = result.output_files.iter().map(|file| Ok((file.path.clone(), digest(file)?)));
        Ok(Made { outputs: outputs.collect::<Result<_, String>>()?, exit_code: result.exit_code, silent: is_silent(result) })
    }
}

/// Whether the compiler said nothing.
fn is_silent(result: &ActionResult) -> bool {
    let empty = |digest: &Option<kiln_proto::reapi::Digest>| digest.as_ref().is_none_or(|digest| digest.size_bytes == 0);
    empty(&result.stdout_digest) && empty(&result.stderr_digest) && result.stdout_raw.is_empty() && result.stderr_raw.is_empty()
}

/// The verdict, and the description of the substitute.
///
/// # Errors
/// Why it could not be tried.
pub(super) async fn prove(daemon: &Arc<Daemon>, toolchain: &Arc<Toolchain>, offer: &Offer) -> Result<(Verdict, Vec<u8>), String> {
    let farm = daemon.farm.as_ref().ok_or("there is no farm")?;
    let description = describe(farm, offer).await?;
    let substitute = Substitute::read(offer.id, &description).map_err(|error| error.to_string())?;
    let dir = tempfile::Builder::new().prefix("probe-").tempdir_in(&daemon.settings.dir).map_err(|error| error.to_string())?;
    for (name, text) in SOURCES {
        std::fs::write(dir.path().join(name), text).map_err(|error| error.to_string())?;
    }
    let mut compared = 0;
    for probe in probes::of(toolchain.cxx) {
        let unit = match analyse(daemon, toolchain, dir.path(), probe).await {
            Ok(unit) => Arc::new(unit),
            Err(why) => return Err(format!("{}: {why}", probe.options)),
        };
        let here = here(daemon, &unit).await?;
        // Headers that are not installed, a language without a compiler proper: units that need those fail too.
        if here.exit_code != 0 || !here.silent {
            continue;
        }
        let differs = |what: String| {
            let (driver, worker) = (&offer.substitute.driver, &offer.worker);
            Verdict::Differs(format!(
                "{driver} of {worker} for {}: {} {}: {what}",
                toolchain.driver.display(),
                probe.source,
                probe.options
            ))
        };
        let other = match unit.with_substitute(&substitute) {
            Ok(other) => Arc::new(other),
            Err(why) => return Ok((differs(why.to_string()), description)),
        };
        let there = there(farm, &other, offer).await?;
        if let Some(what) = difference(&here, &there) {
            return Ok((differs(what), description));
        }
        compared += 1;
    }
    match compared {
        0 => Err("no probe compiles here".to_owned()),
        _ => {
            tracing::info!("{} of {} does what {} does", offer.substitute.driver, offer.worker, toolchain.driver.display());
            Ok((Verdict::Equal(Arc::new(substitute)), description))
        }
    }
}

fn difference(here: &Made, there: &Made) -> Option<String> {
    if there.exit_code != here.exit_code {
        return Some("does not compile there".to_owned());
    }
    if !there.silent {
        return Some("messages there".to_owned());
    }
    let names = here.outputs.keys().chain(there.outputs.keys());
    names.into_iter().find(|name| here.outputs.get(*name) != there.outputs.get(*name)).map(|name| format!("{name} differs"))
}

/// A grant on a worker that has the substitute.
async fn grant(farm: &Farm, offer: &Offer) -> Result<Granted, String> {
    let request = AcquireRequest {
        toolchain: offer.id.to_string(),
        requests: vec![GrantRequest::default()],
        wait_ms: WAIT_MS,
        instance: INSTANCE.to_owned(),
        ..AcquireRequest::default()
    };
    farm.acquire_as(&request).await.map_err(|why| format!("no slot: {why:?}"))
}

/// The description of the substitute, from a worker that has it.
async fn describe(farm: &Farm, offer: &Offer) -> Result<Vec<u8>, String> {
    if offer.id.size > DESCRIPTION_MAX {
        return Err("its description is too large".to_owned());
    }
    let granted = grant(farm, offer).await?;
    let address: Address = granted.grant.worker_address.parse().map_err(|_| "a worker without an address".to_owned())?;
    let channel = farm.workers.get(&address, &granted.grant.tls_name).map_err(|error| error.to_string())?;
    let client = BlobClient::new(channel, INSTANCE).with_grant(granted.grant.token.clone());
    let read = client.read(&[offer.id]).await.map_err(|status| status.message().to_owned())?;
    read.into_iter().next().map(|(_, bytes)| bytes).ok_or_else(|| "its description is not there".to_owned())
}

/// The probe as a unit of the toolchain.
async fn analyse(daemon: &Arc<Daemon>, toolchain: &Arc<Toolchain>, dir: &Path, probe: Probe) -> Result<Analysed, String> {
    let lookup = toolchain.lookup_env();
    let locale = lookup.locale.iter().map(|(name, value)| format!("{name}={value}"));
    let env = [format!("PATH={}", lookup.path)].into_iter().chain(locale);
    let words = probe.options.split(' ').chain(["-o", OBJECT, probe.source]).map(str::to_owned);
    let stops = (!probe.options.contains("-S")).then(|| "-c".to_owned());
    let request = Compile {
        compiler: toolchain.driver.as_os_str().as_encoded_bytes().to_vec(),
        args: lookup.args.iter().cloned().chain(stops).chain(words).map(String::into_bytes).collect(),
        cwd: dir.as_os_str().as_encoded_bytes().to_vec(),
        env: env.map(String::into_bytes).collect(),
        terminal: None,
        under_slot: None,
        depth: 0,
        stdin: None,
    };
    let (for_thread, id) = (Arc::clone(daemon), toolchain.id);
    let analysed = tokio::task::spawn_blocking(move || {
        let epoch = for_thread.files.begin();
        let mut work = analyst(&for_thread, None).analyse(&request, epoch).map_err(|refused| refused.detail)?;
        let unit = work.units.pop().ok_or("no unit")?;
        if unit.toolchain.id == id { Ok(unit) } else { Err("the compiler has changed".to_owned()) }
    });
    analysed.await.map_err(|error| error.to_string())?
}

/// Compiles a unit in this machine's sandbox.
async fn here(daemon: &Arc<Daemon>, unit: &Arc<Analysed>) -> Result<Made, String> {
    let permit = daemon.heavy.acquire().await;
    let (daemon, unit) = (Arc::clone(daemon), Arc::clone(unit));
    let ran = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let executed = daemon.local.run(&unit, &CancelSwitch::new()).map_err(|error| format!("here: {error}"))?;
        Made::of(&executed.result)
    });
    ran.await.map_err(|error| error.to_string())?
}

/// Compiles a unit on a worker that has the substitute.
async fn there(farm: &Farm, unit: &Arc<Analysed>, offer: &Offer) -> Result<Made, String> {
    let mut granted = grant(farm, offer).await?;
    let remote = farm
        .attempt(unit, &mut granted, &mut Sent::default())
        .await
        .map_err(|setback| format!("on {}: {setback:?}", granted.grant.worker_name))?;
    Made::of(&remote.arrived.result)
}
