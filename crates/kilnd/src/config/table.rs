//! Every key of the configuration, as data. Reference, flags, environment and parsing all come from here.

/// What a key's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Any text.
    Text,
    /// An absolute path, or one below `~/`; empty for none.
    Path,
    /// A list of addresses.
    Addresses,
    /// One address; empty for none.
    Address,
    /// A list of networks.
    Networks,
    /// A list of words.
    Names,
    /// Bytes: a number with K, M, G or T (powers of 1,024).
    Size,
    /// A time: a number with ms, s, m or h.
    Time,
    /// A whole number within these bounds.
    Count(u64, u64),
    /// `true` or `false`.
    Bool,
    /// One of these words.
    Choice(&'static [&'static str]),
}

/// One key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    /// Its `[section]`.
    pub(crate) section: &'static str,
    /// Its name there.
    pub(crate) name: &'static str,
    /// What its value is.
    pub(crate) kind: Kind,
    /// Its value where nobody sets it, as it would be written in the environment.
    pub(crate) default: &'static str,
    /// What it does.
    pub(crate) doc: &'static str,
}

impl Key {
    /// `section.name`.
    pub(crate) fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// Its environment variable: `KILN_SECTION_NAME`, but for the one that every user sets.
    pub(crate) fn env(&self) -> String {
        match (self.section, self.name) {
            ("client", "fallback") => "KILN_FALLBACK".to_owned(),
            (section, name) => format!("KILN_{}_{}", section.to_uppercase(), name.to_uppercase()),
        }
    }

    /// Its flag: `--section-name`.
    pub(crate) fn flag(&self) -> String {
        format!("{}-{}", self.section, self.name.replace('_', "-"))
    }
}

/// Sections in the order of the reference, with what they are about.
pub(crate) const SECTIONS: &[(&str, &str)] = &[
    ("farm", "Where the farm is: read by daemons, workers and caches."),
    ("client", "What a user wants of kiln."),
    ("daemon", "The daemon of one user on one host."),
    ("worker", "A machine that compiles for others."),
    ("scheduler", "Who hands out slots."),
    ("cache", "Results and blobs of the whole farm."),
    ("tls", "Encryption, of servers and towards them."),
    ("auth", "Who may call, and what this side shows."),
    ("log", "What services say."),
];

/// Variables that are no key of the file: the wrapper, which reads no file, must know them.
pub(crate) const ENVIRONMENT_ONLY: &[(&str, &str)] = &[
    ("KILN_DIR", "Directory of all state; `~/.cache/kiln` where it is not set. Another directory is another daemon."),
    ("KILN_CONFIG", "Configuration file to read instead of `/etc/kiln/kiln.toml` and `~/.config/kiln/kiln.toml`."),
    ("KILN_DISABLE", "`1`: the wrapper runs the compiler and nothing else."),
    ("KILN_SCRIPT", "Set by kiln below a script that stands in for a compiler, as `c99` does: what that calls goes through kiln."),
    ("KILN_SLOT", "Set by kiln below a command that holds a slot of this machine."),
    ("KILN_VERIFY", "Set by `kiln verify` below itself."),
    ("KILN_DEPTH", "Set by kiln: wrappers above this one."),
];

const fn key(section: &'static str, name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key { section, name, kind, default, doc }
}

/// Slots of one machine: more than any has cores.
const SLOTS_MAX: u64 = 4096;

