//! Include scanning over a FileView: every lookup a translation unit can make, and its outcome. No I/O of its own.
