//! The compiler wrapper and thin command line.
fn main() {}
