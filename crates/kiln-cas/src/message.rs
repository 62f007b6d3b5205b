//! `Directory`, `Command` and `Action` of the Remote Execution API, encoded canonically and decoded as hostile input.

use crate::wire::{Fields, Value, put_bool, put_bytes, put_digest, put_element, put_int, put_tag, put_varint};
use crate::{DIRECTORY_ENTRIES_MAX, Digest, DigestError};

/// A message that cannot be what it claims to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are not a message of this kind.
    #[error("malformed message: {0}")]
    Malformed(&'static str),
    /// The message is over [`crate::MESSAGE_SIZE_MAX`].
    #[error("message of {0} bytes is too large")]
    TooLarge(usize),
    /// A digest in it is no digest.
    #[error("bad digest: {0}")]
    Digest(#[from] DigestError),
    /// A directory entry's name is empty, `.`, `..`, or holds a slash or NUL.
    #[error("entry name {0:?} is not a single path segment")]
    Name(String),
    /// Names are not sorted, or one stands twice.
    #[error("entry {0:?} is out of order or stands twice")]
    Order(String),
    /// More entries than [`DIRECTORY_ENTRIES_MAX`].
    #[error("directory has too many entries")]
    TooMany,
}

/// What a node carries beyond its content, where that can change a compile (see ARCHITECTURE.md, "Identity beyond content").
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeProperties {
    /// Named properties, sorted; kiln uses `link-group`.
    pub properties: Vec<(String, String)>,
    /// Modification time in whole seconds and nanoseconds since 1970; `None` means the constant one.
    pub mtime: Option<(i64, u32)>,
}

/// A file in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileNode {
    /// A single path segment.
    pub name: String,
    /// The content.
    pub digest: Digest,
    /// Whether the file is executable.
    pub is_executable: bool,
    /// Properties beyond content.
    pub properties: Option<NodeProperties>,
}

/// A directory in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryNode {
    /// A single path segment.
    pub name: String,
    /// Digest of the encoded [`Directory`].
    pub digest: Digest,
}

/// A symbolic link in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SymlinkNode {
    /// A single path segment.
    pub name: String,
    /// Where it points; relative, as kiln sends it.
    pub target: String,
}

/// One directory of an input root. Each list is sorted by the bytes of its names, and a name stands once in all three.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directory {
    /// Files.
    pub files: Vec<FileNode>,
    /// Subdirectories.
    pub directories: Vec<DirectoryNode>,
    /// Symbolic links.
    pub symlinks: Vec<SymlinkNode>,
}

/// Encodes a [`Directory`] from borrowed names: files, then directories, then links, each sorted by the bytes of their names.
/// The caller keeps that order; the encoding is canonical only then.
#[derive(Debug, Default)]
pub struct DirectoryWriter {
    out: Vec<u8>,
    node: Vec<u8>,
}

impl DirectoryWriter {
    /// A writer of an empty directory.
    pub fn new() -> DirectoryWriter {
        DirectoryWriter::default()
    }

    /// Adds a file.
    pub fn file(&mut self, name: &str, digest: &Digest, is_executable: bool, properties: Option<&NodeProperties>) {
        self.node.clear();
        put_bytes(&mut self.node, 1, name.as_bytes());
        put_digest(&mut self.node, 2, digest);
        put_bool(&mut self.node, 4, is_executable);
        if let Some(properties) = properties {
            put_element(&mut self.node, 6, &encode_properties(properties));
        }
        put_element(&mut self.out, 1, &self.node);
    }

    /// Adds a directory.
    pub fn directory(&mut self, name: &str, digest: &Digest) {
        self.node.clear();
        put_bytes(&mut self.node, 1, name.as_bytes());
        put_digest(&mut self.node, 2, digest);
        put_element(&mut self.out, 2, &self.node);
    }

    /// Adds a symbolic link.
    pub fn symlink(&mut self, name: &str, target: &str) {
        self.node.clear();
        put_bytes(&mut self.node, 1, name.as_bytes());
        put_bytes(&mut self.node, 2, target.as_bytes());
        put_element(&mut self.out, 3, &self.node);
    }

    /// The encoded directory.
    pub fn bytes(&self) -> &[u8] {
        &self.out
    }

