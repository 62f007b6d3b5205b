//! A server that tells who called, and a CA: what the tests of this folder share.

use kiln_proto::reapi;
use kiln_proto::reapi::capabilities_client::CapabilitiesClient;
use kiln_proto::reapi::capabilities_server::Capabilities;
use kiln_proto::reapi::capabilities_server::CapabilitiesServer;
use kiln_proto::semver::SemVer;
use kiln_rpc::Address;
use kiln_rpc::Auth;
use kiln_rpc::Channel;
use kiln_rpc::ClientTls;
use kiln_rpc::Credentials;
use kiln_rpc::Dial;
use kiln_rpc::Drained;
use kiln_rpc::Listener;
use kiln_rpc::Role;
use kiln_rpc::ServeOptions;
use kiln_rpc::ServerTls;
use kiln_rpc::TlsFiles;
use kiln_rpc::Token;
use kiln_rpc::cert;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::sync::oneshot;
use tonic::Code;
use tonic::Request;
use tonic::Response;
use tonic::Status;
use tonic::service::Routes;

pub(crate) const USER_TOKEN: &str = "user-token-0123456789";
pub(crate) const ADMIN_TOKEN: &str = "admin-token-0123456789";

/// Answers with the caller's name and role; an instance called `wait` is answered when told to.
#[derive(Clone, Default)]
pub(crate) struct WhoAmI {
    pub(crate) entered: Arc<Notify>,
    pub(crate) go: Arc<Notify>,
}

#[tonic::async_trait]
impl Capabilities for WhoAmI {
    async fn get_capabilities(
        &self,
        request: Request<reapi::GetCapabilitiesRequest>,
    ) -> Result<Response<reapi::ServerCapabilities>, Status> {
        let caller = kiln_rpc::caller(&request)?;
        if request.get_ref().instance_name == "wait" {
            self.entered.notify_one();
            self.go.notified().await;
        }
        let version = SemVer { prerelease: format!("{} {}", caller.name, caller.role), ..SemVer::default() };
        Ok(Response::new(reapi::ServerCapabilities { low_api_version: Some(version), ..Default::default() }))
    }
}

pub(crate) struct Served {
    pub(crate) address: Address,
    pub(crate) service: WhoAmI,
    pub(crate) registry: Arc<kiln_rpc::metrics::Registry>,
    pub(crate) stop: Option<oneshot::Sender<()>>,
    pub(crate) task: tokio::task::JoinHandle<Drained>,
}

impl Served {
    pub(crate) async fn start(address: &str, tls: Option<&TlsFiles>) -> Served {
        Served::with_drain(address, tls, Duration::from_secs(60)).await
    }

    pub(crate) async fn with_drain(address: &str, tls: Option<&TlsFiles>, drain_max: Duration) -> Served {
        Served::with(address, tls, |options| options.drain_max = drain_max).await
    }

    pub(crate) async fn with(address: &str, tls: Option<&TlsFiles>, change: impl FnOnce(&mut ServeOptions)) -> Served {
        let tls = tls.map(|files| Arc::new(ServerTls::from_files(files).unwrap()));
        let listener = Listener::bind(&address.parse().unwrap(), tls, false).await.unwrap();
        let token = |role, text: &str| (role, format!("{role}-1"), Token::new(text).unwrap());
        let credentials = Credentials::from_tokens([token(Role::User, USER_TOKEN), token(Role::Admin, ADMIN_TOKEN)]);
        let mut options = ServeOptions::new("test", Arc::new(Auth::new(Arc::new(credentials))));
        change(&mut options);
        let (service, registry, address) = (WhoAmI::default(), options.registry.clone(), listener.address().clone());
        let routes = Routes::new(CapabilitiesServer::new(service.clone()));
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(kiln_rpc::serve(vec![listener], routes, options, async move {
            let _ = stopped.await;
        }));
        Served { address, service, registry, stop: Some(stop), task }
    }

    pub(crate) fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    pub(crate) fn channel(&self, dial: &Dial) -> Channel {
        kiln_rpc::connect(&self.address, dial).unwrap()
    }

    pub(crate) async fn raw(&self) -> Box<dyn Raw> {
        match &self.address {
            Address::Tcp { host, port } => Box::new(TcpStream::connect((host.as_str(), *port)).await.unwrap()),
            Address::Unix(path) => Box::new(UnixStream::connect(path).await.unwrap()),
        }
    }
}

pub(crate) trait Raw: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send> Raw for T {}

pub(crate) fn token(text: &str) -> Dial {
    Dial { token: Some(Token::new(text).unwrap()), ..Dial::default() }
}

pub(crate) async fn who(channel: Channel) -> Result<String, Status> {
    ask(channel, "").await
}

pub(crate) async fn ask(channel: Channel, instance: &str) -> Result<String, Status> {
    let request = reapi::GetCapabilitiesRequest { instance_name: instance.to_owned() };
    let answer = CapabilitiesClient::new(channel).get_capabilities(request).await?;
    Ok(answer.into_inner().low_api_version.unwrap().prerelease)
}

#[track_caller]
pub(crate) fn refused(answer: Result<String, Status>, code: Code) {
    assert_eq!(answer.unwrap_err().code(), code);
}

pub(crate) fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// Files of a CA and of certificates it signed.
pub(crate) struct Ca {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) made: cert::Made,
}

impl Ca {
    pub(crate) fn new() -> Ca {
        let (dir, made) = (tempfile::tempdir().unwrap(), cert::make_ca("test farm").unwrap());
        write(dir.path(), "ca.pem", &made.cert);
        Ca { dir, made }
    }

    pub(crate) fn files(&self, name: &str, role: Option<Role>, hosts: &[&str]) -> TlsFiles {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let node = cert::make_node(&self.made, name, role, &hosts).unwrap();
        TlsFiles {
            ca: Some(self.dir.path().join("ca.pem")),
            cert: Some(write(self.dir.path(), &format!("{name}.pem"), &node.cert)),
            key: Some(write(self.dir.path(), &format!("{name}.key"), &node.key)),
        }
    }

    pub(crate) fn client(&self) -> Dial {
        let files = TlsFiles { ca: Some(self.dir.path().join("ca.pem")), ..TlsFiles::default() };
        Dial { tls: ClientTls::from_files(&files).unwrap(), ..Dial::default() }
    }
}
