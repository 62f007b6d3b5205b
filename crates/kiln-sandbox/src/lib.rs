//! Lays out an input root, runs one job in it without privileges, and collects its outputs.
