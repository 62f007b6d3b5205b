//! What the daemon answers. Pure bytes to values; knows no socket and no file.

use crate::Frame;
use crate::FrameError;
use crate::frame;
use crate::frame::kind;
use crate::limits::INLINE_TOTAL_MAX;
use crate::limits::OUTPUTS_MAX;
use crate::message::fd_index;
use crate::wire::Reader;
use crate::wire::put_bytes;
use crate::wire::put_list;
use crate::wire::put_option;
use crate::wire::put_u8;
use crate::wire::put_u16;
use crate::wire::put_u64;

/// Bytes of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// In the frame itself.
    Inline(Vec<u8>),
    /// `len` bytes from `offset` of descriptor `index`. Read with explicit offsets: the file position is shared. Several
    /// pieces may lie in one descriptor. The bytes are complete, verified and never change afterwards.
    Fd {
        /// Which of the frame's descriptors.
        index: u16,
        /// Where the bytes begin.
        offset: u64,
        /// How many there are.
        len: u64,
    },
}

/// How the compiler ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Exit code.
    Exit(u8),
    /// Killed by this signal.
    Signal(u8),
}

/// One file the compile made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputFile {
    /// Absolute, or relative to the request's working directory, as the compiler would open it.
    pub path: Vec<u8>,
    /// Whether the compiler made it executable.
    pub executable: bool,
    /// Whether it is what the command is for: an object or assembly, which the compilers write in another manner than the rest.
    pub is_main: bool,
    /// Its content.
    pub data: Data,
}

/// A finished compile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// How the compiler ended.
    pub ending: Ending,
    /// What it wrote to stdout.
    pub stdout: Data,
    /// What it wrote to stderr.
    pub stderr: Data,
    /// Files to commit, in this order: of each source the side files first, the object last.
    pub outputs: Vec<OutputFile>,
    /// Files that the compiler would have removed (an output of a failed compile), removed before anything is written.
    pub removed: Vec<Vec<u8>>,
    /// One line for the user, printed after `kiln: `.
    pub warning: Option<String>,
}

/// Reason of a [`RunLocally`] for a command that is no compiler kiln knows. The wrapper keeps kiln in the PATH of a script that stands
/// in for one.
pub const NOT_A_COMPILER: &str = "not-a-compiler";

/// The wrapper runs the compiler itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunLocally {
    /// Stable reason code.
    pub reason: String,
    /// Name of the slot that the asking process holds until it ends. The daemon watches it by a pidfd, so `exec` keeps the
    /// slot, and no descriptor is inherited. It goes into the environment as `KILN_SLOT`. `None`: no slot is needed.
    pub token: Option<Vec<u8>>,
    /// One line for the user, printed after `kiln: `.
    pub warning: Option<String>,
    /// Set where parts of the command ran elsewhere: what is left of it.
    pub rest: Option<Rest>,
}

/// The link of a command that compiles and links, its objects made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rest {
    /// The arguments after argv\[0\], in place of the command's own.
    pub args: Vec<Vec<u8>>,
    /// What the compiles wrote to stdout.
    pub stdout: Vec<u8>,
    /// What they wrote to stderr.
    pub stderr: Vec<u8>,
}

/// What the daemon says to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Still at it.
    Wait,
    /// Run it yourself.
    RunLocally(RunLocally),
    /// Here is the result.
    Done(Box<Done>),
    /// Answer to [`Request::Control`](crate::Request::Control), JSON text.
    Answer(String),
    /// This daemon does not serve this request (other view, malformed, draining): as if there were no daemon.
    Refuse(String),
    /// `fallback = fail`: the farm let the unit down and the user wants to know. Printed; the wrapper exits with 125.
    Fail(String),
}

impl Data {
    /// How many bytes these are.
    pub fn len(&self) -> u64 {
        match self {
            Data::Inline(bytes) => bytes.len() as u64,
            Data::Fd { len, .. } => *len,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Data::Inline(bytes) => {
                put_u8(out, 0);
                put_bytes(out, bytes);
            }
            Data::Fd { index, offset, len } => {
                put_u8(out, 1);
                put_u16(out, *index);
                put_u64(out, *offset);
                put_u64(out, *len);
            }
        }
    }

    fn get(body: &mut Reader<'_>, fds: usize) -> Result<Data, FrameError> {
        if !body.bool("data form")? {
            return Ok(Data::Inline(body.bytes()?));
        }
        let (index, offset, len) = (fd_index(body, fds)?, body.u64()?, body.u64()?);
        // File offsets are signed.
        if offset.checked_add(len).is_none_or(|end| end > i64::MAX as u64) {
            return Err(FrameError::BadValue("data range"));
        }
        Ok(Data::Fd { index, offset, len })
    }
}

impl Done {
    fn put(&self, out: &mut Vec<u8>) {
        let (form, number) = match self.ending {
            Ending::Exit(code) => (0, code),
            Ending::Signal(signal) => (1, signal),
        };
        put_u8(out, form);
        put_u8(out, number);
        self.stdout.put(out);
        self.stderr.put(out);
        put_list(out, &self.outputs, |out, file| {
            put_bytes(out, &file.path);
            put_u8(out, file.executable.into());
            put_u8(out, file.is_main.into());
            file.data.put(out);
        });
        put_list(out, &self.removed, |out, path| put_bytes(out, path));
        put_option(out, self.warning.as_ref(), |out, text| put_bytes(out, text.as_bytes()));
    }

