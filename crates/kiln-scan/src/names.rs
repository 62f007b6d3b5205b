//! Macro names and header names as dense numbers. It knows neither files nor what a name means.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use hashbrown::HashTable;
use serde::{Deserialize, Serialize};

use crate::hash;

/// A macro name, as a dense number handed out by [`Names`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NameId(pub(crate) u32);

/// The name in an `#include`, as a dense number handed out by [`Names`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HeaderId(pub(crate) u32);

/// Names that have a meaning without being defined as macros: no definite value is ever assumed for them.
/// They have the first numbers of every table, in this order.
pub(crate) const SPECIAL: &[&str] = &[
    "__has_include",
    "__has_include_next",
    "__has_embed",
    "__has_attribute",
    "__has_cpp_attribute",
    "__has_c_attribute",
    "__has_builtin",
    "__has_constexpr_builtin",
    "__has_feature",
    "__has_extension",
    "__has_declspec_attribute",
    "__has_warning",
    "__is_identifier",
    "__building_module",
    "__is_target_arch",
    "__is_target_vendor",
    "__is_target_os",
    "__is_target_environment",
    "__is_target_variant_os",
    "__is_target_variant_environment",
    "__has_include__",
    "__has_include_next__",
    "__FILE__",
    "__LINE__",
    "__DATE__",
    "__TIME__",
    "__TIMESTAMP__",
    "__COUNTER__",
    "__INCLUDE_LEVEL__",
    "__BASE_FILE__",
    "__FILE_NAME__",
    "__FLT_EVAL_METHOD__",
    "_Pragma",
    "__pragma",
    "true",
    "defined",
];

/// Reserved names that no `#pragma GCC target` or `optimize` changes: who, what and where, not how.
const STEADY: &[&str] = &[
    "__GNUC__",
    "__GNUC_MINOR__",
    "__GNUC_PATCHLEVEL__",
    "__GNUG__",
    "__clang__",
    "__clang_major__",
    "__clang_minor__",
    "__VERSION__",
    "__STDC__",
    "__STDC_VERSION__",
    "__STDC_HOSTED__",
    "__cplusplus",
    "__OBJC__",
    "__ASSEMBLER__",
    "__CHAR_BIT__",
    "__SIZEOF_POINTER__",
    "__SIZEOF_LONG__",
    "__SIZEOF_INT__",
    "__SIZEOF_SIZE_T__",
    "__SIZEOF_LONG_LONG__",
    "__BYTE_ORDER__",
    "__LP64__",
    "__ILP32__",
    "__ELF__",
    "__linux__",
    "__linux",
    "__unix__",
    "__unix",
    "__gnu_linux__",
    "__x86_64__",
    "__x86_64",
    "__amd64__",
    "__amd64",
    "__i386__",
    "__i386",
    "__aarch64__",
    "__arm__",
    "__powerpc__",
    "__powerpc64__",
    "__s390__",
    "__s390x__",
    "__riscv",
    "__APPLE__",
    "__CYGWIN__",
    "__MINGW32__",
    "__FreeBSD__",
    "__NetBSD__",
    "__OpenBSD__",
    "__sun",
    "__has_include",
    "__has_include_next",
    "__INTEL_COMPILER",
    "__KERNEL__",
];

/// Whether a pragma that switches compiler options may define or undefine the name.
fn follows_options(name: &[u8]) -> bool {
    (name.starts_with(b"__") || name.starts_with(b"_ARCH_")) && !STEADY.iter().any(|s| s.as_bytes() == name)
}

/// Whether a name is `__has_include` or one of its kin: those whose value is the outcome of a lookup.
pub(crate) fn is_include_operator(name: NameId) -> bool {
    SPECIAL
        .get(name.0 as usize)
        .is_some_and(|n| matches!(*n, "__has_include" | "__has_include__" | "__has_include_next" | "__has_include_next__"))
}

/// Bytes a table of names may hold: offsets are 32-bit.
pub(crate) const NAME_BYTES_MAX: usize = u32::MAX as usize;

/// The tables of names of one view. All files of a view are scanned against one of these.
///
/// Numbers of one `Names` mean nothing to another.
pub struct Names {
    identity: u64,
    inner: RwLock<Tables>,
}

pub(crate) struct Tables {
    pub(crate) macros: Table,
    pub(crate) headers: Table,
    /// Macros that follow the compiler's options, as far as they were sorted out.
    options: Vec<NameId>,
    sorted: u32,
}

