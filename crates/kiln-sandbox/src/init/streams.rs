//! What a job writes to stdout and stderr: through pipes, or through terminals of a given size. Knows no job.

use crate::Rung;
use crate::job::Terminal;
use crate::server::Context;
use crate::sys::{Fail, Step};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountFlags;
use rustix::pty::OpenptFlags;
use rustix::termios::{OptionalActions, Winsize};
use std::os::fd::OwnedFd;

/// Read from a stream at once: what a pipe holds by default.
const READ_BYTES: usize = 64 << 10;

/// Both streams, and the ends that the job gets.
pub(super) struct Streams {
    pub(super) read: [Stream; 2],
    /// The job's ends; dropped once it runs, so that the other ends see the end.
    pub(super) write: Option<[OwnedFd; 2]>,
}

/// One stream as it is read.
pub(super) struct Stream {
    /// Until its end.
    pub(super) fd: Option<OwnedFd>,
    pub(super) bytes: Vec<u8>,
}

impl Streams {
    /// Pipes, or a terminal each.
    pub(super) fn open(context: &Context, terminal: Option<Terminal>) -> Result<Streams, Fail> {
        let pairs = match terminal {
            None => [pipe()?, pipe()?],
            Some(_) if matches!(context.rung, Rung::Chroot | Rung::None) => {
                return Err(Fail { step: "opening a terminal on this rung".into(), errno: libc::ENOTSUP });
            }
            Some(terminal) => {
                let options = c"newinstance,ptmxmode=0666,mode=0666,max=2";
                let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
                rustix::mount::mount(c"devpts", "/dev/pts", c"devpts", flags, Some(options)).step("mounting /dev/pts")?;
                [pty(terminal)?, pty(terminal)?]
            }
        };
        let [(out, out_write), (err, err_write)] = pairs;
        let stream = |fd| Stream { fd: Some(fd), bytes: Vec::new() };
        Ok(Streams { read: [stream(out), stream(err)], write: Some([out_write, err_write]) })
    }

    /// Bytes read so far.
    pub(super) fn len(&self) -> u64 {
        self.read.iter().map(|stream| stream.bytes.len() as u64).sum()
    }
}

fn pipe() -> Result<(OwnedFd, OwnedFd), Fail> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).step("making a pipe")?;
    rustix::fs::fcntl_setfl(&read, OFlags::NONBLOCK).step("making a pipe")?;
    Ok((read, write))
}

fn pty(terminal: Terminal) -> Result<(OwnedFd, OwnedFd), Fail> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let master = rustix::fs::open("/dev/pts/ptmx", flags, Mode::empty()).step("opening a terminal")?;
    rustix::pty::unlockpt(&master).step("unlocking a terminal")?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let job = rustix::pty::ioctl_tiocgptpeer(&master, flags).step("opening a terminal")?;
    let mut attributes = rustix::termios::tcgetattr(&job).step("setting a terminal up")?;
    // Bytes as the job writes them; the user's own terminal turns them into lines.
    attributes.make_raw();
    rustix::termios::tcsetattr(&job, OptionalActions::Now, &attributes).step("setting a terminal up")?;
    let size = Winsize { ws_row: terminal.rows, ws_col: terminal.columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&job, size).step("setting a terminal up")?;
    Ok((master, job))
}

impl Stream {
    /// Reads what is there, at most `limit` bytes and a little; whether the end was seen.
    pub(super) fn read(&mut self, limit: u64) -> bool {
        let Some(fd) = &self.fd else { return true };
        let mut buffer = [0; READ_BYTES];
        while (self.bytes.len() as u64) <= limit {
            match rustix::io::read(fd, &mut buffer) {
                Ok(0) => {
                    self.fd = None;
                    return true;
                }
                Ok(len) => self.bytes.extend_from_slice(&buffer[..len]),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return false,
                // A terminal whose other end is closed.
                Err(_) => {
                    self.fd = None;
                    return true;
                }
            }
        }
        false
    }
}
