//! Listeners and channels of every service: addresses, TLS, credentials, limits, metrics. Knows no service's messages.
//!
//! A service builds [`tonic::service::Routes`], binds [`Listener`]s and calls [`serve`]; every request that reaches it
//! carries a [`Caller`] ([`caller`], [`require`]). A client calls [`connect`] or asks a [`Pool`].
//!
//! Who may call (each listener needs a credential, but a Unix socket in a directory of mode 0700):
//! 1. a bearer token of the [`Credentials`] file, with its role;
//! 2. a client certificate that chains to the configured CA, its OU naming the role and its CN the caller;
//! 3. the same user (or root) over a Unix socket: [`Role::Local`];
//! 4. whatever the service's own [`Extra`] check accepts (a worker: grants): [`Role::Granted`].

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod address;
mod auth;
mod caller;
pub mod cert;
mod client;
mod connection;
mod credentials;
mod denials;
mod limiter;
pub mod limits;
mod listen;
pub mod metrics;
mod networks;
mod pool;
mod rest;
mod serve;
mod tls;
mod token;

pub use address::Address;
pub use address::AddressError;
pub use auth::Auth;
pub use auth::Extra;
pub use caller::Caller;
pub use caller::Peer;
pub use caller::Role;
pub use caller::caller;
pub use caller::require;
pub use client::Channel;
pub use client::Dial;
pub use client::DialError;
pub use client::connect;
pub use client::retry_after;
pub use credentials::Credentials;
pub use credentials::CredentialsError;
pub use denials::Denial;
pub use denials::Denials;
pub use listen::ListenError;
pub use listen::Listener;
pub use networks::Network;
pub use networks::NetworkError;
pub use pool::Pool;
pub use rest::Resting;
pub use serve::Drained;
pub use serve::ServeOptions;
pub use serve::serve;
pub use tls::ClientTls;
pub use tls::ServerTls;
pub use tls::TlsError;
pub use tls::TlsFiles;
pub use token::Token;
pub use token::TokenError;
