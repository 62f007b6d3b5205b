//! Frames and descriptors between the wrapper and the daemon.
