//! Who makes a request, as the server layer found out. Knows no credential.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use tonic::Request;
use tonic::Status;

/// What a caller may do. Roles are not nested: an admin's token writes no results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Compiles: asks for grants, reads and uploads blobs.
    User,
    /// Runs jobs: registers, writes results.
    Worker,
    /// Looks and steers: status, metrics, drain.
    Admin,
    /// The same user on the same host, over a Unix socket: may do what any role may.
    Local,
    /// The bearer of something the service itself signed or checked (a grant); [`require`] lets it pass only where named.
    Granted,
}

impl Role {
    /// As written in a credentials file and in a certificate's OU.
    pub fn name(self) -> &'static str {
        match self {
            Role::User => "user",
            Role::Worker => "worker",
            Role::Admin => "admin",
            Role::Local => "local",
            Role::Granted => "granted",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = String;

    /// The roles that a credential can carry: `user`, `worker`, `admin`.
    fn from_str(text: &str) -> Result<Role, String> {
        match text {
            "user" => Ok(Role::User),
            "worker" => Ok(Role::Worker),
            "admin" => Ok(Role::Admin),
            other => Err(format!("unknown role `{other}`; it is user, worker or admin")),
        }
    }
}

/// The other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// Over TCP.
    Tcp {
        /// Its address.
        address: SocketAddr,
        /// Whether the connection is encrypted.
        tls: bool,
    },
    /// Over a Unix socket.
    Unix {
        /// Its user.
        uid: u32,
        /// Its process, where the kernel tells.
        pid: Option<i32>,
    },
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Tcp { address, .. } => write!(f, "{address}"),
            Peer::Unix { uid, pid: Some(pid) } => write!(f, "unix uid {uid} pid {pid}"),
            Peer::Unix { uid, pid: None } => write!(f, "unix uid {uid}"),
        }
    }
}

/// Who makes a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The credential's name: of the token's line, the certificate's CN, `uid:N` over a Unix socket.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Where it comes from.
    pub via: Peer,
}

/// The caller of a request that came through [`serve`](crate::serve).
///
/// # Errors
/// `INTERNAL` for a request that did not: such a request has no rights.
pub fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    request.extensions().get::<Caller>().cloned().ok_or_else(|| Status::internal("request without a caller"))
}

/// The caller, if it has one of `roles` or is [`Role::Local`].
///
/// # Errors
/// `PERMISSION_DENIED` naming the roles that would do.
pub fn require<T>(request: &Request<T>, roles: &[Role]) -> Result<Caller, Status> {
    let caller = caller(request)?;
    if caller.role == Role::Local || roles.contains(&caller.role) {
        return Ok(caller);
    }
    let wanted: Vec<&str> = roles.iter().map(|role| role.name()).collect();
    Err(Status::permission_denied(format!("`{}` has role {}; this needs {}", caller.name, caller.role, wanted.join(" or "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(role: Role) -> Request<()> {
        let mut request = Request::new(());
        let via = Peer::Unix { uid: 1, pid: None };
        request.extensions_mut().insert(Caller { name: "n".into(), role, via });
        request
    }

    #[test]
    fn a_role_reaches_what_names_it_and_nothing_else() {
        for role in [Role::User, Role::Worker, Role::Admin, Role::Granted] {
            assert!(require(&request(role), &[role]).is_ok());
            let others: Vec<Role> =
                [Role::User, Role::Worker, Role::Admin, Role::Granted].into_iter().filter(|other| *other != role).collect();
            let refusal = require(&request(role), &others).unwrap_err();
            assert_eq!(refusal.code(), tonic::Code::PermissionDenied);
        }
        assert!(require(&request(Role::Local), &[Role::Worker]).is_ok());
    }

    #[test]
    fn a_request_that_came_past_the_server_has_no_rights() {
        assert_eq!(require(&Request::new(()), &[Role::User]).unwrap_err().code(), tonic::Code::Internal);
    }

    #[test]
    fn no_credential_can_name_the_roles_of_the_machine() {
        for role in ["local", "granted", "", "User"] {
            assert!(role.parse::<Role>().is_err(), "{role}");
        }
    }
}
