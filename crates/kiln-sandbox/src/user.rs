//! The user that jobs run as where the worker is root. Knows what this process may become, no job.

use rustix::thread::CapabilitySet;

/// A user of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobUser {
    /// Numeric user.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
}

impl JobUser {
    /// `nobody`: 65534 everywhere on Linux.
    pub const NOBODY: JobUser = JobUser { uid: 65534, gid: 65534 };

    /// Whether this process is root as far as it takes: it may become this user, and give files to it. The root of a container or of
    /// `unshare -r` may be root in name only; it is then an ordinary user, and jobs run as itself.
    pub(crate) fn can_be_become(self) -> bool {
        let maps = |file: &str, id: u32| std::fs::read_to_string(file).is_ok_and(|text| is_mapped(&text, id));
        rustix::process::geteuid().is_root()
            && has(CapabilitySet::SETUID | CapabilitySet::SETGID | CapabilitySet::CHOWN)
            && maps("/proc/self/uid_map", self.uid)
            && maps("/proc/self/gid_map", self.gid)
    }
}

/// Whether this process may make namespaces and mounts without a user namespace.
pub(crate) fn may_mount() -> bool {
    has(CapabilitySet::SYS_ADMIN)
}

fn has(wanted: CapabilitySet) -> bool {
    rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(wanted))
}

/// Lines of first id inside, first id outside, and how many.
fn is_mapped(map: &str, id: u32) -> bool {
    map.lines().any(|line| {
        let mut fields = line.split_ascii_whitespace().map(|field| field.parse::<u64>().unwrap_or(0));
        let (first, _, count) = (fields.next().unwrap_or(0), fields.next(), fields.next().unwrap_or(0));
        (first..first + count).contains(&u64::from(id))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_read() {
        assert!(is_mapped("         0          0 4294967295\n", 65534));
        assert!(!is_mapped("0 1000 1\n", 65534));
        assert!(is_mapped("0 1000 1\n1 100000 65536\n", 65534));
        assert!(!is_mapped("", 0));
    }
}
