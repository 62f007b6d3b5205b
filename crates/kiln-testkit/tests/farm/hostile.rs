//! A worker that lies about results: each lie is refused, the unit is compiled elsewhere, and nothing is written that nobody asked for.

use crate::liar::{Liar, Lie, finished};
use crate::support::{BUILD_MAX, START_MAX};
use kiln_proto::protobuf::Any;
use kiln_proto::reapi::{ActionResult, Digest, ExecuteResponse, OutputDirectory, OutputFile, OutputSymlink};
use kiln_testkit::{Layout, TestFarm, await_for, run};
use std::fs;
use std::path::Path;
use std::process::Command;

/// SHA-256 of nothing that the liar sends.
const LIE_HASH: &str = "f9f6ff6af0e0eb9e45c7a2e0f1c4a1e2d3b4c5d6e7f8091a2b3c4d5e6f708192";

fn file(path: &str, contents: &[u8], size: i64) -> OutputFile {
    let digest = Some(Digest { hash: LIE_HASH.to_owned(), size_bytes: size });
    OutputFile { path: path.to_owned(), digest, contents: contents.to_vec(), ..OutputFile::default() }
}

/// An output with bytes that its digest names.
fn honest(path: &str) -> OutputFile {
    // The digest of no bytes.
    let hash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".to_owned();
    OutputFile { path: path.to_owned(), digest: Some(Digest { hash, size_bytes: 0 }), ..OutputFile::default() }
}

fn files(output_files: Vec<OutputFile>) -> ExecuteResponse {
    finished(ActionResult { output_files, ..ActionResult::default() })
}

/// Every lie, and a word of the reason for which it is refused.
const LIES: &[(&str, Lie, &str)] = &[
    ("a path outside", || files(vec![honest("unit.o"), honest("../evil")]), "nobody asked for"),
    ("an absolute path", || files(vec![honest("unit.o"), honest("/tmp/kiln-evil")]), "nobody asked for"),
    ("another file", || files(vec![honest("unit.o"), honest("evil")]), "nobody asked for"),
    ("no output", || files(Vec::new()), "lacks"),
    ("no bytes of that digest", || files(vec![file("unit.o", b"lie", 3)]), "other content"),
    ("a file of a terabyte", || files(vec![file("unit.o", b"", 1 << 40)]), "size is not between"),
    ("a file of two gigabytes", || files(vec![file("unit.o", b"", 2 << 30)]), "larger than any"),
    ("a file without end", || files(vec![file("unit.o", b"", 4 << 20)]), "Lost"),
    ("a negative size", || files(vec![file("unit.o", b"lie", -1)]), "Lost"),
    ("more than a message may hold", || files(vec![file("unit.o", &vec![b'x'; 20 << 20], 20 << 20)]), "Lost"),
    (
        "a link",
        || {
            let link = OutputSymlink { path: "unit.o".to_owned(), target: "/etc/passwd".to_owned(), ..OutputSymlink::default() };
            let output_symlinks = vec![link];
            finished(ActionResult { output_files: vec![honest("unit.o")], output_symlinks, ..ActionResult::default() })
        },
        "directories or links",
    ),
    (
        "a directory",
        || {
            let output_directories = vec![OutputDirectory { path: "evil".to_owned(), ..OutputDirectory::default() }];
            finished(ActionResult { output_files: vec![honest("unit.o")], output_directories, ..ActionResult::default() })
        },
        "directories or links",
    ),
    ("no result", || ExecuteResponse { result: None, ..finished(ActionResult::default()) }, "without a result"),
    (
        "a want that never ends",
        || {
            let missing =
                kiln_proto::status::missing_blobs(&["0".repeat(64) + "/5"].map(|digest| digest.parse().expect("a digest")));
            let details = missing.details.into_iter().map(|any| Any { type_url: any.type_url, value: any.value }).collect();
            let status = kiln_proto::rpc::Status { details, ..missing };
            ExecuteResponse { status: Some(status), ..ExecuteResponse::default() }
        },
        "no input of this unit",
    ),
];

#[test]
fn lies_are_refused() {
    let mut farm = TestFarm::start(Layout { workers: 1, cache: false, ..Layout::default() });
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let address = |name: &str| format!("unix:{}", farm.dir().join("s").join(name).display()).parse().expect("an address");
    let (at, scheduler) = (address("liar"), address("scheduler"));
    let liar = runtime.block_on(Liar::start(at, scheduler));
    let _within = runtime.enter();
    // From now on it is the only worker.
    farm.kill("w1");
    let project = tempfile::tempdir().expect("a directory");
    let dir = project.path().join("project");
    fs::create_dir(&dir).expect("a directory");
    fs::write(dir.join("unit.c"), "int unit(void) { return SALT - SALT; }\n").expect("a source");
    let _ = run(Command::new("gcc").args(["-DSALT=0", "-c", "unit.c"]).current_dir(&dir), BUILD_MAX).ok();
    let plain = fs::read(dir.join("unit.o")).expect("an object");
    let mut salt = 0;
    for (number, (what, lie, word)) in LIES.iter().enumerate() {
        let name = format!("liar{number}");
        liar.tell(&name, *lie);
        let before = liar.told();
        // It is not used before its first heartbeat.
        let outcome = await_for(what, START_MAX, || {
            salt += 1;
            compile(&farm, &dir, salt, &plain, what);
            let unit = farm.explain(1)[0].clone();
            let attempts = unit["attempts"].as_array().cloned().unwrap_or_default();
            let lied = attempts.into_iter().find(|attempt| attempt["worker"] == name.as_str())?;
            Some(lied["outcome"].as_str().unwrap_or_default().to_owned())
        });
        assert!(liar.told() > before, "{what}: it was not asked");
        assert!(outcome.contains(word), "{what}: refused for another reason: {outcome}");
    }
    assert!(!Path::new("/tmp/kiln-evil").exists() && !project.path().join("evil").exists() && !dir.join("evil").exists());
}

/// Compiles the unit anew: it is the plain object, and nothing else is there.
#[track_caller]
fn compile(farm: &TestFarm, dir: &Path, salt: u32, plain: &[u8], what: &str) {
    let mut kiln = farm.kiln();
    kiln.args(["gcc", &format!("-DSALT={salt}"), "-c", "unit.c"]).current_dir(dir).env("KILN_FALLBACK", "silent");
    let ran = run(&mut kiln, BUILD_MAX).ok();
    assert!(ran.text().is_empty(), "{what}: {}", ran.text());
    assert!(fs::read(dir.join("unit.o")).expect("an object") == plain, "{what}: another object");
    let names: Vec<String> =
        fs::read_dir(dir).expect("a directory").flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    assert_eq!(names.len(), 2, "{what}: {names:?}");
}
