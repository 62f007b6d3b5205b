//! The front door, over real sockets: a REAPI client on one side, workers and cache servers on the other.

use crate::fake_worker::{FakeWorker, Mode};
use crate::reapi_client::{Client, end, plain_action};
use crate::support::{Served, beat, loopback, token_of, worker};
use kiln_cache::{CacheConfig, CacheServer, Instance, Instances};
use kiln_cas::{Command, Digest, Directory};
use kiln_proto::bytestream::WriteRequest;
use kiln_proto::bytestream::byte_stream_client::ByteStreamClient;
use kiln_proto::convert::digest_to_wire;
use kiln_proto::longrunning::{CancelOperationRequest, GetOperationRequest};
use kiln_proto::reapi;
use kiln_proto::reapi::action_cache_client::ActionCacheClient;
use kiln_proto::reapi::capabilities_client::CapabilitiesClient;
use kiln_proto::reapi::execution_client::ExecutionClient;
use kiln_proto::status::missing_in;
use kiln_proto::v1;
use kiln_rpc::Dial;
use kiln_scheduler::{Farm, Front, FrontSettings, SchedulerService};
use std::collections::BTreeSet;
use std::time::Duration;
use tempfile::TempDir;
use tonic::Code;
use tonic::service::Routes;

struct Setup {
    farm: Farm,
    front: Served,
    workers: Vec<FakeWorker>,
    _served: Vec<Served>,
    dir: TempDir,
}

/// A farm with so many cache servers and workers of two slots.
async fn setup(caches: usize, workers: usize) -> Setup {
    let dir = tempfile::tempdir().unwrap();
    let farm = Farm::start("1.2.3").unwrap();
    let settings = FrontSettings {
        dial: Dial { token: Some(token_of("w")), ..Dial::default() },
        client_writable: BTreeSet::from(["ci".to_owned()]),
        ..FrontSettings::default()
    };
    let routes = Routes::new(SchedulerService::new(farm.clone()).into_server());
    let front = Served::start("scheduler", &loopback(), Front::new(farm.clone(), settings).add_to(routes)).await;
    let mut setup = Setup { farm, front, workers: Vec::new(), _served: Vec::new(), dir };
    for number in 0..caches {
        setup.add_cache(&format!("cache{number}")).await;
    }
    for number in 0..workers {
        setup.add_worker(&format!("w{number}"), 2).await;
    }
    setup
}

impl Setup {
    async fn add_cache(&mut self, name: &str) {
        let instances = [("main", false), ("ci", true)];
        let config = CacheConfig {
            dir: self.dir.path().join(name),
            max_bytes: 1 << 30,
            results_max_bytes: 1 << 26,
            memory_bytes: 1 << 20,
            instances: Instances::new(instances.map(|(name, client_writable)| (name.to_owned(), Instance { client_writable }))),
        };
        let server = CacheServer::open(config).unwrap();
        let served = Served::start("cache", &loopback(), server.routes()).await;
        let about =
            v1::RegisterRequest { kind: v1::NodeKind::Cache as i32, address: served.address.to_string(), ..worker(name, 0) };
        let registered = self.farm.register(about).await.unwrap();
        self.farm.heartbeat(beat(&registered.worker_id, 1, &[])).await.unwrap();
        self._served.push(served);
    }

    async fn add_worker(&mut self, name: &str, slots: u32) {
        let (fake, served) = FakeWorker::start(name, slots, &self.farm, self.dir.path()).await;
        self.workers.push(fake);
        self._served.push(served);
    }

    fn client(&self, name: &str) -> Client {
        Client(self.front.channel(name))
    }

    /// Waits until every slot is free again.
    async fn all_returned(&self) {
        let returned = async {
            while self.farm.stats().await.unwrap().leased > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), returned).await.expect("leases are returned");
    }
}

fn status_of(response: &reapi::ExecuteResponse) -> Code {
    Code::from_i32(response.status.as_ref().unwrap().code)
}

