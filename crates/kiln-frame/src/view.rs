//! What world a process sees: identity, namespaces, root, working directory, limits. Knows no socket.

use crate::FrameError;
use crate::sys;
use crate::wire::Reader;
use crate::wire::put_list;
use crate::wire::put_u32;
use crate::wire::put_u64;

/// A file by device and inode number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FileId {
    /// `st_dev`.
    pub dev: u64,
    /// `st_ino`.
    pub ino: u64,
}

/// The part of a view that a daemon shares with every request it may serve. Its hash is in the socket's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Real user.
    pub uid: u32,
    /// Effective user.
    pub euid: u32,
    /// Real group.
    pub gid: u32,
    /// Effective group.
    pub egid: u32,
    /// Supplementary groups, ascending.
    pub groups: Vec<u32>,
    /// Inode number of the mount namespace; 0 where /proc does not tell.
    pub mount_ns: u64,
    /// Inode number of the user namespace; 0 where /proc does not tell.
    pub user_ns: u64,
    /// Inode number of the process namespace; 0 where /proc does not tell.
    pub pid_ns: u64,
    /// The root directory.
    pub root: FileId,
}

/// Soft resource limits that change how a compile ends; `u64::MAX` is "unlimited".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// `RLIMIT_CPU`, seconds.
    pub cpu: u64,
    /// `RLIMIT_FSIZE`, bytes: also the largest output the wrapper can commit.
    pub file_size: u64,
    /// `RLIMIT_DATA`, bytes.
    pub data: u64,
    /// `RLIMIT_STACK`, bytes.
    pub stack: u64,
    /// `RLIMIT_AS`, bytes.
    pub address_space: u64,
}

/// All that a request's process sees and is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Equal to the daemon's own, or the daemon refuses.
    pub identity: Identity,
    /// The working directory; the daemon opens the request's path itself and compares.
    pub cwd: FileId,
    /// File mode creation mask.
    pub umask: u32,
    /// Soft limits.
    pub limits: Limits,
}

impl Identity {
    /// The identity of this process. Namespaces and root that cannot be read are 0.
    pub fn current() -> Identity {
        let mut groups = sys::groups();
        groups.sort_unstable();
        groups.dedup();
        let ids = sys::ids();
        Identity {
            uid: ids.uid,
            euid: ids.euid,
            gid: ids.gid,
            egid: ids.egid,
            groups,
            mount_ns: sys::file_id(c"/proc/self/ns/mnt").unwrap_or_default().ino,
            user_ns: sys::file_id(c"/proc/self/ns/user").unwrap_or_default().ino,
            pid_ns: sys::file_id(c"/proc/self/ns/pid").unwrap_or_default().ino,
            root: sys::file_id(c"/").unwrap_or_default(),
        }
    }

    /// A 64-bit name for this identity together with `salt` (settings that want a daemon of their own). Not secret, not
    /// collision-proof: the hello is compared in full.
    pub fn hash(&self, salt: &[&[u8]]) -> u64 {
        let mut bytes = Vec::with_capacity(128);
        self.put(&mut bytes);
        put_list(&mut bytes, salt, |out, part| crate::wire::put_bytes(out, part));
        // FNV-1a: offset basis and prime as published with the algorithm.
        bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        for id in [self.uid, self.euid, self.gid, self.egid] {
            put_u32(out, id);
        }
        put_list(out, &self.groups, |out, group| put_u32(out, *group));
        for number in [self.mount_ns, self.user_ns, self.pid_ns, self.root.dev, self.root.ino] {
            put_u64(out, number);
        }
    }

    pub(crate) fn get(body: &mut Reader<'_>) -> Result<Identity, FrameError> {
        Ok(Identity {
            uid: body.u32()?,
            euid: body.u32()?,
            gid: body.u32()?,
            egid: body.u32()?,
            groups: body.list(4, |body| body.u32())?,
            mount_ns: body.u64()?,
            user_ns: body.u64()?,
            pid_ns: body.u64()?,
            root: FileId { dev: body.u64()?, ino: body.u64()? },
        })
    }
}

impl View {
    /// The view of this process. Sets and restores the umask to read it, so only for a process with one thread.
    pub fn current() -> View {
        View {
            identity: Identity::current(),
            cwd: sys::file_id(c".").unwrap_or_default(),
            umask: sys::umask_now(),
            limits: sys::limits(),
        }
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        self.identity.put(out);
        put_u64(out, self.cwd.dev);
        put_u64(out, self.cwd.ino);
        put_u32(out, self.umask);
        let limits = self.limits;
        for limit in [limits.cpu, limits.file_size, limits.data, limits.stack, limits.address_space] {
            put_u64(out, limit);
        }
    }

    pub(crate) fn get(body: &mut Reader<'_>) -> Result<View, FrameError> {
        Ok(View {
            identity: Identity::get(body)?,
            cwd: FileId { dev: body.u64()?, ino: body.u64()? },
            umask: body.u32()?,
            limits: Limits {
                cpu: body.u64()?,
                file_size: body.u64()?,
                data: body.u64()?,
                stack: body.u64()?,
                address_space: body.u64()?,
            },
        })
    }
}
