//! Blobs and action results on disk and in memory, bounded, verified, crash-safe.
