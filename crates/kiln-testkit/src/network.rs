//! How the services of a test's farm reach each other, and what of the machine its workers see. Starts nothing.

/// How the services reach each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// Unix sockets in a directory of mode 700: no credentials.
    Unix,
    /// Loopback TCP on free ports, with tokens.
    Tcp,
    /// TCP with tokens between network namespaces that the test laid out: each role's is named as the role, the user's is
    /// `client`; their addresses are [`host_address`]'s. Workers see no compiler, no header and nothing below `HIDE`.
    Hosts,
}

/// Started as `bash -c HIDING bash PROGRAM ARGS` in a mount namespace of its own: covers what a worker must not need.
/// The program is an ordinary user's: the root of a user namespace of one user cannot become anybody else.
pub(crate) const HIDING: &str = r#"set -eu
for dir in /usr/include /usr/local/include /usr/lib/gcc /usr/lib/gcc-cross /usr/lib/llvm-* /usr/*-linux-gnu "$HIDE"; do
  if [ -d "$dir" ]; then mount -t tmpfs none "$dir"; fi
done
for file in /usr/bin/*gcc* /usr/bin/*g++* /usr/bin/*clang* /usr/bin/*-as /usr/bin/*-ld /usr/bin/as /usr/bin/ld /usr/bin/cc; do
  if [ -f "$file" ]; then mount --bind /dev/null "$(readlink -f "$file")"; fi
done
exec unshare --user --map-user=1000 --map-group=1000 "$@""#;

/// Address of a role, of `client`, or of the README's `box` and `desk`, where each has a host of its own: in 10.9.0.0/24.
#[must_use]
pub fn host_address(name: &str) -> String {
    let number = |prefix: &str| name.strip_prefix(prefix).and_then(|rest| rest.parse::<u8>().ok());
    let last = match name {
        "scheduler" => 1,
        "cache" => 2,
        "client" | "desk" => 3,
        "box" => 4,
        _ => number("scheduler").map_or_else(|| 10 + number("w").unwrap_or(0), |scheduler| 3 + scheduler),
    };
    format!("10.9.0.{last}")
}
