//! `kiln explain --inputs`: each file with what names it, whether anything has changed since, and what was sent.

use crate::support::BUILD_MAX;
use kiln_testkit::{Layout, TestFarm, run};
use serde_json::Value;
use std::fs;

/// What the JSON says of the file `name`, and where that is.
fn why(told: &Value, name: &str) -> (String, String, u64) {
    let inputs = told["inputs"].as_array().expect("inputs");
    let is_it = |input: &&Value| input["path"].as_str().is_some_and(|path| path == name || path.ends_with(&format!("/{name}")));
    let input = inputs.iter().find(is_it).unwrap_or_else(|| panic!("{name} in {told:#}"));
    let text = |field: &str| input[field].as_str().unwrap_or_default().to_owned();
    (text("why"), text("by"), input["line"].as_u64().unwrap_or(0))
}

#[test]
fn each_input_is_told_with_what_names_it() {
    let farm = TestFarm::start(Layout { workers: 1, ..Layout::default() });
    let project = tempfile::tempdir().expect("a directory");
    let dir = project.path();
    let put = |name: &str, text: &str| fs::write(dir.join(name), text).expect("a file");
    put("first.h", "#define FIRST 1\n");
    put("outer.h", "\n#include \"inner.h\"\n");
    put("inner.h", "#define INNER 2\n");
    put("maybe.h", "#error\n");
    put("data.bin", "data");
    put("words", "-DWORD=1\n");
    put(
        "why.c",
        "#include \"outer.h\"\n#if __has_include(\"maybe.h\")\nint there;\n#endif\n__asm__(\".incbin \\\"data.bin\\\"\");\n\
         int f(void) { return FIRST + INNER + WORD; }\n",
    );
    let args = ["gcc", "-include", "first.h", "@words", "-c", "why.c", "-o", "why.o"];
    let _ = run(farm.kiln().args(args).current_dir(dir), BUILD_MAX).ok();
    let ask = |more: &[&str]| run(farm.kiln().args(["explain", "--inputs", "why.c"]).args(more).current_dir(dir), BUILD_MAX).ok();
    let json = || serde_json::from_slice::<Value>(&ask(&["--json"]).stdout).expect("JSON");
    let told = json();
    let is = |name: &str, word: &str, by: &str, line: u64| {
        assert_eq!(why(&told, name), (word.to_owned(), by.to_owned(), line), "{name}: {told:#}");
    };
    is("why.c", "the source", "", 0);
    is("first.h", "-include", "", 0);
    is("outer.h", "#include", "why.c", 1);
    is("inner.h", "#include", "outer.h", 2);
    is("maybe.h", "__has_include", "why.c", 2);
    is("data.bin", ".incbin", "why.c", 5);
    is("words", "a response file", "", 0);
    is("stdc-predef.h", "the compiler's own choice", "", 0);
    assert_eq!(told["unchanged"], true, "{told:#}");
    let sent = told["uploaded"]["files"].as_array().expect("files");
    let source = dir.join("why.c");
    assert!(sent.iter().any(|path| path.as_str() == source.to_str()), "{told:#}");
    assert!(told["uploaded"]["blobs"].as_u64() >= Some(sent.len() as u64), "{told:#}");
    let text = ask(&[]).text();
    assert!(text.contains("outer.h  (#include, line 1)\n") && text.contains("as it was compiled"), "{text}");
    put("inner.h", "#define INNER 20\n");
    assert_eq!(json()["unchanged"], false, "a file has changed since");
    fs::remove_file(dir.join("why.c")).expect("removed");
    let gone = run(farm.kiln().args(["explain", "--inputs", "why.c"]).current_dir(dir), BUILD_MAX);
    assert!(gone.code == Some(1) && gone.text().contains("it would run here now"), "{}", gone.text());
}
