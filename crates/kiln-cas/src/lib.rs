//! Digests, canonical REAPI messages, input-root trees and the `BlobStore` trait. Knows no file system, no socket and no clock.
//!
//! The messages that enter an action's digest (`Directory`, `Command`, `Action`) are encoded by hand, canonically, because
//! their bytes are keys: a generated encoder may reorder what the Remote Execution API says is ordered. `kiln-proto` tests
//! that both encodings agree.

mod digest;
mod message;
mod path;
mod store;
mod tree;
mod wire;

pub use digest::{Digest, DigestError, Hasher};
pub use message::{
    Action, Command, DecodeError, Directory, DirectoryNode, DirectoryWriter, EnvironmentVariable, FileNode, HOST_ROOT_PROPERTY,
    NodeProperties, PlatformProperty, ROOT_PROPERTY, SymlinkNode,
};
pub use path::{PathError, normalise_segments, relative_link};
pub use store::{BlobStore, MemoryStore, StoreError};
pub use tree::{BuiltTree, TreeBuilder, TreeError};

/// Largest blob any part of kiln accepts: 4 GiB. No compiler output comes near; a larger size in a digest is a lie.
pub const BLOB_SIZE_MAX: u64 = 4 << 30;

/// Most entries of one directory message that is decoded: 1 Mi. A directory of headers holds thousands.
pub const DIRECTORY_ENTRIES_MAX: usize = 1 << 20;

/// Largest encoded directory, command or action that is decoded: 64 MiB (2 MB command lines and 1 Mi names fit).
pub const MESSAGE_SIZE_MAX: usize = 64 << 20;
