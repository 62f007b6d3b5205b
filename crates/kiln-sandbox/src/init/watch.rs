//! Watches a running job: its streams, its time, what it uses; until the last of its processes is gone. Knows no files.

use super::root::Place;
use super::streams::Streams;
use super::usage::Processes;
use crate::job::{Ending, Limit, Limits};
use crate::message::Job;
use crate::server::{Context, JobGroup};
use crate::sys::{self, Reaped};
use rustix::event::{PollFd, PollFlags, Timespec};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// First look at what the job uses, and the longest time between two: doubled each time. A look costs some 30 µs, and
/// at memory speed (10 GB/s) a job can take half a gigabyte between two.
const LOOK_FIRST: Duration = Duration::from_millis(10);
const LOOK_LAST: Duration = Duration::from_millis(50);

/// Pause between two rounds of killing where processes must be found one by one.
const KILL_AGAIN: Duration = Duration::from_millis(2);

/// Scratch space counts as full when less than this share of it is free (1/64): a writer that met the end removes its file.
const DISK_FULL_SHARE: u64 = 64;

/// A job being watched.
pub(super) struct Watch<'a> {
    context: &'a Context,
    group: &'a JobGroup,
    limits: &'a Limits,
    place: &'a Place,
    processes: Processes,
    started: Instant,
    disk_full: bool,
}

/// What is known when the last process is gone.
pub(super) struct Ended {
    pub(super) ending: Ending,
    pub(super) suspected: Option<Limit>,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
    pub(super) cpu_us: u64,
    pub(super) wall_us: u64,
    pub(super) max_rss_bytes: u64,
}

impl<'a> Watch<'a> {
    pub(super) fn start(
        context: &'a Context,
        group: &'a JobGroup,
        job: &'a Job,
        place: &'a Place,
        processes: Processes,
    ) -> Watch<'a> {
        Watch { context, group, limits: &job.limits, place, processes, started: Instant::now(), disk_full: false }
    }

    /// Watches until the job's main process ends or a limit is met, then ends all the others.
    pub(super) fn until_over(mut self, main: i32, mut streams: Streams, job_socket: &OwnedFd) -> Ended {
        let (status, met) = self.watch(main, &mut streams, job_socket);
        // Counters of the job's groups are read while the groups are there; scratch space before anybody cleans up.
        self.look_at_disk();
        self.processes.kill_all(status.is_none().then_some(main));
        let status = self.reap_all(main, status);
        let wall_us = self.started.elapsed().as_micros() as u64;
        for stream in &mut streams.read {
            stream.read(self.limits.output_bytes);
        }
        let met = met.or_else(|| (streams.len() > self.limits.output_bytes).then_some(Limit::Output));
        let (ending, suspected) = self.judge(status, met, &streams);
        let (cpu_us, max_rss_bytes) = sys::children_usage();
        let [stdout, stderr] = streams.read.map(|stream| stream.bytes);
        Ended { ending, suspected, stdout, stderr, cpu_us, wall_us, max_rss_bytes }
    }

    fn watch(&mut self, main: i32, streams: &mut Streams, job_socket: &OwnedFd) -> (Option<Reaped>, Option<Limit>) {
        let deadline = self.started + Duration::from_millis(self.limits.wall_ms);
        let (mut look, mut pause) = (self.started + LOOK_FIRST, LOOK_FIRST);
        loop {
            let now = Instant::now();
            if now >= deadline {
                return (None, Some(Limit::Time));
            }
            if now >= look {
                if let Some(limit) = self.look() {
                    return (None, Some(limit));
                }
                pause = (pause * 2).min(LOOK_LAST);
                look = now + pause;
            }
            let (signals, closed) = self.poll(streams, job_socket, look.min(deadline).saturating_duration_since(now));
            if closed || (signals && self.asked_to_stop()) {
                self.processes.kill_all(Some(main));
                self.reap_all(main, None);
                sys::exit_now(1);
            }
            for index in 0..2 {
                let rest = self.limits.output_bytes.saturating_sub(streams.read[1 - index].bytes.len() as u64);
                streams.read[index].read(rest);
            }
            if streams.len() > self.limits.output_bytes {
                return (None, Some(Limit::Output));
            }
            if signals {
                match self.reap(main) {
                    Some(status) => return (Some(status), None),
                    None => continue,
                }
            }
        }
    }

    /// Waits; whether signals are there, and whether the worker has gone.
    fn poll(&self, streams: &Streams, job_socket: &OwnedFd, timeout: Duration) -> (bool, bool) {
        let mut fds = vec![PollFd::new(&self.context.signals, PollFlags::IN), PollFd::new(job_socket, PollFlags::empty())];
        fds.extend(streams.read.iter().filter_map(|stream| stream.fd.as_ref()).map(|fd| PollFd::new(fd, PollFlags::IN)));
        let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: timeout.subsec_nanos().into() };
        match rustix::event::poll(&mut fds, Some(&timeout)) {
            Ok(_) => (!fds[0].revents().is_empty(), fds[1].revents().intersects(PollFlags::HUP | PollFlags::ERR)),
            Err(_) => (false, false),
        }
    }

    /// Empties the signal descriptor; whether one of the signals was not the end of a child.
    fn asked_to_stop(&self) -> bool {
        let mut asked = false;
        let mut buffer = [0u8; size_of::<libc::signalfd_siginfo>()];
        while rustix::io::read(&self.context.signals, &mut buffer).is_ok_and(|len| len == buffer.len()) {
            // `ssi_signo` is the first field.
            let number = u32::from_ne_bytes([buffer[0], buffer[1], buffer[2], buffer[3]]);
            asked |= number != libc::SIGCHLD as u32;
        }
        asked
    }

    /// Reaps whoever has ended; the main process's end, if it is among them.
    fn reap(&self, main: i32) -> Option<Reaped> {
        loop {
            match sys::reap(false) {
                status @ (Reaped::Exited(pid, _) | Reaped::Signalled(pid, _)) if pid == main => return Some(status),
                Reaped::Exited(..) | Reaped::Signalled(..) => {}
                Reaped::Pending | Reaped::Nobody => return None,
            }
        }
    }

    /// Reaps until nobody is left. Without a process namespace, looks again and again for those that were missed.
    fn reap_all(&self, main: i32, mut status: Option<Reaped>) -> Option<Reaped> {
        let block = self.context.rung.has_process_namespace();
        loop {
            match sys::reap(block) {
                ended @ (Reaped::Exited(pid, _) | Reaped::Signalled(pid, _)) if pid == main => status = Some(ended),
                Reaped::Exited(..) | Reaped::Signalled(..) => {}
                Reaped::Pending => {
                    self.processes.kill_all(status.is_none().then_some(main));
                    std::thread::sleep(KILL_AGAIN);
                }
                Reaped::Nobody => return status,
            }
        }
    }

    fn look(&mut self) -> Option<Limit> {
        self.look_at_disk();
        let usage = self.processes.usage(self.limits.processes);
        if usage.memory_bytes > self.limits.memory_bytes {
            return Some(Limit::Memory);
        }
        (usage.processes >= self.limits.processes).then_some(Limit::Processes)
    }

    fn look_at_disk(&mut self) {
        let Some(scratch) = &self.place.scratch else { return };
        if let Ok(stat) = rustix::fs::fstatfs(scratch) {
            let full = stat.f_bfree <= stat.f_blocks / DISK_FULL_SHARE || stat.f_ffree == 0;
            self.disk_full |= full;
        }
    }

    fn judge(&self, status: Option<Reaped>, met: Option<Limit>, streams: &Streams) -> (Ending, Option<Limit>) {
        if let Some(limit) = met {
            return (Ending::LimitMet(limit), None);
        }
        let ending = match status {
            Some(Reaped::Exited(_, 0)) => return (Ending::Exited(0), None),
            Some(Reaped::Exited(_, code)) => Ending::Exited(code),
            Some(Reaped::Signalled(_, libc::SIGSYS)) => Ending::LimitMet(Limit::SystemCall),
            Some(Reaped::Signalled(_, libc::SIGXFSZ)) => Ending::LimitMet(Limit::FileSize),
            Some(Reaped::Signalled(_, signal)) => Ending::Signalled(signal),
            Some(Reaped::Pending | Reaped::Nobody) | None => Ending::Signalled(libc::SIGKILL),
        };
        if matches!(ending, Ending::LimitMet(_)) {
            return (ending, None);
        }
        if self.group.out_of_memory() {
            return (Ending::LimitMet(Limit::Memory), None);
        }
        if self.group.out_of_processes() {
            return (Ending::LimitMet(Limit::Processes), None);
        }
        if self.disk_full {
            return (Ending::LimitMet(Limit::Disk), None);
        }
        (ending, limit_named_in(&streams.read[1].bytes).or_else(|| limit_named_in(&streams.read[0].bytes)))
    }
}

