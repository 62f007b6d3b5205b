//! The tokens a server accepts: read from a private file, re-read when it changes. Knows no connection.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::time::Instant;

use crate::Role;
use crate::Token;
use crate::TokenError;
use crate::limits::CREDENTIALS_CHECK;
use crate::limits::CREDENTIALS_MAX;
use crate::token::TokenHash;
use crate::token::hash;
use crate::token::read_private;
use crate::token::same;

/// What is wrong with a credentials file.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The file is not private or not readable.
    #[error(transparent)]
    File(#[from] TokenError),
    /// A line is not `role name token`.
    #[error("{path}:{line}: {why}")]
    BadLine {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong; never the token.
        why: String,
    },
    /// More lines than are kept.
    #[error("{path}: more than {CREDENTIALS_MAX} credentials")]
    TooMany {
        /// The file.
        path: PathBuf,
    },
}

/// The credentials of one server. A file of lines `role name token`; several lines may share a name, so that a token can
/// be changed without an instant in which neither is valid.
#[derive(Debug)]
pub struct Credentials {
    path: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    entries: Vec<Entry>,
    /// Goes up with each change, so that what was remembered of an older table is checked again.
    generation: u64,
    stamp: Option<Stamp>,
    looked: Instant,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    role: Role,
    name: String,
    hash: TokenHash,
}

/// What tells one version of the file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    dev: u64,
    ino: u64,
    size: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
}

/// A token that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) role: Role,
    pub(crate) name: String,
}

impl Credentials {
    /// No token is accepted.
    pub fn none() -> Credentials {
        Credentials::with(None, Vec::new(), None)
    }

    /// The tokens of a file.
    ///
    /// # Errors
    /// The file is not private, not readable, or has a bad line.
    pub fn from_file(path: &Path) -> Result<Credentials, CredentialsError> {
        let stamp = stamp(path);
        Ok(Credentials::with(Some(path.to_owned()), read(path)?, stamp))
    }

    /// Takes the file at `path`, making it with one random token a role where it is missing: the credential of loopback
    /// listeners for which none is configured. Several services may share it; the first one makes it.
    ///
    /// # Errors
    /// The file cannot be written, or what is there is not private.
    pub fn ensure(path: &Path) -> Result<Credentials, CredentialsError> {
        let io = |error| TokenError::Io { path: path.to_owned(), error };
        let mut text = String::from("# Made at start for loopback listeners: role name token.\n");
        for role in [Role::User, Role::Worker, Role::Admin] {
            text.push_str(&format!("{role} loopback {}\n", Token::random().expose()));
        }
        let aside = path.with_extension(format!("{}.new", std::process::id()));
        let make = || {
            let _ = std::fs::remove_file(&aside);
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
            file.write_all(text.as_bytes())?;
            // A link, unlike a rename, never replaces what another service has just made.
            let linked = std::fs::hard_link(&aside, path);
            std::fs::remove_file(&aside)?;
            linked
        };
        match make() {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(io(error).into()),
            _ => Credentials::from_file(path),
        }
    }

    /// Credentials from values, for tests and embedded services.
    pub fn from_tokens(tokens: impl IntoIterator<Item = (Role, String, Token)>) -> Credentials {
        let entries = tokens.into_iter().map(|(role, name, token)| Entry { role, name, hash: token.hash() }).collect();
        Credentials::with(None, entries, None)
    }

    fn with(path: Option<PathBuf>, entries: Vec<Entry>, stamp: Option<Stamp>) -> Credentials {
        Credentials { path, state: Mutex::new(State { entries, generation: 1, stamp, looked: Instant::now() }) }
    }

    /// Whether no token at all is accepted.
    pub fn is_empty(&self) -> bool {
        self.lock().entries.is_empty()
    }

    /// Reads the file again (SIGHUP).
    ///
    /// # Errors
    /// As [`Credentials::from_file`]; the tokens of before stay valid then.
    pub fn reload(&self) -> Result<(), CredentialsError> {
        let Some(path) = &self.path else { return Ok(()) };
        let (stamp, entries) = (stamp(path), read(path)?);
        let mut state = self.lock();
        state.stamp = stamp;
        if state.entries != entries {
            state.entries = entries;
            state.generation += 1;
        }
        Ok(())
    }

    /// Changes whenever the set of tokens does.
    pub(crate) fn generation(&self) -> u64 {
        self.refresh();
        self.lock().generation
    }

    /// Looks a token up; the time taken depends on the number of entries alone.
    pub(crate) fn find(&self, presented: &[u8]) -> Option<Known> {
        let presented = hash(presented);
        let state = self.lock();
        let mut found = None;
        for entry in &state.entries {
            if same(&entry.hash, &presented) {
                found = Some(entry);
            }
        }
        found.map(|entry| Known { role: entry.role, name: entry.name.clone() })
    }