/// All keys, by section.
pub(crate) const KEYS: &[Key] = &[
    key("farm", "schedulers", Kind::Addresses, "", "Schedulers, as `host:port`, `[v6]:port` or `unix:/path`. Empty: no farm."),
    key("farm", "caches", Kind::Addresses, "", "Cache servers of the farm. Empty: those that the schedulers name."),
    key("farm", "instance", Kind::Text, "main", "The trust domain: all of its users can read each other's sources and results."),
    key(
        "client",
        "fallback",
        Kind::Choice(&["silent", "warn", "fail"]),
        "silent",
        "What happens when the farm let a unit down: compile here without a word, say so on the terminal, or fail the unit.",
    ),
    key("client", "batch", Kind::Bool, "false", "Whether builds wait for those of people who sit and wait: for CI."),
    key("daemon", "dir", Kind::Path, "", "Local results and blobs. Empty: `KILN_DIR/daemon`."),
    key(
        "daemon",
        "slots",
        Kind::Count(0, SLOTS_MAX),
        "0",
        "Compiles and links at once on this machine. 0: by its cores and memory.",
    ),
    key("daemon", "cache", Kind::Bool, "true", "Whether results are kept on this machine."),
    key("daemon", "cache_max", Kind::Size, "5G", "Size of local results and blobs."),
    key("daemon", "sandbox", Kind::Bool, "true", "Whether units that run here run in the sandbox, and are kept."),
    key("daemon", "idle_exit", Kind::Time, "8h", "A daemon without a request for this long ends. 0s: never."),
    key("daemon", "local_worker", Kind::Text, "", "Name of the worker on this machine, used last. Empty: the host's name."),
    key(
        "daemon",
        "substitutes",
        Kind::Bool,
        "false",
        "Whether compilers of workers of another processor architecture (`worker.substitutes`) may take the place of this machine's, \
         once a set of probes came out the same with both.",
    ),
    key("worker", "listen", Kind::Addresses, "127.0.0.1:8981", "Where the worker is reached."),
    key("worker", "advertise", Kind::Address, "", "Its address as others reach it. Empty: the first of `listen`."),
    key("worker", "name", Kind::Text, "", "Its name, unique in the farm. Empty: the host's name."),
    key("worker", "dir", Kind::Path, "", "Blobs, input roots and scratch, on one file system. Empty: `KILN_DIR/worker`."),
    key("worker", "slots", Kind::Count(0, SLOTS_MAX), "0", "Jobs at once. 0: as many as the machine has hardware threads."),
    key(
        "worker",
        "dedicated",
        Kind::Bool,
        "false",
        "Whether nobody sits at this machine: it is then used first, and up to half load.",
    ),
    key(
        "worker",
        "yields",
        Kind::Bool,
        "true",
        "Whether work that is not the farm's takes slots away. false where several workers share a machine.",
    ),
    key("worker", "store_max", Kind::Size, "20G", "Size of blobs and input roots."),
    key("worker", "job_memory_max", Kind::Size, "8G", "Memory of one job. A job that needs more fails here and runs elsewhere."),
    key("worker", "job_time_max", Kind::Time, "20m", "Run time of one job."),
    key("worker", "job_output_max", Kind::Size, "2G", "All that one job writes."),
    key("worker", "job_processes_max", Kind::Count(8, 65_536), "512", "Processes of one job."),
    key(
        "worker",
        "cgroups",
        Kind::Names,
        "",
        "Cgroups in which each job gets one of its own, so that the kernel bounds its memory and processes: directories, or `own` for \
         those of the service itself (systemd's `Delegate=`). Empty: kiln watches its jobs by itself.",
    ),
    key(
        "worker",
        "machine",
        Kind::Text,
        "",
        "The processor architecture that its jobs run on, as `uname -m` has it: for a gateway to a cluster of other machines. Empty: \
         this machine's.",
    ),
    key(
        "worker",
        "substitutes",
        Kind::Names,
        "",
        "Compilers of this machine that may stand in for those of clients of another processor architecture, of the same version and \
         target: absolute paths of their drivers.",
    ),
    key(
        "worker",
        "cluster",
        Kind::Address,
        "",
        "A REAPI cluster of another make that runs this worker's jobs: it is a gateway then, with `slots` jobs at once.",
    ),
    key("worker", "cluster_instance", Kind::Text, "", "The instance name that the cluster has for it."),
    key(
        "worker",
        "cluster_root",
        Kind::Choice(&["", "chroot"]),
        "",
        "`chroot` states that the cluster runs an action with its input root as the whole file system. Only such a one can be used.",
    ),
    key("worker", "cluster_platform", Kind::Names, "", "Platform properties that the cluster's workers want, as `NAME=VALUE`."),
    key("worker", "cluster_token_file", Kind::Path, "", "File of the token that the cluster is shown."),
    key("scheduler", "listen", Kind::Addresses, "127.0.0.1:8980", "Where the scheduler is reached."),
    key("cache", "listen", Kind::Addresses, "127.0.0.1:8982", "Where the cache is reached."),
    key("cache", "advertise", Kind::Address, "", "Its address as others reach it. Empty: the first of `listen`."),
    key("cache", "name", Kind::Text, "", "Its name, unique in the farm, workers included. Empty: the host's name with `-cache`."),
    key("cache", "dir", Kind::Path, "", "Blobs and results. Empty: `KILN_DIR/cache`."),
    key("cache", "disk_max", Kind::Size, "100G", "Size on disk; beyond it what was longest unused goes."),
    key("cache", "memory_max", Kind::Size, "1G", "Size of the tier in memory."),
    key(
        "cache",
        "client_writable",
        Kind::Names,
        "",
        "Instances whose results clients may write (Bazel with `--remote_cache`). `main` is written by workers only.",
    ),
    key("tls", "ca", Kind::Path, "", "Certificates of the CA that the other side must chain to, PEM."),
    key("tls", "cert", Kind::Path, "", "This side's certificate with its chain, PEM."),
    key("tls", "key", Kind::Path, "", "Its private key, PEM, not readable by everybody."),
    key("tls", "name", Kind::Text, "", "Name to expect in the schedulers' and caches' certificates. Empty: their host."),
    key("tls", "insecure", Kind::Bool, "false", "Allows listeners on all networks, and tokens to other hosts, without TLS."),
    key(
        "auth",
        "credentials",
        Kind::Path,
        "",
        "Tokens that servers accept: a file of mode 600 with lines `role name token`, re-read when it changes.",
    ),
    key(
        "auth",
        "token_file",
        Kind::Path,
        "",
        "The token to show to schedulers and caches: a file of mode 600 with the token, or lines `role name token`.",
    ),
    key("auth", "networks", Kind::Networks, "", "Networks that may connect over TCP, beside any credential. Empty: all."),
    key("log", "file", Kind::Path, "", "File to log to; opened anew on SIGHUP. Empty: standard error."),
    key(
        "log",
        "level",
        Kind::Choice(&["error", "warn", "info", "debug", "trace"]),
        "info",
        "Least weight of an event that is logged.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn keys_are_unique_and_in_known_sections() {
        let mut paths = BTreeSet::new();
        let mut names = BTreeSet::new();
        for key in KEYS {
            assert!(paths.insert(key.path()), "{} twice", key.path());
            assert!(names.insert(key.env()), "{} twice", key.env());
            assert!(SECTIONS.iter().any(|(section, _)| *section == key.section), "{}", key.path());
            assert!(key.doc.ends_with('.'), "{}: the text is a sentence", key.path());
        }
        for (name, _) in ENVIRONMENT_ONLY {
            assert!(names.insert((*name).to_owned()), "{name} twice");
        }
    }
}
