//! What a client sends: each file once into the farm, however many workers need it.

use crate::support::{BUILD_MAX, count};
use kiln_testkit::{Layout, Project, TestFarm, binary, run};
use serde_json::Value;

/// Bytes that a build from nothing sends into a farm, and what else is counted.
fn sent(workers: usize, cache: bool) -> (u64, Value) {
    let farm = TestFarm::start(Layout { workers, slots: 4, cache, ..Layout::default() });
    let dir = tempfile::tempdir().expect("a directory");
    let project = Project::write(dir.path());
    let mut make = farm.client("make");
    let _ = run(project.make(&mut make, &binary("kiln").display().to_string(), 77), BUILD_MAX).ok();
    let stats = farm.stats();
    // A worker alone is full at times: the rest is compiled here.
    assert!(count(&stats, "remote") * 2 > project.units(), "{stats}");
    let status = farm.status();
    let used = status["farm"]["workers"].as_array().expect("workers").iter().filter(|worker| worker["done"].as_u64() > Some(1));
    assert!(used.count() * 2 > workers, "{status}");
    (count(&stats, "uploaded_bytes"), stats)
}

#[test]
fn eight_workers_cost_the_client_no_more_than_one() {
    for cache in [true, false] {
        let ((one, one_stats), (eight, eight_stats)) = (sent(1, cache), sent(8, cache));
        assert!(one > 1_000_000, "the headers of C++ are more than {one} bytes: {one_stats}");
        assert!(
            eight <= one + one / 10,
            "cache {cache}: one worker took {one} bytes, eight took {eight}: {one_stats} {eight_stats}"
        );
    }
}