    /// Re-reads a changed file, looking at most once a [`CREDENTIALS_CHECK`].
    fn refresh(&self) {
        let Some(path) = &self.path else { return };
        {
            let mut state = self.lock();
            if state.looked.elapsed() < CREDENTIALS_CHECK {
                return;
            }
            state.looked = Instant::now();
            if state.stamp == stamp(path) {
                return;
            }
        }
        match self.reload() {
            Ok(()) => tracing::info!("credentials re-read from {}", path.display()),
            Err(error) => tracing::warn!("credentials kept as they were: {error}"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let meta = std::fs::metadata(path).ok()?;
    Some(Stamp {
        dev: meta.dev(),
        ino: meta.ino(),
        size: meta.size(),
        mtime: (meta.mtime(), meta.mtime_nsec()),
        ctime: (meta.ctime(), meta.ctime_nsec()),
    })
}

fn read(path: &Path) -> Result<Vec<Entry>, CredentialsError> {
    let text = read_private(path)?;
    let mut entries = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let bad = |why: String| CredentialsError::BadLine { path: path.to_owned(), line: number + 1, why };
        match words.as_slice() {
            [] => {}
            [first, ..] if first.starts_with('#') => {}
            [role, name, token] => {
                let role = role.parse().map_err(bad)?;
                let token = Token::new(*token).map_err(|error| bad(error.to_string()))?;
                entries.push(Entry { role, name: (*name).to_owned(), hash: token.hash() });
            }
            _ => return Err(bad("not `role name token`".to_owned())),
        }
        if entries.len() > CREDENTIALS_MAX {
            return Err(CredentialsError::TooMany { path: path.to_owned() });
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    const OLD: &str = "old-token-0123456789";
    const NEW: &str = "new-token-0123456789";

    fn file(dir: &tempfile::TempDir, text: &str, mode: u32) -> PathBuf {
        let path = dir.path().join("tokens");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for mode in [0o644, 0o640, 0o604, 0o660] {
            let error = Credentials::from_file(&file(&dir, &format!("user a {OLD}\n"), mode)).unwrap_err();
            assert!(matches!(error, CredentialsError::File(TokenError::NotPrivate { .. })), "{mode:o}: {error}");
        }
        for mode in [0o600, 0o400] {
            assert!(Credentials::from_file(&file(&dir, &format!("user a {OLD}\n"), mode)).is_ok(), "{mode:o}");
            std::fs::remove_file(dir.path().join("tokens")).unwrap();
        }
    }

    #[test]
    fn both_tokens_are_valid_while_one_replaces_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(&dir, &format!("# people\n\nuser alice {OLD}\nuser alice {NEW}\nworker w1 worker-token-012345\n"), 0o600);
        let credentials = Credentials::from_file(&path).unwrap();
        for token in [OLD, NEW] {
            assert_eq!(credentials.find(token.as_bytes()), Some(Known { role: Role::User, name: "alice".into() }));
        }
        let before = credentials.generation();
        file(&dir, &format!("user alice {NEW}\n"), 0o600);
        credentials.reload().unwrap();
        assert_eq!(credentials.find(OLD.as_bytes()), None);
        assert!(credentials.find(NEW.as_bytes()).is_some());
        assert_ne!(credentials.generation(), before, "what connections remember is void");
    }

    #[test]
    fn a_changed_file_is_noticed_without_a_signal_and_a_broken_one_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let credentials = Credentials::from_file(&file(&dir, &format!("user alice {OLD}\n"), 0o600)).unwrap();
        let time_passes = || credentials.lock().looked -= CREDENTIALS_CHECK + Duration::from_millis(1);
        file(&dir, "user alice short\n", 0o600);
        time_passes();
        credentials.generation();
        assert!(credentials.find(OLD.as_bytes()).is_some());
        file(&dir, &format!("user alice-too {NEW}\n"), 0o600);
        time_passes();
        credentials.generation();
        assert!(credentials.find(OLD.as_bytes()).is_none() && credentials.find(NEW.as_bytes()).is_some());
    }

    #[test]
    fn a_bad_line_is_named_by_number_and_never_quoted() {
        let dir = tempfile::tempdir().unwrap();
        let secret = "secret-of-many-characters";
        for line in
            [format!("alice {secret}"), format!("boss alice {secret}"), format!("user alice {secret} x"), "user a tiny".into()]
        {
            let error = Credentials::from_file(&file(&dir, &format!("# one\n{line}\n"), 0o600)).unwrap_err();
            assert!(matches!(error, CredentialsError::BadLine { line: 2, .. }), "{error}");
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains(secret) && !shown.contains("tiny"), "{shown}");
        }
    }

    #[test]
    fn the_table_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let lines: String = (0..=CREDENTIALS_MAX).map(|n| format!("user u{n} token-number-{n:08}\n")).collect();
        let error = Credentials::from_file(&file(&dir, &lines, 0o600)).unwrap_err();
        assert!(matches!(error, CredentialsError::TooMany { .. }), "{error}");
    }

    #[test]
    fn credentials_made_at_start_serve_each_role_and_show_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("loopback");
        let credentials = Credentials::ensure(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        for role in [Role::User, Role::Worker, Role::Admin] {
            let token = Token::from_file(&path, role).unwrap();
            assert_eq!(credentials.find(token.expose().as_bytes()).unwrap().role, role);
            assert!(!format!("{token:?} {credentials:?}").contains(token.expose()));
        }
        let first = Token::from_file(&path, Role::User).unwrap();
        Credentials::ensure(&path).unwrap();
        assert_eq!(first, Token::from_file(&path, Role::User).unwrap(), "the second service takes what the first made");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Credentials::ensure(&path).is_err());
    }
}