/// What the C library and gcc say when the machine, not the source, is at fault. Only these texts: a suspicion costs a second run,
/// a wrong verdict a broken build.
const NAMES: [(&[u8], Limit); 9] = [
    (b"No space left on device", Limit::Disk),
    (b"Disk quota exceeded", Limit::Disk),
    (b"Cannot allocate memory", Limit::Memory),
    (b"virtual memory exhausted", Limit::Memory),
    (b"out of memory", Limit::Memory),
    (b"std::bad_alloc", Limit::Memory),
    (b"Resource temporarily unavailable", Limit::Processes),
    (b"File size limit exceeded", Limit::FileSize),
    (b"Too many open files", Limit::OpenFiles),
];

/// How much of the end of a stream is searched.
const SEARCHED_BYTES: usize = 16 << 10;

fn limit_named_in(bytes: &[u8]) -> Option<Limit> {
    let tail = &bytes[bytes.len().saturating_sub(SEARCHED_BYTES)..];
    let holds = |name: &[u8]| tail.windows(name.len()).any(|window| window == name);
    NAMES.iter().find(|(name, _)| holds(name)).map(|(_, limit)| *limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_read_from_the_messages() {
        let text = b"as: BFD (GNU Binutils) 2.40 assertion\n/tmp/ccx.s: Fatal error: can't write: No space left on device\n";
        assert_eq!(limit_named_in(text), Some(Limit::Disk));
        assert_eq!(limit_named_in(b"cc1: fatal error: virtual memory exhausted: yes"), Some(Limit::Memory));
        assert_eq!(limit_named_in(b"x.c:1:1: error: unknown type name 'y'"), None);
        assert_eq!(limit_named_in(b""), None);
    }
}