    /// Starts another, empty one.
    pub fn clear(&mut self) {
        self.out.clear();
    }
}

impl Directory {
    /// The canonical encoding, whose digest names this directory.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = DirectoryWriter::new();
        for file in &self.files {
            writer.file(&file.name, &file.digest, file.is_executable, file.properties.as_ref());
        }
        for directory in &self.directories {
            writer.directory(&directory.name, &directory.digest);
        }
        for link in &self.symlinks {
            writer.symlink(&link.name, &link.target);
        }
        writer.out
    }

    /// Reads an encoded directory and checks what a hostile one would break: names are single segments, sorted, unique.
    ///
    /// # Errors
    /// [`DecodeError`] naming the entry.
    pub fn decode(bytes: &[u8]) -> Result<Directory, DecodeError> {
        let mut directory = Directory::default();
        let mut entries = 0;
        for field in Fields::new(bytes)? {
            entries += 1;
            if entries > DIRECTORY_ENTRIES_MAX {
                return Err(DecodeError::TooMany);
            }
            match field? {
                (1, value) => directory.files.push(decode_file(value)?),
                (2, value) => directory.directories.push(decode_subdirectory(value)?),
                (3, value) => directory.symlinks.push(decode_symlink(value)?),
                _ => {}
            }
        }
        directory.check()?;
        Ok(directory)
    }

    fn check(&self) -> Result<(), DecodeError> {
        check_names(self.files.iter().map(|node| node.name.as_str()))?;
        check_names(self.directories.iter().map(|node| node.name.as_str()))?;
        check_names(self.symlinks.iter().map(|node| node.name.as_str()))?;
        let mut all: Vec<&str> = self.names().collect();
        all.sort_unstable();
        match all.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(DecodeError::Order(pair[0].to_owned())),
            None => Ok(()),
        }
    }

    /// The names of all entries: files, then directories, then links.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let files = self.files.iter().map(|node| node.name.as_str());
        let directories = self.directories.iter().map(|node| node.name.as_str());
        files.chain(directories).chain(self.symlinks.iter().map(|node| node.name.as_str()))
    }
}

fn check_names<'a>(names: impl Iterator<Item = &'a str>) -> Result<(), DecodeError> {
    let mut last: Option<&str> = None;
    for name in names {
        if name.is_empty() || name == "." || name == ".." || name.bytes().any(|byte| byte == b'/' || byte == 0) {
            return Err(DecodeError::Name(name.chars().take(200).collect()));
        }
        if last.is_some_and(|last| last.as_bytes() >= name.as_bytes()) {
            return Err(DecodeError::Order(name.chars().take(200).collect()));
        }
        last = Some(name);
    }
    Ok(())
}

fn decode_file(value: Value<'_>) -> Result<FileNode, DecodeError> {
    let mut node = FileNode { name: String::new(), digest: Digest::EMPTY, is_executable: false, properties: None };
    for field in Fields::new(value.bytes()?)? {
        match field? {
            (1, value) => node.name = value.string()?,
            (2, value) => node.digest = value.digest()?,
            (4, value) => node.is_executable = value.int()? != 0,
            (6, value) => node.properties = Some(decode_properties(value)?),
            _ => {}
        }
    }
    Ok(node)
}

fn decode_subdirectory(value: Value<'_>) -> Result<DirectoryNode, DecodeError> {
    let mut node = DirectoryNode { name: String::new(), digest: Digest::EMPTY };
    for field in Fields::new(value.bytes()?)? {
        match field? {
            (1, value) => node.name = value.string()?,
            (2, value) => node.digest = value.digest()?,
            _ => {}
        }
    }
    Ok(node)
}

fn decode_symlink(value: Value<'_>) -> Result<SymlinkNode, DecodeError> {
    let mut node = SymlinkNode { name: String::new(), target: String::new() };
    for field in Fields::new(value.bytes()?)? {
        match field? {
            (1, value) => node.name = value.string()?,
            (2, value) => node.target = value.string()?,
            _ => {}
        }
    }
    if node.target.is_empty() || node.target.bytes().any(|byte| byte == 0) {
        return Err(DecodeError::Malformed("a link has no target"));
    }
    Ok(node)
}

