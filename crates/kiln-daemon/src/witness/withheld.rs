//! Each file of a unit's root withheld once: the compile ends in an error that the witness understands, or its object is the same, or the
//! witness sees what was read instead. Knows the daemon's parts and the sandbox, no farm.

use kiln_cas::{BlobStore as _, Digest, Directory};
use kiln_frame::{Compile, Identity};
use kiln_toolchain::Entry;
use kiln_worker::CancelSwitch;
use std::collections::BTreeSet;
use std::fs;
use tempfile::TempDir;

use super::*;
use crate::analyse::Analyst;
use crate::blobs::Source;
use crate::daemon::{Daemon, Fallback, Settings};

/// A project and the parts of a daemon without a farm.
struct World {
    dir: TempDir,
    daemon: Daemon,
}

/// What became of a compile that lacked one file of those that were found for it.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// It failed, and the witness can tell that the file was missed.
    Told,
    /// It failed, and says why.
    Failed,
    /// It read something else instead, and the witness sees it.
    Caught,
    /// The file was of no use.
    Same,
    /// Another object, and nobody says so.
    Silent,
}

impl World {
    fn with(files: &[(&str, &str)]) -> World {
        let dir = tempfile::tempdir().expect("a directory");
        for (name, text) in files {
            let path = dir.path().join("p").join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            fs::write(path, text).expect("a file");
        }
        let own = std::env::current_exe().expect("the test's own path");
        let kilnd = own.ancestors().nth(2).expect("a target directory").join("kilnd");
        assert!(kilnd.is_file(), "{} is absent: run `cargo build --workspace --bins` first", kilnd.display());
        let settings = Settings {
            dir: dir.path().join("state"),
            helper_argv: vec![kilnd.into(), "sandbox-server".into()],
            farm: None,
            fallback: Fallback::Silent,
            cache: false,
            remote_cache: false,
            cache_bytes_max: 1 << 30,
            local_slots: 1,
            local_sandbox: true,
            rung: None,
            idle_exit: None,
            substitutes: false,
            version: String::new(),
            configured: std::collections::BTreeMap::new(),
        };
        let daemon = Daemon::new(settings, Identity::current()).expect("a daemon");
        World { dir, daemon }
    }

    fn analyse(&self, command: &str) -> Analysed {
        let mut words = command.split(' ').map(|word| word.as_bytes().to_vec());
        let request = Compile {
            compiler: words.next().expect("a compiler"),
            args: words.collect(),
            cwd: self.dir.path().join("p").into_os_string().into_encoded_bytes(),
            env: vec![b"PATH=/usr/bin:/bin".to_vec(), b"LC_ALL=C".to_vec()],
            terminal: None,
            under_slot: None,
            depth: 0,
            stdin: None,
        };
        let Daemon { files, scans, toolchains, bases, precompiled, .. } = &self.daemon;
        let analyst = Analyst { files, scans, toolchains, bases, precompiled, stdin: None, again: false };
        let mut work = analyst.analyse(&request, files.begin()).unwrap_or_else(|why| panic!("{command}: {why:?}"));
        work.units.pop().expect("a unit")
    }

    fn run(&self, unit: &Analysed, root: Digest) -> UnitResult {
        let executor = self.daemon.local.executor.as_ref().unwrap_or_else(|| panic!("{}", self.daemon.local.no_executor));
        let action = kiln_cas::Action { input_root_digest: root, ..unit.action.clone() };
        let prepared = executor.prepare(&action, &unit.command).expect("all blobs are here");
        let executed = executor.run(prepared, &CancelSwitch::new()).expect("it runs");
        self.daemon.local.open(&executed.result).expect("its blobs are here")
    }

    /// The root `digest` without the file `path`, put into the store.
    fn without(&self, unit: &Analysed, digest: &Digest, path: &str) -> Digest {
        let mut directory = directory(unit, digest);
        match path.split_once('/') {
            None => directory.files.retain(|file| file.name != path),
            Some((name, rest)) => {
                let below = directory.directories.iter_mut().find(|below| below.name == name).expect("a directory");
                below.digest = self.without(unit, &below.digest, rest);
            }
        }
        let bytes = directory.encode();
        let digest = Digest::of(&bytes);
        self.daemon.local.store.put(&digest, &bytes).expect("stored");
        digest
    }

