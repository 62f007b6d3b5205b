//! The scheduler role. Waits for kiln-scheduler.
use super::Running;
use kiln_rpc::Address;
pub(crate) async fn run(running: Running) -> anyhow::Result<()> {
    let listen = running.settings.scheduler.listen.clone();
    start(&running, &listen).await?.finish().await
}
pub(crate) struct Serves;
pub(crate) async fn start(_: &Running, _: &[Address]) -> anyhow::Result<Serves> {
    Ok(Serves)
}
impl Serves {
    pub(crate) async fn finish(self) -> anyhow::Result<()> {
        Ok(())
    }
}
