//! Tells what would be done with a command, and why, with all that a job would see: for `kiln capture`. Runs nothing and writes
//! nothing.

use kiln_cas::{Digest, Directory};
use kiln_frame::{Compile, Hello};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::action::Analysed;
use crate::blobs::Source;
use crate::daemon::Daemon;
use crate::inputs::Form;
use crate::unit;

/// Most entries told of one root: the answer is one frame of 8 MiB, and an entry some 250 bytes.
const ENTRIES_MAX: usize = 30_000;

/// Answers a control request with a compiler, a working directory, a number of arguments, these, and the environment.
pub(crate) async fn capture(daemon: &Arc<Daemon>, hello: &Hello, args: &[Vec<u8>]) -> Value {
    let Some(request) = request(args) else { return json!({ "error": "the request is not understood" }) };
    match unit::analyse(daemon, hello, request, None).await {
        Err(refused) => json!({ "refused": { "reason": refused.reason, "detail": refused.detail } }),
        Ok((work, _)) => {
            let units: Vec<Value> = work.units.iter().map(|unit| told(daemon, unit)).collect();
            json!({ "units": units, "links": work.link.is_some() })
        }
    }
}

fn request(args: &[Vec<u8>]) -> Option<Compile> {
    let [compiler, cwd, count, rest @ ..] = args else { return None };
    let count: usize = std::str::from_utf8(count).ok()?.parse().ok()?;
    let (args, env) = rest.split_at_checked(count)?;
    Some(Compile {
        compiler: compiler.clone(),
        args: args.to_vec(),
        cwd: cwd.clone(),
        env: env.to_vec(),
        terminal: None,
        under_slot: None,
        depth: 0,
        stdin: None,
    })
}

fn told(daemon: &Daemon, unit: &Analysed) -> Value {
    let outputs = unit.unit.outputs.iter().map(|output| {
        json!({ "path": output.path, "role": format!("{:?}", output.role), "required": output.required,
            "on_failure": format!("{:?}", output.on_failure) })
    });
    json!({
        "source": unit.unit.source,
        "language": format!("{:?}", unit.unit.language),
        "outputs": outputs.collect::<Vec<_>>(),
        "inputs_found": match &unit.form {
            Form::Scanned => "by kiln".to_owned(),
            Form::Listed(why) => format!("by the compiler's own list: {why}"),
        },
        "toolchain": {
            "driver": unit.toolchain.driver,
            "family": format!("{:?}", unit.toolchain.family),
            "version": unit.toolchain.version,
            "target": unit.toolchain.target,
            "id": unit.toolchain.id.to_string(),
        },
        "action": {
            "digest": unit.action_digest.to_string(),
            "command_digest": unit.action.command_digest.to_string(),
            "input_root_digest": unit.action.input_root_digest.to_string(),
            "platform": unit.action.platform,
        },
        "command": {
            "arguments": unit.command.arguments,
            "environment": unit.command.environment,
            "working_directory": unit.command.working_directory,
            "output_paths": unit.command.output_paths,
        },
        "known_here": daemon.local.find(&unit.action_digest).is_some(),
        "root": root(unit),
    })
}

/// Every entry of the input root, by path.
fn root(unit: &Analysed) -> Vec<Value> {
    let own: BTreeSet<&str> = unit.toolchain.entries.iter().map(kiln_toolchain::Entry::path).collect();
    let mut entries = Vec::new();
    let mut pending = vec![(String::new(), unit.action.input_root_digest)];
    while let Some((path, digest)) = pending.pop() {
        let Some(directory) = directory(unit, &digest) else { continue };
        let mut add = |name: &str, mut entry: Value| {
            let path = format!("{path}/{name}");
            entry["toolchain"] = own.contains(path.as_str()).into();
            entry["path"] = path.into();
            entries.push(entry);
        };
        for file in &directory.files {
            let (from, text) = match unit.blobs.get(&file.digest) {
                Some(Source::File(path)) => (Some(path.to_string()), None),
                Some(Source::Memory(bytes)) => (None, Some(String::from_utf8_lossy(bytes).into_owned())),
                None => (None, None),
            };
            let mtime = file.properties.as_ref().and_then(|properties| properties.mtime);
            let entry = json!({ "digest": file.digest.to_string(), "executable": file.is_executable, "from": from,
                "text": text, "mtime": mtime });
            add(&file.name, entry);
        }
        for link in &directory.symlinks {
            add(&link.name, json!({ "target": link.target }));
        }
        for below in &directory.directories {
            add(&below.name, json!({ "directory": true }));
            pending.push((format!("{path}/{}", below.name), below.digest));
        }
        if entries.len() > ENTRIES_MAX {
            break;
        }
    }
    entries
}

fn directory(unit: &Analysed, digest: &Digest) -> Option<Directory> {
    let Some(Source::Memory(bytes)) = unit.blobs.get(digest) else { return None };
    Directory::decode(bytes).ok()
}
