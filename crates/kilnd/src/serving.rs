//! From settings to what services listen with and dial with: TLS, credentials, listeners. Knows no service.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use anyhow::bail;
use kiln_rpc::Address;
use kiln_rpc::ClientTls;
use kiln_rpc::Credentials;
use kiln_rpc::Dial;
use kiln_rpc::Listener;
use kiln_rpc::Role;
use kiln_rpc::ServerTls;
use kiln_rpc::Token;

use crate::config::Settings;

/// What all listeners of this process share.
#[derive(Debug, Clone)]
pub(crate) struct Serving {
    /// Tokens accepted.
    pub(crate) credentials: Arc<Credentials>,
    /// TLS of TCP listeners.
    pub(crate) tls: Option<Arc<ServerTls>>,
    insecure: bool,
}

/// The file of tokens that loopback listeners make where none is configured.
pub(crate) fn loopback_file(settings: &Settings) -> PathBuf {
    settings.state.join("loopback-credentials")
}

impl Serving {
    /// Reads certificates and credentials for listeners at `addresses`. Where no credential is configured and all of them
    /// are on this machine, one is made.
    ///
    /// # Errors
    /// A file is wrong; a listener that others reach could be called by nobody.
    pub(crate) fn prepare(settings: &Settings, addresses: &[Address], make: bool) -> anyhow::Result<Serving> {
        let files = &settings.tls.files;
        let tls = match (&files.cert, &files.key) {
            (None, None) => None,
            _ => Some(Arc::new(ServerTls::from_files(files).context("[tls]")?)),
        };
        let far = addresses.iter().find(|address| !address.is_local());
        let tcp = addresses.iter().any(|address| matches!(address, Address::Tcp { .. }));
        if let Some(far) = far
            && tls.is_none()
            && !settings.tls.insecure
        {
            return Err(kiln_rpc::ListenError::NoTls(far.clone()).into());
        }
        let mutual = tls.is_some() && files.ca.is_some();
        let credentials = match (&settings.auth.credentials, far) {
            (Some(path), _) => Credentials::from_file(path).context("[auth] credentials")?,
            (None, None) if tcp && make => {
                std::fs::create_dir_all(&settings.state).with_context(|| settings.state.display().to_string())?;
                Credentials::ensure(&loopback_file(settings))?
            }
            (None, Some(far)) if !mutual => bail!(
                "{far}: nobody could call: name a file of tokens ([auth] credentials; kilnd token new makes one), or a CA ([tls] ca)"
            ),
            (None, _) => Credentials::none(),
        };
        Ok(Serving { credentials: Arc::new(credentials), tls, insecure: settings.tls.insecure })
    }

    /// Listens everywhere.
    ///
    /// # Errors
    /// The first address at which it cannot.
    pub(crate) async fn listen(&self, addresses: &[Address]) -> anyhow::Result<Vec<Listener>> {
        let mut listeners = Vec::with_capacity(addresses.len());
        for address in addresses {
            listeners.push(Listener::bind(address, self.tls.clone(), self.insecure).await?);
        }
        Ok(listeners)
    }

    /// Reads tokens and certificates again; what is wrong is logged, and the old ones stay.
    pub(crate) fn reload(&self) {
        match self.credentials.reload() {
            Ok(()) => tracing::info!("credentials re-read"),
            Err(error) => tracing::warn!("credentials kept as they were: {error}"),
        }
        if let Some(Err(error)) = self.tls.as_ref().map(|tls| tls.reload()) {
            tracing::warn!("certificates kept as they were: {error}");
        }
    }
}

/// How this process reaches schedulers and caches, as `role`.
///
/// # Errors
/// A file is wrong.
pub(crate) fn dial(settings: &Settings, role: Role) -> anyhow::Result<Dial> {
    let plain = dial_without_token(settings)?;
    let token = match &settings.auth.token_file {
        Some(path) => Some(Token::from_file(path, role).context("[auth] token_file")?),
        None => loopback_token(settings, role)?,
    };
    Ok(Dial { token, tls_name: settings.tls.name.clone(), ..plain })
}

/// How this process reaches workers: they are shown no token.
///
/// # Errors
/// A file is wrong.
pub(crate) fn dial_without_token(settings: &Settings) -> anyhow::Result<Dial> {
    let tls = match settings.tls.files.ca {
        None => ClientTls::plain(),
        Some(_) => ClientTls::from_files(&settings.tls.files).context("[tls]")?,
    };
    Ok(Dial { tls, token: None, tls_name: None, insecure: settings.tls.insecure })
}

/// How a scheduler at `listen` reaches the caches that its farm has: as a user, for it writes no results of workers.
///
/// # Errors
/// A file is wrong.
pub(crate) fn dial_caches(settings: &Settings, listen: &[Address]) -> anyhow::Result<Dial> {
    let dial = dial(settings, Role::User).or_else(|error| dial(settings, Role::Worker).map_err(|_| error))?;
    let made = loopback_file(settings);
    // A farm of one machine whose caches are only known once they register.
    let token = match dial.token {
        None if listen.iter().all(Address::is_local) && made.exists() => Some(Token::from_file(&made, Role::User)?),
        token => token,
    };
    Ok(Dial { token, ..dial })
}

/// The token of services on this machine, if all that is dialled is here and they have made one.
fn loopback_token(settings: &Settings, role: Role) -> anyhow::Result<Option<Token>> {
    let dialled = settings.farm.schedulers.iter().chain(&settings.farm.caches);
    let path = loopback_file(settings);
    let tcp = dialled.clone().any(|address| matches!(address, Address::Tcp { .. }));
    if !tcp || !dialled.clone().all(Address::is_local) || !path.exists() {
        return Ok(None);
    }
    Ok(Some(Token::from_file(&path, role)?))
}
