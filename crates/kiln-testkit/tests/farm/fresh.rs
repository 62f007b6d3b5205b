//! Files that change between two compiles: an object is never older than what it was made from.

use crate::support::BUILD_MAX;
use kiln_testkit::{Layout, TestFarm, run};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Compiles `main.c` plainly and through the farm, twice; all three objects are equal.
#[track_caller]
fn fresh(farm: &TestFarm, dir: &Path, what: &str) -> Vec<u8> {
    let args = ["gcc", "-Ia", "-Ib", "-O2", "-c", "main.c", "-o", "main.o"];
    let object = || {
        let bytes = fs::read(dir.join("main.o")).expect("an object");
        fs::remove_file(dir.join("main.o")).expect("removed");
        bytes
    };
    // Where it runs is not the matter here.
    let compile = || run(farm.kiln().args(args).current_dir(dir).env("KILN_FALLBACK", "silent"), BUILD_MAX).ok();
    let first = compile();
    let farmed = object();
    let _ = run(Command::new(args[0]).args(&args[1..]).current_dir(dir), BUILD_MAX).ok();
    let plain = object();
    assert!(farmed == plain, "a stale object: {what}\n{}", first.text());
    let _ = compile();
    assert!(object() == plain, "a stale object at the second time: {what}");
    plain
}

#[test]
fn an_object_is_never_stale() {
    let farm = TestFarm::start(Layout { workers: 1, ..Layout::default() });
    let project = tempfile::tempdir().expect("a directory");
    let dir = project.path();
    let put = |name: &str, text: &str| fs::write(dir.join(name), text).expect("a file");
    fs::create_dir(dir.join("a")).expect("a directory");
    fs::create_dir(dir.join("b")).expect("a directory");
    put("b/value.h", "#define VALUE 1\n");
    put(
        "main.c",
        "#include \"value.h\"\n#if __has_include(\"made.h\")\n#include \"made.h\"\n#else\n#define MADE 0\n#endif\n\
         int f(void) { return VALUE * 1000 + MADE; }\n",
    );
    let mut seen = vec![fresh(&farm, dir, "the first")];
    let mut step = |what: &str| {
        let object = fresh(&farm, dir, what);
        assert!(!seen.contains(&object), "the change changed nothing: {what}");
        seen.push(object);
    };
    put("b/made.h", "#define MADE 1\n");
    step("__has_include turned true");
    put("a/value.h", "#define VALUE 2\n");
    step("a header that shadows another");
    put("value.h", "#define VALUE 3\n");
    step("a header beside the source that shadows both");
    fs::remove_file(dir.join("b/made.h")).expect("removed");
    step("__has_include turned false");
    for round in 0..5 {
        put("value.h", &format!("#define VALUE {}\n", 4 + round));
        step("the same size in the same second");
    }
    let time = fs::metadata(dir.join("value.h")).and_then(|of| of.modified()).expect("a time");
    put("value.h", "#define VALUE 9\n");
    let file = fs::File::options().append(true).open(dir.join("value.h")).expect("a file");
    file.set_modified(time).expect("a time");
    step("the same size and the same time");
    put("next.h", "#define VALUE 10\n");
    fs::rename(dir.join("next.h"), dir.join("value.h")).expect("renamed");
    step("a header renamed into its place");
    fs::create_dir(dir.join("c")).expect("a directory");
    put("c/value.h", "#define VALUE 11\n");
    fs::remove_file(dir.join("value.h")).expect("removed");
    fs::rename(dir.join("a"), dir.join("old")).expect("renamed");
    fs::rename(dir.join("c"), dir.join("a")).expect("renamed");
    step("a directory renamed into its place");
}
