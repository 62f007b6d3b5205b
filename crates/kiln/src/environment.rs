//! The environment as bytes: what this process got, and the few changes the compiler gets. Knows no variable's meaning.

use std::borrow::Cow;
use std::ffi::CStr;
use std::ffi::CString;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use kiln_frame::sys;

/// Variables of kiln's own that are read on the compile path.
pub(crate) mod name {
    /// Wrappers above this one in the chain of processes.
    pub(crate) const DEPTH: &str = "KILN_DEPTH";
    /// `1`: run the compiler and nothing else.
    pub(crate) const DISABLE: &str = "KILN_DISABLE";
    /// `silent`, `warn` or `fail`: what happens when no daemon can be had.
    pub(crate) const FALLBACK: &str = "KILN_FALLBACK";
    /// Scripts above this process that stand in for compilers, as `DEV:INO` with a blank between them: they are not what their own
    /// commands mean.
    pub(crate) const SCRIPT: &str = "KILN_SCRIPT";
    /// The slot some process above holds: `TOKEN:PID:START`.
    pub(crate) const SLOT: &str = "KILN_SLOT";
    /// The directory of `kiln verify` above this process.
    pub(crate) const VERIFY: &str = "KILN_VERIFY";
    /// Where commands are looked for.
    pub(crate) const PATH: &str = "PATH";
}

/// `NAME=VALUE` strings in their order.
#[derive(Clone)]
pub(crate) struct Environment {
    variables: Vec<Cow<'static, CStr>>,
}

impl Environment {
    /// What this process got.
    pub(crate) fn current() -> Environment {
        Environment { variables: sys::environment().into_iter().map(Cow::Borrowed).collect() }
    }

    /// The value of the first `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&[u8]> {
        self.variables.iter().find_map(|variable| value_of(variable.to_bytes(), name))
    }

    /// As [`get`](Self::get), for settings that name files.
    pub(crate) fn os(&self, name: &str) -> Option<OsString> {
        Some(OsString::from_vec(self.get(name)?.to_vec()))
    }

    /// Replaces the first `name` where it stands, or adds it; later ones of the name go. A NUL in `value` ends it.
    pub(crate) fn set(&mut self, name: &str, value: &[u8]) {
        let value = value.split(|byte| *byte == 0).next().unwrap_or_default();
        let variable = CString::new([name.as_bytes(), b"=", value].concat()).unwrap_or_default();
        let at = self.variables.iter().position(|variable| value_of(variable.to_bytes(), name).is_some());
        self.remove(name);
        self.variables.insert(at.unwrap_or(self.variables.len()), Cow::Owned(variable));
    }

    /// Takes every `name` out.
    pub(crate) fn remove(&mut self, name: &str) {
        self.variables.retain(|variable| value_of(variable.to_bytes(), name).is_none());
    }

    /// Keeps the variables whose name `keep` wants.
    pub(crate) fn retain(&mut self, keep: impl Fn(&[u8]) -> bool) {
        self.variables.retain(|variable| keep(variable.to_bytes().split(|byte| *byte == b'=').next().unwrap_or_default()));
    }

    /// As `execve` wants them.
    pub(crate) fn c_strings(&self) -> Vec<&CStr> {
        self.variables.iter().map(AsRef::as_ref).collect()
    }

    /// As a request carries them.
    pub(crate) fn bytes(&self) -> Vec<Vec<u8>> {
        self.variables.iter().map(|variable| variable.to_bytes().to_vec()).collect()
    }
}

fn value_of<'a>(variable: &'a [u8], name: &str) -> Option<&'a [u8]> {
    variable.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[&str]) -> Environment {
        Environment { variables: variables.iter().map(|text| Cow::Owned(CString::new(*text).unwrap())).collect() }
    }

    #[test]
    fn a_variable_is_replaced_where_it_stands_and_its_doubles_go() {
        let mut env = environment(&["A=1", "PATH=x", "odd", "PATH=y", "PATHS=z"]);
        env.set("PATH", b"n");
        assert_eq!(env.bytes(), [&b"A=1"[..], b"PATH=n", b"odd", b"PATHS=z"]);
        env.set("NEW", b"v\0w");
        assert_eq!(env.get("NEW"), Some(&b"v"[..]));
        env.remove("A");
        env.retain(|name| name != b"odd");
        assert_eq!(env.bytes(), [&b"PATH=n"[..], b"PATHS=z", b"NEW=v"]);
    }
}