fn encode_properties(properties: &NodeProperties) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in &properties.properties {
        put_element(&mut out, 1, &encode_pair(name, value));
    }
    if let Some((seconds, nanoseconds)) = properties.mtime {
        let mut stamp = Vec::new();
        put_int(&mut stamp, 1, seconds as u64);
        put_int(&mut stamp, 2, u64::from(nanoseconds));
        put_element(&mut out, 2, &stamp);
    }
    out
}

fn decode_properties(value: Value<'_>) -> Result<NodeProperties, DecodeError> {
    let mut properties = NodeProperties::default();
    for field in Fields::new(value.bytes()?)? {
        match field? {
            (1, value) => properties.properties.push(decode_pair(value)?),
            (2, value) => {
                let (mut seconds, mut nanoseconds) = (0, 0);
                for field in Fields::new(value.bytes()?)? {
                    match field? {
                        (1, value) => seconds = value.int()? as i64,
                        (2, value) => nanoseconds = u32::try_from(value.int()?).unwrap_or(0).min(999_999_999),
                        _ => {}
                    }
                }
                properties.mtime = Some((seconds, nanoseconds));
            }
            _ => {}
        }
    }
    Ok(properties)
}

fn encode_pair(name: &str, value: &str) -> Vec<u8> {
    let mut pair = Vec::with_capacity(name.len() + value.len() + 8);
    put_bytes(&mut pair, 1, name.as_bytes());
    put_bytes(&mut pair, 2, value.as_bytes());
    pair
}

fn decode_pair(value: Value<'_>) -> Result<(String, String), DecodeError> {
    let mut pair = (String::new(), String::new());
    for field in Fields::new(value.bytes()?)? {
        match field? {
            (1, value) => pair.0 = value.string()?,
            (2, value) => pair.1 = value.string()?,
            _ => {}
        }
    }
    Ok(pair)
}

/// A variable of a command's environment.
pub type EnvironmentVariable = (String, String);

/// A name and value of an action's platform.
pub type PlatformProperty = (String, String);

/// What is run: `build.bazel.remote.execution.v2.Command`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Command {
    /// argv, the program first.
    pub arguments: Vec<String>,
    /// Sorted by name.
    pub environment: Vec<EnvironmentVariable>,
    /// Sorted; relative to the working directory. For servers older than REAPI 2.1.
    pub output_files: Vec<String>,
    /// Sorted; relative to the working directory. For servers older than REAPI 2.1.
    pub output_directories: Vec<String>,
    /// Sorted by name, then value.
    pub platform: Vec<PlatformProperty>,
    /// Relative to the input root; empty is the root itself.
    pub working_directory: String,
    /// Sorted; relative to the working directory.
    pub output_paths: Vec<String>,
}

impl Command {
    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        for argument in &self.arguments {
            put_element(&mut out, 1, argument.as_bytes());
        }
        for (name, value) in &self.environment {
            put_element(&mut out, 2, &encode_pair(name, value));
        }
        for path in &self.output_files {
            put_element(&mut out, 3, path.as_bytes());
        }
        for path in &self.output_directories {
            put_element(&mut out, 4, path.as_bytes());
        }
        put_platform(&mut out, 5, &self.platform);
        put_bytes(&mut out, 6, self.working_directory.as_bytes());
        for path in &self.output_paths {
            put_element(&mut out, 7, path.as_bytes());
        }
        out
    }

    /// Reads an encoded command.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are not a command.
    pub fn decode(bytes: &[u8]) -> Result<Command, DecodeError> {
        let mut command = Command::default();
        for field in Fields::new(bytes)? {
            match field? {
                (1, value) => command.arguments.push(value.string()?),
                (2, value) => command.environment.push(decode_pair(value)?),
                (3, value) => command.output_files.push(value.string()?),
                (4, value) => command.output_directories.push(value.string()?),
                (5, value) => command.platform = decode_platform(value)?,
                (6, value) => command.working_directory = value.string()?,
                (7, value) => command.output_paths.push(value.string()?),
                _ => {}
            }
        }
        Ok(command)
    }
}

/// What is looked up and executed: `build.bazel.remote.execution.v2.Action`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// Digest of the encoded [`Command`].
    pub command_digest: Digest,
    /// Digest of the encoded root [`Directory`].
    pub input_root_digest: Digest,
    /// Longest run in milliseconds; `None` leaves it to the worker.
    pub timeout_ms: Option<u64>,
    /// Never stored and never joined.
    pub do_not_cache: bool,
    /// Separates otherwise equal actions.
    pub salt: Vec<u8>,
    /// Sorted by name, then value.
    pub platform: Vec<PlatformProperty>,
}

