//! Every bound of the protocol, with its arithmetic. Knows no other module.

use std::time::Duration;

/// Version of the messages. Part of the socket's name, so two versions never meet by accident.
pub const PROTOCOL_VERSION: u32 = 2;

/// Largest body of one frame, in bytes.
///
/// Linux lets arguments and environment together be at most 6 MiB (three quarters of its 8 MiB default stack), counting a
/// pointer and a NUL for each string; here a string costs four bytes, so the same strings take less. Besides: at most
/// 65,536 groups of 4 bytes (256 KiB), a working directory and a compiler path of 4 KiB each, and some fixed fields.
/// 6 MiB + 256 KiB + 8 KiB is under 8 MiB. Replies stay below by [`INLINE_TOTAL_MAX`].
pub const FRAME_BODY_MAX: usize = 8 << 20;

/// Most descriptors with one frame. The kernel's own limit is 253 a message (`SCM_MAX_FD`); a result packs its many small
/// files inline or as parts of one descriptor, and a compile has fewer than 20 big ones (object, `.dwo`, temporaries).
pub const FRAME_FDS_MAX: usize = 64;

/// Most output files in one result. `-fdump-tree-all -fdump-rtl-all` writes about 350; eight times that and some room.
pub const OUTPUTS_MAX: usize = 4096;

/// Data up to this many bytes should travel inline: below it a copy through the socket is cheaper than a descriptor
/// (one `open`, one `sendmsg` slot, one `copy_file_range` and one `close`, together about the cost of copying 64 KiB).
pub const INLINE_MAX: usize = 64 << 10;

/// All inline data of one reply together, in bytes: leaves half of a frame for paths (4096 outputs of 1 KiB).
pub const INLINE_TOTAL_MAX: usize = 4 << 20;

/// The daemon sends [`Reply::Wait`](crate::Reply::Wait) at least this often while a request is open.
pub const KEEPALIVE: Duration = Duration::from_secs(1);

/// A wrapper that hears nothing for this long runs its compiler itself: three keepalives.
pub const SILENCE: Duration = Duration::from_secs(3);

/// A silent daemon is not given up, up to this long, while one of its threads wants a processor and gets none: more compilers than
/// processors would become more still. A thousand of them on one give each its turn of some 3 ms within 3 s; twenty such rounds.
pub const STARVED_MAX: Duration = Duration::from_secs(60);

/// A socket's path, without its NUL: `sun_path` has 108 bytes.
pub const SOCKET_PATH_MAX: usize = 107;

/// Deepest nesting of wrappers below wrappers before each runs its compiler plainly. Real nesting is a compiler that is a
/// script calling another (2), behind another cache's link (3), from a generator under `kiln local` (4); twice that.
pub const DEPTH_MAX: u32 = 8;
