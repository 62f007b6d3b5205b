//! The program `kiln`: hands its command line to the library. Knows nothing else.
//!
//! `main` is the C one: the standard library's own start reads /proc and changes signal dispositions, which costs more
//! than the rest of the way to the daemon, and the compiler must inherit exactly what this process got. A panic cannot
//! leave `main` and aborts.

#![no_main]

use std::ffi::c_char;
use std::ffi::c_int;

#[unsafe(no_mangle)]
extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
    // SAFETY: these are `main`'s own arguments, and nothing changes their strings.
    let args = unsafe { kiln_frame::sys::arguments(argc, argv) };
    kiln::kiln(&args)
}
