//! Where a service listens or is reached: `host:port`, `[v6]:port`, `unix:/path`. Knows no socket.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::Path;
use std::path::PathBuf;
use std::str::FromStr;

/// A place to listen at or to connect to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// A host (name, IPv4 or IPv6 address without brackets) and a port. Port 0 listens on a free one.
    Tcp {
        /// Name or literal.
        host: String,
        /// Port number.
        port: u16,
    },
    /// A Unix stream socket, by absolute path.
    Unix(PathBuf),
}

/// Why a text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// No `:port`.
    #[error("`{0}`: no port; write host:port, [v6]:port or unix:/path")]
    NoPort(String),
    /// The port is no number under 65,536.
    #[error("`{0}`: bad port")]
    BadPort(String),
    /// The host is empty or holds characters that no host name has.
    #[error("`{0}`: bad host")]
    BadHost(String),
    /// An IPv6 address must stand in brackets.
    #[error("`{0}`: an IPv6 address stands in brackets, as in [::1]:8980")]
    NoBrackets(String),
    /// The path is relative, or longer than a socket's name may be.
    #[error("`{0}`: a Unix socket is an absolute path of at most 107 bytes")]
    BadPath(String),
}

/// `sun_path` holds 108 bytes with its final zero.
const UNIX_PATH_MAX: usize = 107;

impl Address {
    /// A TCP address.
    pub fn tcp(host: impl Into<String>, port: u16) -> Address {
        Address::Tcp { host: host.into(), port }
    }

    /// The socket's path, of a Unix address.
    pub fn unix_path(&self) -> Option<&Path> {
        match self {
            Address::Unix(path) => Some(path),
            Address::Tcp { .. } => None,
        }
    }

    /// Whether bytes to this address cannot leave the machine: a Unix socket, `localhost`, 127.0.0.0/8 or ::1.
    pub fn is_local(&self) -> bool {
        match self {
            Address::Unix(_) => true,
            Address::Tcp { host, .. } => {
                host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
            }
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            // `unix:///path` is what gRPC's own naming writes.
            let path = path.strip_prefix("//").unwrap_or(path);
            if !path.starts_with('/') || path.len() > UNIX_PATH_MAX || path.contains('\0') {
                return Err(AddressError::BadPath(text.to_owned()));
            }
            return Ok(Address::Unix(PathBuf::from(path)));
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or_else(|| AddressError::BadHost(text.to_owned()))?;
                host.parse::<Ipv6Addr>().map_err(|_| AddressError::BadHost(text.to_owned()))?;
                (host, port.strip_prefix(':').ok_or_else(|| AddressError::NoPort(text.to_owned()))?)
            }
            None => {
                let (host, port) = text.rsplit_once(':').ok_or_else(|| AddressError::NoPort(text.to_owned()))?;
                if host.contains(':') {
                    return Err(AddressError::NoBrackets(text.to_owned()));
                }
                (host, port)
            }
        };
        let named = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if host.is_empty() || !(host.bytes().all(named) || host.contains(':')) {
            return Err(AddressError::BadHost(text.to_owned()));
        }
        if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(AddressError::BadPort(text.to_owned()));
        }
        let port = port.parse().map_err(|_| AddressError::BadPort(text.to_owned()))?;
        Ok(Address::Tcp { host: host.to_owned(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp { host, port } => write!(f, "{host}:{port}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn good(text: &str, expect: Address) {
        let address: Address = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(address, expect);
        assert_eq!(address.to_string().parse::<Address>(), Ok(expect), "{text} does not survive display");
    }

    #[track_caller]
    fn bad(text: &str, expect: fn(String) -> AddressError) {
        assert_eq!(text.parse::<Address>(), Err(expect(text.to_owned())));
    }

    #[test]
    fn addresses_of_every_form_are_read() {
        good("farm.example:8980", Address::tcp("farm.example", 8980));
        good("10.0.0.1:0", Address::tcp("10.0.0.1", 0));
        good("[::1]:8980", Address::tcp("::1", 8980));
        good("unix:/run/kiln/s.sock", Address::Unix("/run/kiln/s.sock".into()));
        good("unix:///run/kiln/s.sock", Address::Unix("/run/kiln/s.sock".into()));
    }

    #[test]
    fn what_is_no_address_says_why() {
        bad("farm", AddressError::NoPort);
        bad("", AddressError::NoPort);
        bad("[::1]", AddressError::NoPort);
        bad(":8980", AddressError::BadHost);
        bad("a b:1", AddressError::BadHost);
        bad("[nonsense]:1", AddressError::BadHost);
        bad("::1:8980", AddressError::NoBrackets);
        bad("farm:70000", AddressError::BadPort);
        bad("farm:+1", AddressError::BadPort);
        bad("unix:relative", AddressError::BadPath);
    }

    #[test]
    fn only_what_stays_on_the_machine_is_local() {
        for text in ["unix:/s", "localhost:1", "127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(text.parse::<Address>().unwrap().is_local(), "{text}");
        }
        for text in ["10.0.0.1:1", "0.0.0.0:1", "[::]:1", "localhost.example:1"] {
            assert!(!text.parse::<Address>().unwrap().is_local(), "{text}");
        }
    }
}
