//! All services and the heavy commands of kiln.
fn main() {}
