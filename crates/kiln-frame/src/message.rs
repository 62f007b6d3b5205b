//! What the wrapper says: hello and request. Pure bytes to values; knows no socket and judges no command.

use crate::Frame;
use crate::FrameError;
use crate::View;
use crate::frame;
use crate::frame::kind;
use crate::limits::PROTOCOL_VERSION;
use crate::wire::Reader;
use crate::wire::put_bytes;
use crate::wire::put_list;
use crate::wire::put_option;
use crate::wire::put_u8;
use crate::wire::put_u16;
use crate::wire::put_u32;

/// First frame of every conversation but a drain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The sender's protocol version; its place in the body never changes.
    pub version: u32,
    /// What the sender sees.
    pub view: View,
}

/// The terminal that the compiler's messages would go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terminal {
    /// Width in characters; 0 where the terminal does not say.
    pub columns: u16,
    /// Height in lines; 0 where the terminal does not say.
    pub rows: u16,
}

/// One compiler command line as the build gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compile {
    /// Absolute path of the real compiler: what argv[0] will be, wherever it runs.
    pub compiler: Vec<u8>,
    /// The arguments after argv[0], untouched.
    pub args: Vec<Vec<u8>>,
    /// Working directory as the kernel names it (`getcwd`); the user's spelling, if any, is `PWD` in `env`.
    pub cwd: Vec<u8>,
    /// `NAME=VALUE` strings in order, masquerade directory already taken out of `PATH`.
    pub env: Vec<Vec<u8>>,
    /// Set where stderr is a terminal.
    pub terminal: Option<Terminal>,
    /// Token of a slot that some process above seems to hold, where the wrapper could not tell by itself.
    pub under_slot: Option<Vec<u8>>,
    /// Wrappers above this one (`KILN_DEPTH`).
    pub depth: u32,
    /// Index of a descriptor (a sealed memory file, read from offset 0) with all of stdin, where the command reads it.
    pub stdin: Option<u16>,
}

/// A local slot for a command that the wrapper will run by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Whether the command may take a core and much memory (link, local compile), or little (a probe, a generator).
    pub heavy: bool,
    /// Stable reason code for the statistics (`link`, `local`, ...).
    pub reason: String,
    /// The command, for display; its first item is a path.
    pub command: Vec<Vec<u8>>,
    /// As in [`Compile::under_slot`].
    pub under_slot: Option<Vec<u8>>,
}

/// A question or order to the daemon itself, answered by JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// `stats`, `status`, `explain`, `drain`, ...
    pub name: String,
    /// Its arguments.
    pub args: Vec<Vec<u8>>,
}

/// What the wrapper wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Compile, or say that it must run here.
    Compile(Box<Compile>),
    /// Grant a local slot.
    Slot(Slot),
    /// Answer a question.
    Control(Control),
}

impl Hello {
    /// A hello of this version for this process. Only for a process with one thread, see [`View::current`].
    pub fn current() -> Hello {
        Hello { version: PROTOCOL_VERSION, view: View::current() }
    }

    /// Appends the frame to `out`.
    ///
    /// # Errors
    /// [`FrameError::TooLarge`].
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), FrameError> {
        frame::encode(out, kind::HELLO, 0, |out| {
            put_u32(out, self.version);
            self.view.put(out);
        })
    }

    /// Reads a hello of this version.
    ///
    /// # Errors
    /// Another kind of frame, another version ([`FrameError::BadValue`]), a malformed body.
    pub fn from_frame(frame: &Frame) -> Result<Hello, FrameError> {
        if frame.kind != kind::HELLO {
            return Err(FrameError::UnexpectedKind(frame.kind));
        }
        let mut body = Reader::new(&frame.body);
        let version = body.u32()?;
        if version != PROTOCOL_VERSION {
            return Err(FrameError::BadValue("protocol version"));
        }
        let hello = Hello { version, view: View::get(&mut body)? };
        body.finish()?;
        Ok(hello)
    }
}

