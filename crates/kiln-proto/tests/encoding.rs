//! kiln-cas's hand-written encodings are those of the generated messages, on random values.

use kiln_cas::{Action, Command, Digest, Directory, DirectoryNode, FileNode, NodeProperties, SymlinkNode};
use kiln_proto::convert;
use proptest::prelude::*;
use prost::Message as _;
use std::collections::BTreeMap;

fn digest() -> impl Strategy<Value = Digest> {
    (any::<[u8; 32]>(), 0..=kiln_cas::BLOB_SIZE_MAX).prop_map(|(hash, size)| Digest { hash, size })
}

fn properties() -> impl Strategy<Value = Option<NodeProperties>> {
    let stamp = prop::option::of((0..=4_000_000_000i64, 0..1_000_000_000u32));
    let named = prop::collection::vec(("[a-z]{1,8}", "[ -~]{0,8}"), 0..3);
    prop::option::of((named, stamp).prop_map(|(properties, mtime)| NodeProperties { properties, mtime }))
}

fn directory() -> impl Strategy<Value = Directory> {
    let entry = prop_oneof![
        (digest(), any::<bool>(), properties()).prop_map(|(digest, exec, properties)| (0, digest, exec, properties, String::new())),
        digest().prop_map(|digest| (1, digest, false, None, String::new())),
        "[a-z./]{1,20}".prop_map(|target| (2, Digest::EMPTY, false, None, target)),
    ];
    prop::collection::btree_map("[a-zA-Z0-9 é._+-]{1,12}x", entry, 0..30).prop_map(|entries: BTreeMap<String, _>| {
        let mut directory = Directory::default();
        for (name, (kind, digest, is_executable, properties, target)) in entries {
            match kind {
                0 => directory.files.push(FileNode { name, digest, is_executable, properties }),
                1 => directory.directories.push(DirectoryNode { name, digest }),
                _ => directory.symlinks.push(SymlinkNode { name, target }),
            }
        }
        directory
    })
}

fn pairs() -> impl Strategy<Value = Vec<(String, String)>> {
    prop::collection::vec(("[A-Za-z_]{1,10}", "[ -~]{0,20}"), 0..5)
}

fn strings() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec("[ -~é]{0,20}", 0..6)
}

proptest! {
    #[test]
    fn directories(directory in directory()) {
        let bytes = directory.encode();
        prop_assert_eq!(&bytes, &convert::directory_to_wire(&directory).encode_to_vec());
        prop_assert_eq!(Directory::decode(&bytes).unwrap(), directory);
    }

    #[test]
    fn commands(arguments in strings(), environment in pairs(), output_paths in strings(), working_directory in "[ -~]{0,20}", platform in pairs()) {
        let command = Command { arguments, environment, output_files: output_paths.clone(), output_directories: Vec::new(), platform, working_directory, output_paths };
        let bytes = command.encode();
        prop_assert_eq!(&bytes, &convert::command_to_wire(&command).encode_to_vec());
        prop_assert_eq!(Command::decode(&bytes).unwrap(), command);
    }

    #[test]
    fn actions(command_digest in digest(), input_root_digest in digest(), timeout_ms in prop::option::of(0..10_000_000u64), do_not_cache: bool, salt: Vec<u8>, platform in pairs()) {
        let action = Action { command_digest, input_root_digest, timeout_ms, do_not_cache, salt, platform };
        let bytes = action.encode();
        prop_assert_eq!(&bytes, &convert::action_to_wire(&action).encode_to_vec());
        prop_assert_eq!(Action::decode(&bytes).unwrap(), action);
    }

    #[test]
    fn random_bytes_never_panic(bytes: Vec<u8>) {
        let _ = Directory::decode(&bytes);
        let _ = Command::decode(&bytes);
        let _ = Action::decode(&bytes);
    }
}