    fn get(body: &mut Reader<'_>, fds: usize) -> Result<Done, FrameError> {
        let by_signal = body.bool("ending")?;
        let number = body.u8()?;
        let ending = match by_signal {
            false => Ending::Exit(number),
            // Linux has signals 1 to 64.
            true if (1..=64).contains(&number) => Ending::Signal(number),
            true => return Err(FrameError::BadValue("signal")),
        };
        let done = Done {
            ending,
            stdout: Data::get(body, fds)?,
            stderr: Data::get(body, fds)?,
            outputs: body.list(11, |body| {
                Ok(OutputFile {
                    path: output_path(body)?,
                    executable: body.bool("output mode")?,
                    is_main: body.bool("output role")?,
                    data: Data::get(body, fds)?,
                })
            })?,
            removed: body.list(4, output_path)?,
            warning: body.option("warning", |body| body.text("warning"))?,
        };
        if done.outputs.len() > OUTPUTS_MAX || done.removed.len() > OUTPUTS_MAX {
            return Err(FrameError::BadValue("number of outputs"));
        }
        if done.inline_len() > INLINE_TOTAL_MAX {
            return Err(FrameError::BadValue("amount of inline data"));
        }
        Ok(done)
    }

    /// Bytes of inline data in all pieces; at most [`INLINE_TOTAL_MAX`] may be sent.
    pub fn inline_len(&self) -> usize {
        let files = self.outputs.iter().map(|file| &file.data);
        files
            .chain([&self.stdout, &self.stderr])
            .map(|data| match data {
                Data::Inline(bytes) => bytes.len(),
                Data::Fd { .. } => 0,
            })
            .sum()
    }
}

impl Rest {
    fn put(&self, out: &mut Vec<u8>) {
        put_list(out, &self.args, |out, arg| put_bytes(out, arg));
        put_bytes(out, &self.stdout);
        put_bytes(out, &self.stderr);
    }

    fn get(body: &mut Reader<'_>) -> Result<Rest, FrameError> {
        Ok(Rest { args: body.list(4, |body| body.c_bytes("argument"))?, stdout: body.bytes()?, stderr: body.bytes()? })
    }
}

impl Reply {
    /// Appends the frame to `out`; `fds` descriptors will be sent with it.
    ///
    /// # Errors
    /// [`FrameError::TooLarge`], [`FrameError::TooManyDescriptors`].
    pub fn encode(&self, out: &mut Vec<u8>, fds: usize) -> Result<(), FrameError> {
        match self {
            Reply::Wait => frame::encode(out, kind::WAIT, fds, |_| {}),
            Reply::RunLocally(run) => frame::encode(out, kind::RUN_LOCALLY, fds, |out| {
                put_bytes(out, run.reason.as_bytes());
                put_option(out, run.token.as_ref(), |out, token| put_bytes(out, token));
                put_option(out, run.warning.as_ref(), |out, text| put_bytes(out, text.as_bytes()));
                put_option(out, run.rest.as_ref(), |out, rest| rest.put(out));
            }),
            Reply::Done(done) => frame::encode(out, kind::DONE, fds, |out| done.put(out)),
            Reply::Answer(json) => frame::encode(out, kind::ANSWER, fds, |out| put_bytes(out, json.as_bytes())),
            Reply::Refuse(text) => frame::encode(out, kind::REFUSE, fds, |out| put_bytes(out, text.as_bytes())),
            Reply::Fail(text) => frame::encode(out, kind::FAIL, fds, |out| put_bytes(out, text.as_bytes())),
        }
    }

    /// Reads a reply; indices into `frame.fds` are checked.
    ///
    /// # Errors
    /// Another kind of frame, a malformed body.
    pub fn from_frame(frame: &Frame) -> Result<Reply, FrameError> {
        let mut body = Reader::new(&frame.body);
        let reply = match frame.kind {
            kind::WAIT => Reply::Wait,
            kind::RUN_LOCALLY => Reply::RunLocally(RunLocally {
                reason: body.text("reason")?,
                token: body.option("slot token", |body| body.c_bytes("slot token"))?,
                warning: body.option("warning", |body| body.text("warning"))?,
                rest: body.option("rest", Rest::get)?,
            }),
            kind::DONE => Reply::Done(Box::new(Done::get(&mut body, frame.fds.len())?)),
            kind::ANSWER => Reply::Answer(body.text("answer")?),
            kind::REFUSE => Reply::Refuse(body.text("refusal")?),
            kind::FAIL => Reply::Fail(body.text("failure")?),
            other => return Err(FrameError::UnexpectedKind(other)),
        };
        body.finish()?;
        Ok(reply)
    }
}

/// A path that can be opened: not empty, no NUL.
fn output_path(body: &mut Reader<'_>) -> Result<Vec<u8>, FrameError> {
    let path = body.c_bytes("output path")?;
    if path.is_empty() { Err(FrameError::BadValue("output path")) } else { Ok(path) }
}