impl Tables {
    pub(crate) fn new() -> Self {
        Self { macros: Table::new(), headers: Table::new(), options: Vec::new(), sorted: 0 }
    }

    /// All names known so far that a pragma may define or undefine by switching options.
    pub(crate) fn follow_options(&mut self) -> &[NameId] {
        for id in self.sorted..self.macros.len() as u32 {
            if follows_options(self.macros.get(id)) {
                self.options.push(NameId(id));
            }
        }
        self.sorted = self.macros.len() as u32;
        &self.options
    }
}

/// Strings stored end to end, with an index by content.
#[derive(Default)]
pub(crate) struct Table {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    /// Hash and number: strings are compared only where hashes are equal, and never hashed again.
    index: HashTable<(u64, u32)>,
}

impl Table {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn get(&self, id: u32) -> &[u8] {
        let i = id as usize;
        let start = if i == 0 { 0 } else { self.ends[i - 1] as usize };
        &self.bytes[start..self.ends[i] as usize]
    }

    pub(crate) fn find(&self, name: &[u8]) -> Option<u32> {
        self.find_hashed(hash::bytes(name), name)
    }

    fn find_hashed(&self, hash: u64, name: &[u8]) -> Option<u32> {
        self.index.find(hash, |&(h, i)| h == hash && self.get(i) == name).map(|&(_, i)| i)
    }

    /// The number of `name`, new or known; `None` when the table is full.
    pub(crate) fn intern(&mut self, name: &[u8]) -> Option<u32> {
        self.intern_hashed(hash::bytes(name), name)
    }

    fn intern_hashed(&mut self, hash: u64, name: &[u8]) -> Option<u32> {
        if let Some(id) = self.find_hashed(hash, name) {
            return Some(id);
        }
        if self.bytes.len() + name.len() > NAME_BYTES_MAX || self.ends.len() >= (u32::MAX - 1) as usize {
            return None;
        }
        let id = self.ends.len() as u32;
        self.bytes.extend_from_slice(name);
        self.ends.push(self.bytes.len() as u32);
        self.index.insert_unique(hash, (hash, id), |&(h, _)| h);
        Some(id)
    }

    /// Takes in all names of another table: their numbers here, by their numbers there. `None` when this table is full.
    pub(crate) fn take_in(&mut self, other: &Self) -> Option<Vec<u32>> {
        let mut hashes = vec![0; other.len()];
        for &(hash, id) in &other.index {
            hashes[id as usize] = hash;
        }
        // In the order of their numbers there, so that the order of the index decides nothing.
        hashes.iter().zip(0..).map(|(&hash, id)| self.intern_hashed(hash, other.get(id))).collect()
    }
}

impl Names {
    /// Empty tables (but for the names the language itself gives a meaning).
    #[must_use]
    pub fn new() -> Self {
        let mut tables = Tables::new();
        for name in SPECIAL {
            let _ = tables.macros.intern(name.as_bytes());
        }
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let identity = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { identity, inner: RwLock::new(tables) }
    }

    /// Tells these tables from all others of the process.
    pub(crate) fn identity(&self) -> u64 {
        self.identity
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Tables> {
        self.inner.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Tables> {
        self.inner.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The spelling of a macro name.
    #[must_use]
    pub fn macro_name(&self, id: NameId) -> Vec<u8> {
        self.read().macros.get(id.0).to_vec()
    }

    /// The spelling of a header name.
    #[must_use]
    pub fn header_name(&self, id: HeaderId) -> Vec<u8> {
        self.read().headers.get(id.0).to_vec()
    }
}

impl Default for Names {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tables = self.read();
        f.debug_struct("Names").field("macros", &tables.macros.len()).field("headers", &tables.headers.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_number() {
        let names = Names::new();
        let (a, b) = {
            let mut t = names.write();
            (t.macros.intern(b"FOO").unwrap(), t.macros.intern(b"BAR").unwrap())
        };
        assert_ne!(a, b);
        assert_eq!(names.write().macros.intern(b"FOO"), Some(a));
        assert_eq!(names.read().macros.find(b"BAR"), Some(b));
        assert_eq!(names.read().macros.find(b"BAZ"), None);
        assert_eq!(names.macro_name(NameId(a)), b"FOO");
    }

    #[test]
    fn special_names_come_first_and_once() {
        let names = Names::new();
        for (i, name) in SPECIAL.iter().enumerate() {
            assert_eq!(names.read().macros.find(name.as_bytes()), Some(i as u32), "{name}");
        }
    }
}
