//! GetActionResult and UpdateActionResult.

use crate::support::TestCache;
use kiln_cas::Digest;
use kiln_proto::convert::digest_to_wire;
use kiln_proto::reapi;
use kiln_rpc::Role;
use prost::Message as _;
use tonic::{Code, Status};

fn file(path: &str, digest: &Digest) -> reapi::OutputFile {
    reapi::OutputFile { path: path.into(), digest: Some(digest_to_wire(digest)), ..Default::default() }
}

fn result(files: &[(&str, Digest)]) -> reapi::ActionResult {
    reapi::ActionResult { output_files: files.iter().map(|(path, digest)| file(path, digest)).collect(), ..Default::default() }
}

async fn update(
    cache: &TestCache,
    role: Role,
    instance: &str,
    action: &Digest,
    result: reapi::ActionResult,
) -> Result<reapi::ActionResult, Status> {
    let request = reapi::UpdateActionResultRequest {
        instance_name: instance.into(),
        action_digest: Some(digest_to_wire(action)),
        action_result: Some(result),
        ..Default::default()
    };
    cache.actions(role).update_action_result(request).await.map(|response| response.into_inner())
}

fn wanted(instance: &str, action: &Digest) -> reapi::GetActionResultRequest {
    reapi::GetActionResultRequest {
        instance_name: instance.into(),
        action_digest: Some(digest_to_wire(action)),
        ..Default::default()
    }
}

async fn get(cache: &TestCache, instance: &str, action: &Digest) -> Result<reapi::ActionResult, Status> {
    cache.actions(Role::User).get_action_result(wanted(instance, action)).await.map(|response| response.into_inner())
}

