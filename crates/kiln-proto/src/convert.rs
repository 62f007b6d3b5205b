//! Between wire messages and kiln-cas's values. What comes off the wire is checked here, once.

use crate::reapi;
use kiln_cas::{Action, Command, Digest, DigestError, Directory};

/// The wire's form of a digest.
pub fn digest_to_wire(digest: &Digest) -> reapi::Digest {
    reapi::Digest { hash: digest.hex(), size_bytes: digest.size as i64 }
}

/// A digest off the wire.
///
/// # Errors
/// When it is absent, no SHA-256, or its size is out of range.
pub fn digest_from_wire(digest: Option<&reapi::Digest>) -> Result<Digest, DigestError> {
    match digest {
        Some(digest) => Digest::from_wire(&digest.hash, digest.size_bytes),
        None => Err(DigestError::Hash(String::new())),
    }
}

/// Every blob an action result names: output files, stdout and stderr, output directories' trees.
///
/// # Errors
/// When one of its digests is no digest.
pub fn result_digests(result: &reapi::ActionResult) -> Result<Vec<Digest>, DigestError> {
    let mut digests = Vec::with_capacity(result.output_files.len() + 2);
    for file in &result.output_files {
        digests.push(digest_from_wire(file.digest.as_ref())?);
    }
    for directory in &result.output_directories {
        for digest in [&directory.tree_digest, &directory.root_directory_digest].into_iter().flatten() {
            digests.push(digest_from_wire(Some(digest))?);
        }
    }
    for digest in [&result.stdout_digest, &result.stderr_digest].into_iter().flatten() {
        digests.push(digest_from_wire(Some(digest))?);
    }
    Ok(digests)
}

/// kiln-cas's directory as the generated message.
pub fn directory_to_wire(directory: &Directory) -> reapi::Directory {
    let properties = |properties: &kiln_cas::NodeProperties| reapi::NodeProperties {
        properties: properties
            .properties
            .iter()
            .map(|(name, value)| reapi::NodeProperty { name: name.clone(), value: value.clone() })
            .collect(),
        mtime: properties.mtime.map(|(seconds, nanos)| crate::protobuf::Timestamp { seconds, nanos: nanos as i32 }),
        unix_mode: None,
    };
    reapi::Directory {
        files: directory
            .files
            .iter()
            .map(|file| reapi::FileNode {
                name: file.name.clone(),
                digest: Some(digest_to_wire(&file.digest)),
                is_executable: file.is_executable,
                node_properties: file.properties.as_ref().map(properties),
            })
            .collect(),
        directories: directory
            .directories
            .iter()
            .map(|node| reapi::DirectoryNode { name: node.name.clone(), digest: Some(digest_to_wire(&node.digest)) })
            .collect(),
        symlinks: directory
            .symlinks
            .iter()
            .map(|link| reapi::SymlinkNode { name: link.name.clone(), target: link.target.clone(), node_properties: None })
            .collect(),
        node_properties: None,
    }
}

fn platform(properties: &[(String, String)]) -> Option<reapi::Platform> {
    let properties: Vec<_> =
        properties.iter().map(|(name, value)| reapi::platform::Property { name: name.clone(), value: value.clone() }).collect();
    (!properties.is_empty()).then_some(reapi::Platform { properties })
}

/// kiln-cas's command as the generated message.
#[expect(deprecated, reason = "servers older than REAPI 2.1 read the older output fields and the command's platform")]
pub fn command_to_wire(command: &Command) -> reapi::Command {
    reapi::Command {
        arguments: command.arguments.clone(),
        environment_variables: command
            .environment
            .iter()
            .map(|(name, value)| reapi::command::EnvironmentVariable { name: name.clone(), value: value.clone() })
            .collect(),
        output_files: command.output_files.clone(),
        output_directories: command.output_directories.clone(),
        output_paths: command.output_paths.clone(),
        platform: platform(&command.platform),
        working_directory: command.working_directory.clone(),
        output_node_properties: Vec::new(),
        output_directory_format: 0,
    }
}

/// kiln-cas's action as the generated message.
pub fn action_to_wire(action: &Action) -> reapi::Action {
    reapi::Action {
        command_digest: Some(digest_to_wire(&action.command_digest)),
        input_root_digest: Some(digest_to_wire(&action.input_root_digest)),
        timeout: action
            .timeout_ms
            .map(|ms| crate::protobuf::Duration { seconds: (ms / 1000) as i64, nanos: (ms % 1000 * 1_000_000) as i32 }),
        do_not_cache: action.do_not_cache,
        salt: action.salt.clone(),
        platform: platform(&action.platform),
    }
}
