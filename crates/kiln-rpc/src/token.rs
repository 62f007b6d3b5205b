//! A secret that is never printed: made, read, compared in constant time. Knows no role.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;

use sha2::Digest as _;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::Role;
use crate::limits::CREDENTIALS_BYTES_MAX;
use crate::limits::TOKEN_MAX;
use crate::limits::TOKEN_MIN;

/// A bearer token. Its `Debug` shows nothing of it; equality takes the same time wherever the difference is.
#[derive(Clone)]
pub struct Token(String);

/// What is wrong with a token or the file it should come from.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The kernel's error.
        error: std::io::Error,
    },
    /// Others may read the file.
    #[error("{path}: mode {mode:o}, owner {uid}: a file of secrets must be yours (or root's) and of mode 600 (chmod 600 {path})")]
    NotPrivate {
        /// The file.
        path: PathBuf,
        /// Its mode bits.
        mode: u32,
        /// Its owner.
        uid: u32,
    },
    /// Too short, too long, or with characters a header field cannot carry.
    #[error("a token is {TOKEN_MIN} to {TOKEN_MAX} characters of A-Z a-z 0-9 - . _ ~ + / =")]
    BadForm,
    /// The file holds no token of the wanted role.
    #[error("{path}: no token for role {role}")]
    NoneFor {
        /// The file.
        path: PathBuf,
        /// The role wanted.
        role: Role,
    },
}

/// The SHA-256 of a token: what servers keep and compare.
pub(crate) type TokenHash = [u8; 32];

/// The hash by which a presented token is compared.
pub(crate) fn hash(token: &[u8]) -> TokenHash {
    Sha256::digest(token).into()
}

/// Whether two hashes are equal, in constant time.
pub(crate) fn same(one: &TokenHash, other: &TokenHash) -> bool {
    one.ct_eq(other).into()
}

impl Token {
    /// Takes a token from text.
    ///
    /// # Errors
    /// [`TokenError::BadForm`].
    pub fn new(text: impl Into<String>) -> Result<Token, TokenError> {
        let text = text.into();
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        if (TOKEN_MIN..=TOKEN_MAX).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Token(text))
        } else {
            Err(TokenError::BadForm)
        }
    }

    /// A new random token of 256 bits.
    ///
    /// # Panics
    /// Where the system has no randomness: no secret can be made there.
    pub fn random() -> Token {
        let mut bytes = [0u8; 32];
        getrandom::fill(&mut bytes).expect("the system gives random bytes");
        Token(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The token that a client shows: the only word of the file, or the first line `role name token` of that role.
    ///
    /// # Errors
    /// The file is not private, not readable, or holds no such token.
    pub fn from_file(path: &Path, role: Role) -> Result<Token, TokenError> {
        let text = read_private(path)?;
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let lines: Vec<Vec<String>> =
            text.lines().map(words).filter(|words| words.first().is_some_and(|word| !word.starts_with('#'))).collect();
        for line in &lines {
            match line.as_slice() {
                [token] if lines.len() == 1 => return Token::new(token.clone()),
                [named, _, token] if named == role.name() => return Token::new(token.clone()),
                _ => {}
            }
        }
        Err(TokenError::NoneFor { path: path.to_owned(), role })
    }

    /// The secret itself, for the header field or the file.
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub(crate) fn hash(&self) -> TokenHash {
        hash(self.0.as_bytes())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(...)")
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Token) -> bool {
        same(&self.hash(), &other.hash())
    }
}

impl Eq for Token {}

/// Reads a file of secrets: a regular file of mode 600 or less, owned by this user or root, bounded.
pub(crate) fn read_private(path: &Path) -> Result<String, TokenError> {
    let io = |error| TokenError::Io { path: path.to_owned(), error };
    let file = File::open(path).map_err(io)?;
    let meta = file.metadata().map_err(io)?;
    let own = std::fs::metadata("/proc/self").map(|me| me.uid()).unwrap_or(meta.uid());
    if !meta.is_file() || meta.mode() & 0o077 != 0 || (meta.uid() != own && meta.uid() != 0) {
        return Err(TokenError::NotPrivate { path: path.to_owned(), mode: meta.mode() & 0o7777, uid: meta.uid() });
    }
    let mut text = String::new();
    file.take(CREDENTIALS_BYTES_MAX).read_to_string(&mut text).map_err(io)?;
    Ok(text)
}