    /// Withholds each file in turn, those of the toolchain by itself only if `all`; the fate of each.
    fn withhold(&self, command: &str, all: bool) -> Vec<(String, Fate)> {
        let unit = self.analyse(command);
        let first = self.daemon.local.run(&unit, &CancelSwitch::new()).unwrap_or_else(|why| panic!("{command}: {why}"));
        let whole = self.daemon.local.open(&first.result).expect("its blobs are here");
        assert_eq!((whole.exit_code, String::from_utf8_lossy(&whole.stderr)), (0, "".into()), "{command}");
        assert_eq!(missed(&unit, &self.daemon.files, &whole), None, "{command}");
        let own: BTreeSet<&str> = unit.toolchain.entries.iter().map(Entry::path).collect();
        let entered: BTreeSet<FileId> = unit.closure.files.iter().map(|file| file.file).collect();
        let of = |path: &str| Witness::of(&unit, &self.daemon.files, &unit.closure).file(path);
        let mut paths = Vec::new();
        list(&unit, &unit.action.input_root_digest, String::new(), &mut paths);
        paths.retain(|path| all || !own.contains(path.as_str()) || of(path).is_some_and(|file| entered.contains(&file)));
        let fate = |path: &String| {
            let root = self.without(&unit, &unit.action.input_root_digest, &path[1..]);
            let mut closure = Closure::clone(&unit.closure);
            closure.files.retain(|file| Some(file.file) != of(path));
            let result = self.run(&unit, root);
            let caught = Witness::of(&unit, &self.daemon.files, &closure).missed(&result).is_some();
            match (result.exit_code, caught) {
                (0, true) => Fate::Caught,
                (0, false) if outputs(&result) == outputs(&whole) => Fate::Same,
                (0, false) => Fate::Silent,
                (_, true) => Fate::Told,
                (_, false) => {
                    assert!(!result.stderr.is_empty(), "{command}: failed without a word without {path}");
                    Fate::Failed
                }
            }
        };
        paths.iter().map(|path| (path.clone(), fate(path))).collect()
    }
}

fn directory(unit: &Analysed, digest: &Digest) -> Directory {
    let Some(Source::Memory(bytes)) = unit.blobs.get(digest) else { panic!("{digest} is no directory") };
    Directory::decode(bytes).expect("a directory")
}

/// Paths of all files below a directory.
fn list(unit: &Analysed, digest: &Digest, path: String, paths: &mut Vec<String>) {
    let directory = directory(unit, digest);
    paths.extend(directory.files.iter().map(|file| format!("{path}/{}", file.name)));
    for below in &directory.directories {
        list(unit, &below.digest, format!("{path}/{}", below.name), paths);
    }
}

/// All outputs but lists of dependencies: they tell what was read, objects what came of it.
fn outputs(result: &UnitResult) -> Vec<(&str, Vec<u8>)> {
    let bytes = |file: &ResultFile| text_of(file).expect("bytes").to_vec();
    let files = result.files.iter().filter(|file| !file.path.ends_with(".d"));
    files.map(|file| (&*file.path, bytes(file))).collect()
}

/// Every way of reading a file: from beside, by path, forced, once more, looked for, embedded, assembled, shadowing another.
const FILES: [(&str, &str); 13] = [
    (
        "a.c",
        "#include \"beside.h\"\n#include <limits.h>\n#include <wrapped.h>\n#include NAME\n#if __has_include(<looked_for.h>)\nint looked;\n#endif\n\
         #if __has_include(<optional.h>)\n#include <optional.h>\n#endif\n#include \"chosen.h\"\n\
         __asm__(\".incbin \\\"data.bin\\\"\");\nint f(void) { return BESIDE + FORCED + WRAPPED + COMPUTED + CHOSEN - INT_MAX; }\n",
    ),
    ("beside.h", "#pragma once\n#define BESIDE 1\n#include \"sub/deep.h\"\n"),
    ("sub/deep.h", "#include \"deeper.h\"\n"),
    ("sub/deeper.h", "extern int deeper;\n"),
    ("inc/wrapped.h", "#include_next <wrapped.h>\n#undef WRAPPED\n#define WRAPPED 2\n"),
    ("inc2/wrapped.h", "#define WRAPPED 3\n"),
    ("inc/looked_for.h", "#error not to be read\n"),
    ("inc/optional.h", "int optional;\n"),
    ("inc2/computed.h", "#define COMPUTED 4\n"),
    ("inc/chosen.h", "#define CHOSEN 5\n"),
    ("inc2/chosen.h", "#define CHOSEN 6\n"),
    ("forced.h", "#define FORCED 7\n"),
    ("data.bin", "bytes"),
];

