//! The sandbox with real jobs. One binary, so that it can run itself once more as an ordinary user.

mod compile;
mod containment;
mod jobs;
mod layout;
mod rungs;
mod support;
mod unprivileged;
