//! One service of a role in a directory. Knows no service.

use std::fs::File;
use std::fs::OpenOptions;
use std::fs::TryLockError;
use std::io::Read;
use std::io::Seek;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use anyhow::bail;

/// Held while a service uses its directory; the kernel lets go of it with the process.
#[derive(Debug)]
pub(crate) struct DirLock {
    _file: File,
}

/// Makes `dir` (mode 0700) where it is missing and takes it for `role`.
///
/// # Errors
/// Another process of that role uses it; the directory cannot be made.
pub(crate) fn take(dir: &Path, role: &str) -> anyhow::Result<DirLock> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let path = dir.join(format!("{role}.pid"));
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    let mut file = open.with_context(|| format!("cannot open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            // Bounded: a pid and a line end.
            let mut pid = String::new();
            let _ = (&mut file).take(32).read_to_string(&mut pid);
            bail!("another kilnd {role} (pid {}) uses {}", pid.trim(), dir.display());
        }
        Err(TryLockError::Error(error)) => return Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
    file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()))?;
    Ok(DirLock { _file: file })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_serves_one_process_of_a_role_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let held = take(&state, "worker").unwrap();
        let error = take(&state, "worker").unwrap_err().to_string();
        assert!(error.contains(&format!("(pid {})", std::process::id())), "{error}");
        take(&state, "cache").unwrap();
        drop(held);
        take(&state, "worker").unwrap();
    }
}