const ARGS: &str = "-O1 -Iinc -Iinc2 -include forced.h -DNAME=<computed.h> -MD -c a.c -o a.o";

/// Withholds the files of a unit, and prints what became of it. None may end in another object that nobody sees, but for `unseen` ones:
/// those that are looked for by `__has_include`, where absence is an answer, and those that shadow a file that is read as well. No
/// list tells of them; that the scanner asks all that the compiler asks is for its own tests.
fn check(world: &World, command: &str, all: bool, unseen: &[&str]) -> Vec<(String, Fate)> {
    let fates = world.withhold(command, all);
    let count = |fate: Fate| fates.iter().filter(|(_, found)| *found == fate).count();
    let (told, failed, caught, same) = (count(Fate::Told), count(Fate::Failed), count(Fate::Caught), count(Fate::Same));
    println!("{command}: {} files; told {told}, failed {failed}, caught {caught}, same {same}", fates.len());
    for (path, _) in fates.iter().filter(|(_, fate)| *fate == Fate::Silent) {
        assert!(unseen.iter().any(|name| path.ends_with(name)), "{command}: another object without {path}, and nobody says so");
    }
    fates
}

#[test]
fn no_file_is_missed_in_silence() {
    let world = World::with(&FILES);
    for compiler in ["/usr/bin/gcc", "/usr/bin/clang-19"] {
        let fates = check(&world, &format!("{compiler} {ARGS}"), false, &["/looked_for.h", "/optional.h", "inc/wrapped.h"]);
        let fate = |name: &str| &fates.iter().find(|(path, _)| path.ends_with(name)).unwrap_or_else(|| panic!("no {name}")).1;
        for name in
            ["/a.c", "/beside.h", "/deep.h", "/deeper.h", "inc2/wrapped.h", "/computed.h", "inc/chosen.h", "/forced.h", "/data.bin"]
        {
            assert_eq!(fate(name), &Fate::Told, "{compiler} without {name}");
        }
    }
}

#[test]
fn a_file_on_the_list_that_was_not_found_is_named() {
    let world = World::with(&FILES);
    let unit = world.analyse(&format!("/usr/bin/gcc {ARGS}"));
    let ran = world.daemon.local.run(&unit, &CancelSwitch::new()).unwrap_or_else(|why| panic!("{why}"));
    let result = world.daemon.local.open(&ran.result).expect("its blobs are here");
    let missed = |name: &str| {
        let mut closure = Closure::clone(&unit.closure);
        closure.files.retain(|file| !file.path.ends_with(name));
        Witness::of(&unit, &world.daemon.files, &closure).missed(&result)
    };
    for name in ["a.c", "beside.h", "inc2/wrapped.h", "computed.h", "forced.h", "/usr/include/limits.h"] {
        assert!(missed(name).is_some_and(|missed| missed.ends_with(name)), "{name}: {:?}", missed(name));
    }
    assert_eq!((missed("looked_for.h"), missed("data.bin")), (None, None), "the compiler lists neither");
}

/// Units that read much of what stands on every machine.
#[test]
fn no_header_of_the_system_is_missed_in_silence() {
    let all = std::env::var_os("KILN_SOAK").is_some();
    let includes = |few: &[&str], more: &[&str]| {
        let names = few.iter().chain(if all { more } else { &[] });
        names.map(|name| format!("#include <{name}>\n")).collect::<String>()
    };
    let c = includes(&["limits.h", "errno.h"], &["stdio.h", "stdlib.h", "sys/stat.h", "math.h", "sys/socket.h"]);
    let c = c + "int f(void) { return CHAR_BIT + EINTR + errno; }\n";
    let cxx = includes(&["cstddef", "climits", "stdlib.h"], &["cmath", "algorithm", "string", "iostream"]);
    let cxx = cxx + "double f(double a) { return abs(a) + CHAR_BIT + sizeof(std::max_align_t); }\n";
    let world = World::with(&[("s.c", &c), ("s.cc", &cxx)]);
    for command in ["/usr/bin/gcc -O1 -MD -c s.c -o s.o", "/usr/bin/g++ -O1 -MD -c s.cc -o s.o"] {
        let _ = check(&world, command, all, &["/stdlib.h", "/math.h"]);
    }
}