#[tokio::test]
async fn a_stored_result_is_served_whole() {
    let cache = TestCache::start().await;
    let action = Digest::of(b"action");
    assert_eq!(get(&cache, "main", &action).await.unwrap_err().code(), Code::NotFound);
    let object = cache.put(b"object").await;
    let stored = reapi::ActionResult {
        stderr_raw: b"warning".to_vec(),
        execution_metadata: Some(reapi::ExecutedActionMetadata { worker: "w".into(), ..Default::default() }),
        ..result(&[("a.o", object)])
    };
    assert_eq!(update(&cache, Role::Worker, "main", &action, stored.clone()).await.unwrap(), stored);
    assert_eq!(get(&cache, "main", &action).await.unwrap(), stored);
    assert_eq!(get(&cache, "bazel/any", &action).await.unwrap_err().code(), Code::NotFound);
    let other_size = Digest { size: 1, ..action };
    assert_eq!(get(&cache, "main", &other_size).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn the_first_result_stays() {
    let cache = TestCache::start().await;
    let action = Digest::of(b"action");
    let (one, two) = (cache.put(b"one").await, cache.put(b"two").await);
    let first = result(&[("a.o", one)]);
    update(&cache, Role::Worker, "main", &action, first.clone()).await.unwrap();
    let again = reapi::ActionResult { execution_metadata: Some(Default::default()), ..first.clone() };
    assert_eq!(update(&cache, Role::Worker, "main", &action, again).await.unwrap(), first);
    assert_eq!(cache.server.results().stats().differing, 0);
    assert_eq!(update(&cache, Role::Worker, "main", &action, result(&[("a.o", two)])).await.unwrap(), first);
    assert_eq!(cache.server.results().stats().differing, 1);
    assert_eq!(get(&cache, "main", &action).await.unwrap(), first);
}

#[tokio::test]
async fn only_those_write_who_may() {
    let cache = TestCache::start().await;
    let action = Digest::of(b"action");
    for role in [Role::User, Role::Admin] {
        let refused = update(&cache, role, "main", &action, result(&[])).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
    }
    assert_eq!(get(&cache, "main", &action).await.unwrap_err().code(), Code::NotFound);
    let refused = update(&cache, Role::Admin, "bazel/any", &action, result(&[])).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    update(&cache, Role::User, "bazel/any", &action, result(&[])).await.unwrap();
    assert!(get(&cache, "bazel/any", &action).await.is_ok());
    assert_eq!(get(&cache, "main", &action).await.unwrap_err().code(), Code::NotFound, "never read through");
    for instance in ["other", "bazel", "main/"] {
        let refused = update(&cache, Role::Worker, instance, &action, result(&[])).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn a_result_whose_blobs_are_absent_is_not_taken() {
    let cache = TestCache::start().await;
    let (action, absent) = (Digest::of(b"action"), Digest::of(b"absent"));
    let here = cache.put(b"here").await;
    let refused = update(&cache, Role::Worker, "main", &action, result(&[("a", here), ("b", absent)])).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let details = kiln_proto::rpc::Status::decode(refused.details()).unwrap();
    assert_eq!(kiln_proto::status::missing_in(&details), [absent]);
    let bad = reapi::OutputFile { path: "x".into(), ..Default::default() };
    let bad = reapi::ActionResult { output_files: vec![bad], ..Default::default() };
    assert_eq!(update(&cache, Role::Worker, "main", &action, bad).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(get(&cache, "main", &action).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_result_whose_blob_is_evicted_is_a_miss_and_can_be_replaced() {
    let cache = TestCache::with_bytes(1 << 20).await;
    let action = Digest::of(b"action");
    let object = cache.put(b"object").await;
    update(&cache, Role::Worker, "main", &action, result(&[("a.o", object)])).await.unwrap();
    for seed in 0..12 {
        cache.put(&crate::support::content(seed, 100_000)).await;
    }
    assert_eq!(get(&cache, "main", &action).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(cache.server.results().stats().incomplete, 1);
    let other = cache.put(b"other").await;
    let replaced = result(&[("a.o", other)]);
    assert_eq!(update(&cache, Role::Worker, "main", &action, replaced.clone()).await.unwrap(), replaced);
}

#[tokio::test]
async fn files_inside_output_directories_count() {
    let cache = TestCache::start().await;
    let action = Digest::of(b"action");
    let inner = Digest::of(b"inner");
    let node = reapi::FileNode { name: "f".into(), digest: Some(digest_to_wire(&inner)), ..Default::default() };
    let child = reapi::Directory { files: vec![node], ..Default::default() };
    let child_digest = Digest::of(&child.encode_to_vec());
    let child_node = reapi::DirectoryNode { name: "d".into(), digest: Some(digest_to_wire(&child_digest)) };
    let root = reapi::Directory { directories: vec![child_node], ..Default::default() };
    let tree = reapi::Tree { root: Some(root.clone()), children: vec![child.clone()] };
    let tree_digest = cache.put(&tree.encode_to_vec()).await;
    let root_digest = Digest::of(&root.encode_to_vec());
    let by_tree = reapi::OutputDirectory { tree_digest: Some(digest_to_wire(&tree_digest)), ..Default::default() };
    let by_root = reapi::OutputDirectory { root_directory_digest: Some(digest_to_wire(&root_digest)), ..Default::default() };
    let with = |directory: &reapi::OutputDirectory| reapi::ActionResult {
        output_directories: vec![directory.clone()],
        ..Default::default()
    };
    for directory in [&by_tree, &by_root] {
        let refused = update(&cache, Role::Worker, "main", &action, with(directory)).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
    }
    cache.put(&root.encode_to_vec()).await;
    cache.put(&child.encode_to_vec()).await;
    assert!(update(&cache, Role::Worker, "main", &action, with(&by_root)).await.is_err(), "the file itself");
    cache.put(b"inner").await;
    update(&cache, Role::Worker, "main", &action, with(&by_tree)).await.unwrap();
    update(&cache, Role::Worker, "main", &Digest::of(b"2"), with(&by_root)).await.unwrap();
    assert!(get(&cache, "main", &action).await.is_ok());
    let no_tree = cache.put(b"\xff\xff").await;
    let bad = reapi::OutputDirectory { tree_digest: Some(digest_to_wire(&no_tree)), ..Default::default() };
    let refused = update(&cache, Role::Worker, "main", &Digest::of(b"3"), with(&bad)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn small_outputs_come_inline_when_asked_for() {
    let cache = TestCache::start().await;
    let action = Digest::of(b"action");
    let (object, side, out) = (cache.put(b"object").await, cache.put(b"side").await, cache.put(b"said").await);
    let mut large = Vec::new();
    for part in 0..4 {
        large.push(cache.put(&crate::support::content(part, 1 << 20)).await);
    }
    let mut stored = result(&[("a.o", object), ("a.d", side), ("1", large[0]), ("2", large[1]), ("3", large[2]), ("4", large[3])]);
    stored.output_files[0].contents = b"object".to_vec();
    stored.stdout_digest = Some(digest_to_wire(&out));
    update(&cache, Role::Worker, "main", &action, stored).await.unwrap();
    let plain = get(&cache, "main", &action).await.unwrap();
    assert!(plain.stdout_raw.is_empty() && plain.output_files.iter().all(|file| file.contents.is_empty()));
    let request = reapi::GetActionResultRequest {
        inline_stdout: true,
        inline_stderr: true,
        inline_output_files: ["a.o", "1", "2", "3", "4", "none"].map(String::from).to_vec(),
        ..wanted("main", &action)
    };
    let inlined = cache.actions(Role::User).get_action_result(request).await.unwrap().into_inner();
    assert_eq!(inlined.stdout_raw, b"said");
    assert_eq!(inlined.output_files[0].contents, b"object");
    assert_eq!(inlined.output_files[1].contents, b"");
    let sizes: Vec<usize> = inlined.output_files[2..].iter().map(|file| file.contents.len()).collect();
    assert_eq!(sizes, [1 << 20, 1 << 20, 0, 0], "3 MiB are not exceeded");
}

#[tokio::test]
async fn results_survive_a_restart() {
    let cache = TestCache::start().await;
    let action = Digest::of(b"action");
    let object = cache.put(b"object").await;
    update(&cache, Role::Worker, "main", &action, result(&[("a.o", object)])).await.unwrap();
    let dir = cache.stop().await;
    let config = kiln_cache::CacheConfig {
        dir: dir.path().join("cache"),
        max_bytes: 1 << 30,
        results_max_bytes: 1 << 20,
        memory_bytes: 0,
        instances: kiln_cache::Instances::main_only(),
    };
    let server = kiln_cache::CacheServer::open(config).unwrap();
    let stored = server.results().get_complete("main", &action, server.blobs().store()).unwrap();
    assert_eq!((stored.referenced, stored.writer), (vec![object], "worker-1".to_owned()));
}
