//! The program `kiln` between real builds, real and fake compilers, and a daemon that answers as each test wants.

mod commit;
mod finding;
mod home;
mod permissions;
mod starting;
mod talking;