#[tokio::test]
async fn capabilities_say_what_each_caller_may_do() {
    let setup = setup(1, 1).await;
    for (name, instance, exec, update) in
        [("ann", "", true, false), ("ann", "main", true, false), ("ann", "ci", false, true), ("root", "ci", false, false)]
    {
        let message = reapi::GetCapabilitiesRequest { instance_name: instance.to_owned() };
        let mut client = CapabilitiesClient::new(setup.front.channel(name));
        let answer = client.get_capabilities(message).await.unwrap().into_inner();
        assert_eq!(answer.execution_capabilities.unwrap().exec_enabled, exec, "{name} {instance}");
        let cache = answer.cache_capabilities.unwrap();
        assert_eq!(cache.action_cache_update_capabilities.unwrap().update_enabled, update, "{name} {instance}");
    }
    let message = reapi::GetCapabilitiesRequest { instance_name: "other".to_owned() };
    let mut client = CapabilitiesClient::new(setup.front.channel("ann"));
    assert_eq!(client.get_capabilities(message).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn actions_spread_over_the_workers_and_their_outputs_come_back() {
    for caches in [0, 1, 3] {
        let setup = setup(caches, 3).await;
        let client = setup.client("ann");
        let mut tasks = Vec::new();
        for number in 0..6 {
            let action = client.action("", &["echo", &format!("text {number} of {caches}")]).await;
            tasks.push((number, client.execute("", &action).await.unwrap()));
        }
        for (number, stream) in tasks {
            let response = end(stream).await;
            assert_eq!(status_of(&response), Code::Ok, "{response:?}");
            let file = &response.result.as_ref().unwrap().output_files[0];
            let text = format!("text {number} of {caches}");
            let digest = Digest::of(text.as_bytes());
            assert_eq!(file.digest, Some(digest_to_wire(&digest)));
            let read = client.read("", &[digest]).await;
            assert_eq!(read[0].data, text.as_bytes(), "{caches} caches");
            assert_eq!(client.stream(format!("blobs/{digest}")).await.unwrap(), text.as_bytes());
        }
        let ran: Vec<u32> = setup.workers.iter().map(FakeWorker::ran).collect();
        assert_eq!(ran.iter().sum::<u32>(), 6);
        assert!(ran.iter().all(|count| *count > 0), "{ran:?}");
        setup.all_returned().await;
        assert_eq!(setup.farm.status(false).await.unwrap().counters["done"], 6);
    }
}

#[tokio::test]
async fn blobs_of_any_size_pass_through() {
    for (caches, workers) in [(1, 0), (2, 0), (0, 2)] {
        let setup = setup(caches, workers).await;
        let client = setup.client("ann");
        let blobs: Vec<Vec<u8>> = (0..20_u8).map(|number| vec![number; 100 + usize::from(number)]).collect();
        let refs: Vec<&[u8]> = blobs.iter().map(Vec::as_slice).collect();
        let mut digests: Vec<Digest> = refs.iter().map(|bytes| Digest::of(bytes)).collect();
        assert_eq!(client.missing("main", &digests).await.len(), 20);
        client.upload("main", &refs).await;
        assert!(client.missing("main", &digests).await.is_empty());
        digests.push(Digest::of(b"nowhere"));
        let read = client.read("main", &digests).await;
        for (place, bytes) in blobs.iter().enumerate() {
            assert_eq!(&read[place].data, bytes, "in the order asked for");
        }
        assert_eq!(read[20].status.as_ref().unwrap().code, Code::NotFound as i32);

        let large: Vec<u8> = (0..5_000_000_u32).map(|number| (number % 251) as u8).collect();
        let digest = Digest::of(&large);
        let name = format!("main/uploads/0123abcd-4567-489a-bcde-f0123456789a/blobs/{digest}");
        let parts = large.chunks(1 << 20).enumerate().map(|(index, part)| WriteRequest {
            resource_name: name.clone(),
            write_offset: (index << 20) as i64,
            finish_write: (index << 20) + part.len() == large.len(),
            data: part.to_vec(),
        });
        let parts: Vec<WriteRequest> = parts.collect();
        let mut stream = ByteStreamClient::new(client.0.clone());
        let written = stream.write(tokio_stream::iter(parts.clone())).await.unwrap().into_inner();
        assert_eq!(written.committed_size, large.len() as i64);
        assert_eq!(client.stream(format!("main/blobs/{digest}")).await.unwrap(), large);
        let cut = stream.write(tokio_stream::iter(parts[..2].to_vec())).await;
        assert!(cut.is_ok() || cut.is_err_and(|status| status.code() == Code::InvalidArgument), "present already, or cut off");
        let absent = client.stream(format!("main/blobs/{}", Digest::of(b"nowhere"))).await.unwrap_err();
        assert_eq!(absent.code(), Code::NotFound);
    }
}

#[tokio::test]
async fn trees_are_walked_over_all_homes() {
    let setup = setup(3, 0).await;
    let client = setup.client("ann");
    let mut child = Directory::default().encode();
    for depth in 0..10 {
        let node = kiln_cas::DirectoryNode { name: format!("d{depth}"), digest: Digest::of(&child) };
        client.upload("", &[&child]).await;
        child = Directory { directories: vec![node], ..Default::default() }.encode();
    }
    let root = client.upload("", &[&child]).await[0];
    let message = reapi::GetTreeRequest { root_digest: Some(digest_to_wire(&root)), ..Default::default() };
    let mut stream = client.cas().get_tree(message).await.unwrap().into_inner();
    let mut names = Vec::new();
    while let Some(page) = stream.message().await.unwrap() {
        names.extend(page.directories.iter().flat_map(|directory| &directory.directories).map(|node| node.name.clone()));
    }
    let want: Vec<String> = (0..10).rev().map(|depth| format!("d{depth}")).collect();
    assert_eq!(names, want);
    let message = reapi::GetTreeRequest { root_digest: Some(digest_to_wire(&Digest::of(b"none"))), ..Default::default() };
    let mut stream = client.cas().get_tree(message).await.unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn results_are_written_by_users_only_where_the_instance_allows_it() {
    let setup = setup(2, 1).await;
    let client = setup.client("ann");
    let action = client.action("ci", &["echo", "x"]).await;
    let update = |instance: &str| reapi::UpdateActionResultRequest {
        instance_name: instance.to_owned(),
        action_digest: Some(digest_to_wire(&action)),
        action_result: Some(reapi::ActionResult { exit_code: 0, ..Default::default() }),
        ..Default::default()
    };
    let get = |instance: &str| reapi::GetActionResultRequest {
        instance_name: instance.to_owned(),
        action_digest: Some(digest_to_wire(&action)),
        ..Default::default()
    };
    for instance in ["", "main"] {
        let denied = client.results().update_action_result(update(instance)).await.unwrap_err();
        assert_eq!(denied.code(), Code::PermissionDenied, "a worker's credential is not lent to users");
    }
    client.results().update_action_result(update("ci")).await.unwrap();
    client.results().get_action_result(get("ci")).await.unwrap();
    assert_eq!(client.results().get_action_result(get("")).await.unwrap_err().code(), Code::NotFound);
    let elsewhere = client.results().update_action_result(update("other")).await.unwrap_err();
    assert_eq!(elsewhere.code(), Code::InvalidArgument);
    assert_eq!(client.execute("ci", &action).await.unwrap_err().code(), Code::InvalidArgument, "nothing runs in it");
}

#[tokio::test]
async fn a_result_in_the_cache_is_not_run_again() {
    let setup = setup(2, 1).await;
    let client = setup.client("ann");
    let action = client.action("", &["echo", "x"]).await;
    let homes = setup._served.iter().take(2);
    for served in homes {
        // As a worker does; only the home is asked.
        let message = reapi::UpdateActionResultRequest {
            instance_name: "main".to_owned(),
            action_digest: Some(digest_to_wire(&action)),
            action_result: Some(reapi::ActionResult { exit_code: 0, ..Default::default() }),
            ..Default::default()
        };
        ActionCacheClient::new(served.channel("w")).update_action_result(message).await.unwrap();
    }
    let response = client.run("", &action).await;
    assert!(response.cached_result);
    assert_eq!(setup.workers[0].ran(), 0);
}

#[tokio::test]
async fn what_is_missing_is_said_in_reapis_words() {
    let setup = setup(1, 1).await;
    let client = setup.client("ann");
    let nowhere = Digest::of(b"no such action");
    let response = client.run("", &nowhere).await;
    assert_eq!(missing_in(response.status.as_ref().unwrap()), [nowhere]);

    let command = Command { arguments: vec!["echo".into(), "x".into()], ..Default::default() }.encode();
    let root = Digest::of(b"a root that nobody uploaded");
    let action = plain_action(&command, root);
    let digests = client.upload("", &[&command, &action]).await;
    let response = client.run("", &digests[1]).await;
    assert_eq!(missing_in(response.status.as_ref().unwrap()), [root]);
    setup.all_returned().await;
    assert_eq!(setup.farm.status(false).await.unwrap().workers.iter().map(|worker| worker.failed).sum::<u64>(), 0);
    let garbage = client.upload("", &[b"\xff\xff\xff\xff no action"]).await[0];
    assert_eq!(status_of(&client.run("", &garbage).await), Code::InvalidArgument);
}

#[tokio::test]
async fn a_failing_command_is_an_answer_and_its_messages_can_be_read() {
    let setup = setup(1, 2).await;
    let client = setup.client("ann");
    let action = client.action("", &["fail", "a.c:1: error"]).await;
    let response = client.run("", &action).await;
    let result = response.result.unwrap();
    assert_eq!(result.exit_code, 1);
    // Workers publish successes only: these bytes are on the worker alone.
    let digest = Digest::of(b"a.c:1: error");
    assert_eq!(result.stderr_digest, Some(digest_to_wire(&digest)));
    assert_eq!(client.read("", &[digest]).await[0].data, b"a.c:1: error");
    assert_eq!(client.stream(format!("blobs/{digest}")).await.unwrap(), b"a.c:1: error");
    assert_eq!(setup.workers.iter().map(FakeWorker::ran).sum::<u32>(), 1, "not run again");
}

#[tokio::test]
async fn a_worker_that_fails_is_replaced_by_another() {
    for code in [Code::Unavailable, Code::Internal, Code::Aborted, Code::Unauthenticated] {
        let setup = setup(1, 2).await;
        setup.workers[0].set(Mode::Broken(code));
        let client = setup.client("ann");
        for number in 0..4 {
            let action = client.action("", &["echo", &number.to_string()]).await;
            let response = client.run("", &action).await;
            assert_eq!(status_of(&response), Code::Ok, "{code:?}: {response:?}");
        }
        assert_eq!(setup.workers[1].ran(), 4);
        setup.all_returned().await;
        let status = setup.farm.status(false).await.unwrap();
        let failed = status.workers.iter().find(|worker| worker.name == "w0").unwrap();
        if code == Code::Aborted {
            assert_eq!(failed.failed, 0, "a doubtful end is no proof against the worker");
        } else {
            assert_eq!((failed.failed, failed.state.as_str()), (2, "quarantined"));
            assert!(failed.trouble.contains("w0: broken"), "{}", failed.trouble);
        }
        setup.workers[1].set(Mode::Broken(code));
        let action = client.action("", &["echo", "nobody"]).await;
        let want = if code == Code::Unauthenticated { Code::Unavailable } else { code };
        assert_eq!(status_of(&client.run("", &action).await), want);
    }
}

#[tokio::test]
async fn a_full_worker_is_no_failure() {
    let setup = setup(1, 2).await;
    setup.workers[0].set(Mode::Broken(Code::ResourceExhausted));
    let client = setup.client("ann");
    for number in 0..3 {
        let action = client.action("", &["echo", &number.to_string()]).await;
        assert_eq!(status_of(&client.run("", &action).await), Code::Ok);
    }
    setup.all_returned().await;
    let status = setup.farm.status(false).await.unwrap();
    assert!(status.rejected > 0);
    assert!(status.workers.iter().all(|worker| worker.failed == 0));
}

#[tokio::test]
async fn equal_actions_run_once() {
    let setup = setup(1, 2).await;
    let client = setup.client("ann");
    let action = client.action("", &["hang"]).await;
    let first = client.execute("", &action).await.unwrap();
    let running = async {
        tokio::select! {
            () = setup.workers[0].0.hanging.notified() => 0,
            () = setup.workers[1].0.hanging.notified() => 1,
        }
    };
    let at = running.await;
    let second = setup.client("bob").execute("main", &action).await.unwrap();
    setup.workers[at].0.go.notify_one();
    let (first, second) = tokio::join!(end(first), end(second));
    assert_eq!(first, second);
    assert_eq!(setup.workers.iter().map(FakeWorker::ran).sum::<u32>(), 1);
}

#[tokio::test]
async fn actions_that_do_not_name_what_they_see_run_for_each_caller() {
    let setup = setup(1, 2).await;
    let client = setup.client("ann");
    let action = client.nameless_action(&["hang"]).await;
    let (first, second) = (client.execute("", &action).await.unwrap(), client.execute("", &action).await.unwrap());
    for worker in &setup.workers {
        worker.0.hanging.notified().await;
        worker.0.go.notify_one();
    }
    let _ = tokio::join!(end(first), end(second));
    assert_eq!(setup.workers.iter().map(FakeWorker::ran).sum::<u32>(), 2);
}

#[tokio::test]
async fn a_broken_stream_can_be_resumed() {
    let setup = setup(1, 1).await;
    let client = setup.client("ann");
    let action = client.action("", &["hang"]).await;
    let mut stream = client.execute("", &action).await.unwrap();
    let name = stream.message().await.unwrap().unwrap().name;
    setup.workers[0].0.hanging.notified().await;
    drop(stream);
    let again = reapi::WaitExecutionRequest { name: name.clone() };
    let again = ExecutionClient::new(client.0.clone()).wait_execution(again).await.unwrap().into_inner();
    setup.workers[0].0.go.notify_one();
    assert_eq!(status_of(&end(again).await), Code::Ok);
    let done = client.operations().get_operation(GetOperationRequest { name }).await.unwrap().into_inner();
    assert!(done.done);
    let unknown = reapi::WaitExecutionRequest { name: "main/operations/0".to_owned() };
    let unknown = ExecutionClient::new(client.0.clone()).wait_execution(unknown).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound, "the client calls Execute again");
}

#[tokio::test]
async fn cancelling_reaches_the_worker_and_frees_the_slot() {
    let setup = setup(1, 1).await;
    let client = setup.client("ann");
    let action = client.action("", &["hang"]).await;
    let mut stream = client.execute("", &action).await.unwrap();
    let name = stream.message().await.unwrap().unwrap().name;
    setup.workers[0].0.hanging.notified().await;
    // The name of the run on the worker comes with its first message, which the front door has passed on by now.
    while !matches!(stream.message().await.unwrap(), Some(operation) if is_executing(&operation)) {}
    let cancel = CancelOperationRequest { name };
    let denied = setup.client("bob").operations().cancel_operation(cancel.clone()).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
    client.operations().cancel_operation(cancel).await.unwrap();
    assert_eq!(status_of(&end(stream).await), Code::Cancelled);
    tokio::time::timeout(Duration::from_secs(1), setup.workers[0].0.cancelled.notified()).await.expect("within a second");
    setup.all_returned().await;
    assert_eq!(setup.farm.status(false).await.unwrap().counters["cancelled"], 1);
}

fn is_executing(operation: &kiln_proto::longrunning::Operation) -> bool {
    use prost::Message as _;
    let metadata = operation.metadata.as_ref().unwrap();
    let metadata = reapi::ExecuteOperationMetadata::decode(&metadata.value[..]).unwrap();
    metadata.stage == reapi::execution_stage::Value::Executing as i32
}

#[tokio::test]
async fn without_workers_nothing_is_promised() {
    let setup = setup(1, 0).await;
    let client = setup.client("ann");
    let action = client.action("", &["echo", "x"]).await;
    // The farm first gives workers the time to come.
    assert_eq!(status_of(&client.run("", &action).await), Code::Unavailable);
}

#[tokio::test]
async fn only_users_execute() {
    let setup = setup(1, 1).await;
    let action = setup.client("ann").action("", &["echo", "x"]).await;
    for name in ["w", "root"] {
        let denied = setup.client(name).execute("", &action).await.unwrap_err();
        assert_eq!(denied.code(), Code::PermissionDenied, "{name}");
    }
    let denied = setup.client("root").cas().batch_update_blobs(reapi::BatchUpdateBlobsRequest::default()).await;
    assert_eq!(denied.unwrap_err().code(), Code::PermissionDenied);
}