/// Platform property: the form of root an action wants; without it the action runs beside the worker's own files.
pub const ROOT_PROPERTY: &str = "kiln-root";
/// Platform property: digest of the worker's own files that an action without [`ROOT_PROPERTY`] sees.
pub const HOST_ROOT_PROPERTY: &str = "kiln-host-root";

impl Action {
    /// The canonical encoding, whose digest is the key of the action cache.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        put_digest(&mut out, 1, &self.command_digest);
        put_digest(&mut out, 2, &self.input_root_digest);
        if let Some(timeout_ms) = self.timeout_ms {
            let mut duration = Vec::new();
            put_int(&mut duration, 1, timeout_ms / 1000);
            put_int(&mut duration, 2, timeout_ms % 1000 * 1_000_000);
            put_element(&mut out, 6, &duration);
        }
        put_bool(&mut out, 7, self.do_not_cache);
        put_bytes(&mut out, 9, &self.salt);
        put_platform(&mut out, 10, &self.platform);
        out
    }

    /// Reads an encoded action.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are not an action.
    pub fn decode(bytes: &[u8]) -> Result<Action, DecodeError> {
        let (mut command_digest, mut input_root_digest) = (None, None);
        let mut action = Action {
            command_digest: Digest::EMPTY,
            input_root_digest: Digest::EMPTY,
            timeout_ms: None,
            do_not_cache: false,
            salt: Vec::new(),
            platform: Vec::new(),
        };
        for field in Fields::new(bytes)? {
            match field? {
                (1, value) => command_digest = Some(value.digest()?),
                (2, value) => input_root_digest = Some(value.digest()?),
                (6, value) => action.timeout_ms = Some(decode_duration_ms(value)?),
                (7, value) => action.do_not_cache = value.int()? != 0,
                (9, value) => action.salt = value.bytes()?.to_vec(),
                (10, value) => action.platform = decode_platform(value)?,
                _ => {}
            }
        }
        action.command_digest = command_digest.ok_or(DecodeError::Malformed("an action names no command"))?;
        action.input_root_digest = input_root_digest.ok_or(DecodeError::Malformed("an action names no input root"))?;
        Ok(action)
    }

    /// The value of a platform property.
    pub fn property(&self, name: &str) -> Option<&str> {
        self.platform.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether its digest names everything that it sees, so that one run's result may be another's: its input root is all there
    /// is, or the worker's own files that it sees too are named.
    pub fn is_cacheable(&self) -> bool {
        !self.do_not_cache && [ROOT_PROPERTY, HOST_ROOT_PROPERTY].iter().any(|name| self.property(name).is_some())
    }
}

fn decode_duration_ms(value: Value<'_>) -> Result<u64, DecodeError> {
    let (mut seconds, mut nanoseconds) = (0u64, 0u64);
    for field in Fields::new(value.bytes()?)? {
        match field? {
            (1, value) => seconds = value.int()?,
            (2, value) => nanoseconds = value.int()?,
            _ => {}
        }
    }
    if i64::try_from(seconds).is_err() || nanoseconds > 999_999_999 {
        return Err(DecodeError::Malformed("a timeout is negative or out of range"));
    }
    Ok(seconds.saturating_mul(1000).saturating_add(nanoseconds / 1_000_000))
}

fn put_platform(out: &mut Vec<u8>, field: u32, platform: &[PlatformProperty]) {
    if platform.is_empty() {
        return;
    }
    let mut body = Vec::new();
    for (name, value) in platform {
        put_element(&mut body, 1, &encode_pair(name, value));
    }
    put_tag(out, field, 2);
    put_varint(out, body.len() as u64);
    out.extend_from_slice(&body);
}

fn decode_platform(value: Value<'_>) -> Result<Vec<PlatformProperty>, DecodeError> {
    let mut platform = Vec::new();
    for field in Fields::new(value.bytes()?)? {
        if let (1, value) = field? {
            platform.push(decode_pair(value)?);
        }
    }
    Ok(platform)
}