impl Request {
    /// Appends the frame to `out`; `fds` descriptors will be sent with it.
    ///
    /// # Errors
    /// [`FrameError::TooLarge`], [`FrameError::TooManyDescriptors`].
    pub fn encode(&self, out: &mut Vec<u8>, fds: usize) -> Result<(), FrameError> {
        match self {
            Request::Compile(compile) => frame::encode(out, kind::COMPILE, fds, |out| compile.put(out)),
            Request::Slot(slot) => frame::encode(out, kind::SLOT, fds, |out| {
                put_u8(out, slot.heavy.into());
                put_bytes(out, slot.reason.as_bytes());
                put_strings(out, &slot.command);
                put_option(out, slot.under_slot.as_ref(), |out, token| put_bytes(out, token));
            }),
            Request::Control(control) => frame::encode(out, kind::CONTROL, fds, |out| {
                put_bytes(out, control.name.as_bytes());
                put_strings(out, &control.args);
            }),
        }
    }

    /// Reads a request; indices into `frame.fds` are checked.
    ///
    /// # Errors
    /// Another kind of frame, a malformed body.
    pub fn from_frame(frame: &Frame) -> Result<Request, FrameError> {
        let mut body = Reader::new(&frame.body);
        let request = match frame.kind {
            kind::COMPILE => Request::Compile(Box::new(Compile::get(&mut body, frame.fds.len())?)),
            kind::SLOT => Request::Slot(Slot {
                heavy: body.bool("slot weight")?,
                reason: body.text("reason")?,
                command: strings(&mut body, "command")?,
                under_slot: body.option("slot token", |body| body.c_bytes("slot token"))?,
            }),
            kind::CONTROL => {
                Request::Control(Control { name: body.text("control name")?, args: strings(&mut body, "control argument")? })
            }
            other => return Err(FrameError::UnexpectedKind(other)),
        };
        body.finish()?;
        Ok(request)
    }
}

impl Compile {
    fn put(&self, out: &mut Vec<u8>) {
        put_bytes(out, &self.compiler);
        put_strings(out, &self.args);
        put_bytes(out, &self.cwd);
        put_strings(out, &self.env);
        put_option(out, self.terminal.as_ref(), |out, terminal| {
            put_u16(out, terminal.columns);
            put_u16(out, terminal.rows);
        });
        put_option(out, self.under_slot.as_ref(), |out, token| put_bytes(out, token));
        put_u32(out, self.depth);
        put_option(out, self.stdin.as_ref(), |out, index| put_u16(out, *index));
    }

    fn get(body: &mut Reader<'_>, fds: usize) -> Result<Compile, FrameError> {
        Ok(Compile {
            compiler: absolute(body, "compiler path")?,
            args: strings(body, "argument")?,
            cwd: absolute(body, "working directory")?,
            env: strings(body, "variable")?,
            terminal: body.option("terminal", |body| Ok(Terminal { columns: body.u16()?, rows: body.u16()? }))?,
            under_slot: body.option("slot token", |body| body.c_bytes("slot token"))?,
            depth: body.u32()?,
            stdin: body.option("stdin", |body| fd_index(body, fds))?,
        })
    }
}

fn put_strings(out: &mut Vec<u8>, strings: &[Vec<u8>]) {
    put_list(out, strings, |out, string| put_bytes(out, string));
}

fn strings(body: &mut Reader<'_>, what: &'static str) -> Result<Vec<Vec<u8>>, FrameError> {
    body.list(4, |body| body.c_bytes(what))
}

fn absolute(body: &mut Reader<'_>, what: &'static str) -> Result<Vec<u8>, FrameError> {
    let path = body.c_bytes(what)?;
    if path.first() == Some(&b'/') { Ok(path) } else { Err(FrameError::BadValue(what)) }
}

/// An index of one of `fds` descriptors.
pub(crate) fn fd_index(body: &mut Reader<'_>, fds: usize) -> Result<u16, FrameError> {
    let index = body.u16()?;
    if usize::from(index) < fds { Ok(index) } else { Err(FrameError::BadValue("descriptor index")) }
}
