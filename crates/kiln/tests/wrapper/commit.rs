//! Committing as the compiler would: the same compile by the real compiler and through kiln, onto files of every kind.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use kiln_frame::Data;
use kiln_frame::Ending;

use crate::home::Home;
use crate::home::done;
use crate::home::result;
use crate::home::said;
use crate::home::send;
use crate::permissions::as_ordinary_user;
use crate::permissions::with_own_mounts;

const SOURCE: &str = "int f(int x) { return x + 1; }\n";

/// What stands at the output's place before the compile.
const BEFORE: [&str; 15] = [
    "absent",
    "full",
    "readonly",
    "empty",
    "private",
    "executable",
    "linked",
    "linked-empty",
    "link-to-full",
    "link-to-empty",
    "link-to-none",
    "link-to-dir",
    "directory",
    "fifo",
    "readonly-dir",
];

/// Makes `name` in `dir` as `before` says, with `other` beside it where it leads.
fn prepare(dir: &Path, name: &str, before: &str) {
    let (file, other) = (dir.join(name), dir.join("other"));
    let chmod = |mode| fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    let write = |path: &Path, text: &str| fs::write(path, text).unwrap();
    match before {
        "absent" => {}
        "full" => write(&file, "old"),
        "readonly" => (write(&file, "old"), chmod(0o444)).1,
        "empty" => write(&file, ""),
        "private" => (write(&file, "old"), chmod(0o600)).1,
        "executable" => (write(&file, "old"), chmod(0o755)).1,
        "linked" => (write(&other, "old"), fs::hard_link(&other, &file).unwrap()).1,
        "linked-empty" => (write(&other, ""), fs::hard_link(&other, &file).unwrap()).1,
        "link-to-full" => (write(&other, "old"), symlink("other", &file).unwrap()).1,
        "link-to-empty" => (write(&other, ""), symlink("other", &file).unwrap()).1,
        "link-to-none" => symlink("other", &file).unwrap(),
        "link-to-dir" => (fs::create_dir(&other).unwrap(), symlink("other", &file).unwrap()).1,
        "directory" => fs::create_dir(&file).unwrap(),
        "fifo" => {
            let path = std::ffi::CString::new(file.to_str().unwrap()).unwrap();
            // SAFETY: the path ends with a NUL.
            assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o644) }, 0);
        }
        "readonly-dir" => {
            write(&file, "old");
            fs::set_permissions(dir, fs::Permissions::from_mode(0o555)).unwrap();
        }
        other => panic!("{other}"),
    }
}

/// What can be told of a directory from outside: names, kinds, modes, which names are one file, contents.
fn state(dir: &Path) -> Vec<String> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let describe = |path: &PathBuf| {
        let meta = fs::symlink_metadata(path).unwrap();
        let kind = meta.file_type();
        let content = if kind.is_file() {
            let bytes = fs::read(path).unwrap();
            format!("{} bytes, {} names, {}", bytes.len(), meta.nlink(), hash(&bytes))
        } else if kind.is_symlink() {
            fs::read_link(path).unwrap().display().to_string()
        } else {
            format!("fifo: {}", kind.is_fifo())
        };
        format!("{} {:o} {content}", path.file_name().unwrap().display(), meta.mode())
    };
    files.iter().map(describe).collect()
}

fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// How a command ended, what it said, and what it left.
fn after(home: &Home, compiler: &Path, dir: &Path, name: &str, args: &[&str], before: &str) -> (Option<i32>, String, Vec<String>) {
    fs::create_dir(dir).unwrap();
    fs::write(dir.join("a.c"), SOURCE).unwrap();
    prepare(dir, name, before);
    let reader = (before == "fifo").then(|| {
        let path = dir.join(name);
        // Holding it open both ways keeps a reader there however often the compiler opens it.
        fs::File::options().read(true).write(true).open(path).unwrap()
    });
    let output = home.command(compiler).args(args).current_dir(dir).output().unwrap();
    drop(reader);
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    // The compilers' own temporary names differ from run to run.
    let text = text
        .split("/tmp/cc")
        .map(|part| part.strip_prefix(|c: char| c.is_alphanumeric()).unwrap_or(part).split(".s:").last().unwrap_or(""))
        .collect();
    (output.status.code(), text, state(dir))
}

/// Compares the real compiler with kiln, whose daemon gives the compiler's files, for each state of output `name`.
#[track_caller]
fn compare(compiler: &str, name: &str, args: &[&str], outputs: &[&str]) {
    let home = Home::new();
    let real = PathBuf::from("/usr/bin").join(compiler);
    home.link("other", compiler);
    let clean = home.work("clean");
    let (code, ..) = after(&home, &real, &clean, name, args, "absent");
    assert_eq!(code, Some(0), "{compiler} {args:?}");
    let made: Vec<(String, Vec<u8>)> =
        outputs.iter().map(|path| ((*path).to_owned(), fs::read(clean.join(path)).unwrap())).collect();
    let daemon = home.serve(move |_, _, connection| {
        let mut answer = done(&[]);
        answer.outputs = made
            .iter()
            .enumerate()
            .map(|(at, (path, bytes))| kiln_frame::OutputFile {
                path: path.clone().into_bytes(),
                executable: false,
                is_main: at + 1 == made.len(),
                data: Data::Inline(bytes.clone()),
            })
            .collect();
        send(connection, &result(answer), &[]);
    });
    for (at, before) in BEFORE.into_iter().enumerate() {
        let plain = after(&home, &real, &home.work(&format!("p{at}")), name, args, before);
        let through = after(&home, &home.dir.join("other").join(compiler), &home.work(&format!("k{at}")), name, args, before);
        assert_eq!(through, plain, "{compiler} {args:?} onto {before}");
    }
    assert_eq!(daemon.requests().len(), BEFORE.len());
}

#[test]
fn gcc_objects() {
    if as_ordinary_user("commit::gcc_objects") {
        compare("gcc", "x.o", &["-c", "a.c", "-o", "x.o"], &["x.o"]);
    }
}

#[test]
fn gcc_assembly() {
    if as_ordinary_user("commit::gcc_assembly") {
        compare("gcc", "x.s", &["-S", "a.c", "-o", "x.s"], &["x.s"]);
    }
}

#[test]
fn gcc_dependencies() {
    if as_ordinary_user("commit::gcc_dependencies") {
        compare("gcc", "x.d", &["-c", "a.c", "-o", "x.o", "-MMD", "-MF", "x.d"], &["x.d", "x.o"]);
    }
}

#[test]
fn gcc_debug_files() {
    if as_ordinary_user("commit::gcc_debug_files") {
        compare("gcc", "x.dwo", &["-c", "-gsplit-dwarf", "-frandom-seed=1", "a.c", "-o", "x.o"], &["x.dwo", "x.o"]);
    }
}

#[test]
fn clang_objects() {
    if as_ordinary_user("commit::clang_objects") {
        compare("clang-14", "x.o", &["-c", "a.c", "-o", "x.o"], &["x.o"]);
    }
}

#[test]
fn clang_assembly() {
    if as_ordinary_user("commit::clang_assembly") {
        compare("clang-14", "x.s", &["-S", "a.c", "-o", "x.s"], &["x.s"]);
    }
}

#[test]
fn clang_dependencies() {
    if as_ordinary_user("commit::clang_dependencies") {
        compare("clang-14", "x.d", &["-c", "a.c", "-o", "x.o", "-MMD", "-MF", "x.d"], &["x.d", "x.o"]);
    }
}

#[test]
fn the_umask_decides_the_mode() {
    let home = Home::new();
    home.script("real/gcc", "#!/bin/sh\nexit 9\n");
    let _daemon = home.reply(result(done(&[("a.o", "object")])));
    let script = "umask 027; exec \"$@\" -c a.c";
    said(&home.command("/bin/sh").args(["-c", script, "sh"]).arg(home.dir.join("masq/gcc")).output().unwrap());
    assert_eq!(fs::metadata(home.work("a.o")).unwrap().mode() & 0o777, 0o640);
}

#[test]
fn devices_are_written_in_place() {
    let home = Home::new();
    home.script("real/gcc", "#!/bin/sh\nexit 9\n");
    let _daemon = home.reply(result(done(&[("/dev/null", "deps"), ("a.o", "object")])));
    said(&home.run("gcc", &["-c", "a.c"]));
    assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    assert_eq!(home.files(), ["a.o"]);
}

#[test]
fn the_object_comes_last_and_replaces_at_once() {
    let home = Home::new();
    home.script("real/gcc", "#!/bin/sh\nexit 9\n");
    let _daemon = home.reply(result(done(&[("a.d", "deps"), ("a.su", "stack"), ("a.o", "object")])));
    for name in ["a.d", "a.su", "a.o"] {
        fs::write(home.work(name), "old").unwrap();
    }
    said(&home.run("gcc", &["-c", "a.c"]));
    let changed = |name: &str| {
        let meta = fs::metadata(home.work(name)).unwrap();
        (meta.ctime(), meta.ctime_nsec())
    };
    assert!(changed("a.d") <= changed("a.su") && changed("a.su") <= changed("a.o"));
    assert_eq!(home.files(), ["a.d", "a.o", "a.su"]);
}

/// A commit that cannot be done: the compiler runs after all and nothing of the result is left.
#[track_caller]
fn compiles_after_all(home: &Home, command: &mut Command) {
    let output = command.output().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(4), &b"ran\n"[..]), "{output:?}");
    assert!(!home.files().iter().any(|name| name.contains("kiln") || name == "a.d"), "{:?}", home.files());
}

#[test]
fn a_missing_directory_is_the_compilers_to_report() {
    let home = Home::new();
    home.script("real/gcc", "#!/bin/sh\necho ran\nexit 4\n");
    let _daemon = home.reply(result(done(&[("a.d", "deps"), ("none/a.o", "object")])));
    compiles_after_all(&home, home.command(home.dir.join("masq/gcc")).args(["-c", "a.c"]));
}

#[test]
fn a_limit_on_file_sizes_is_the_compilers_to_meet() {
    let home = Home::new();
    home.script("real/gcc", "#!/bin/sh\necho ran\nexit 4\n");
    let object = "x".repeat(100_000);
    let _daemon = home.reply(result(done(&[("a.d", "deps"), ("a.o", &object)])));
    let mut command = home.command("/bin/sh");
    command.args(["-c", "ulimit -f 8; exec \"$@\"", "sh"]).arg(home.dir.join("masq/gcc")).args(["-c", "a.c"]);
    compiles_after_all(&home, &mut command);
}

#[test]
fn a_full_disk_leaves_nothing_behind() {
    if !with_own_mounts("commit::a_full_disk_leaves_nothing_behind") {
        return;
    }
    let home = Home::new();
    home.script("real/gcc", "#!/bin/sh\necho ran\nexit 4\n");
    let object = "x".repeat(300_000);
    let _daemon = home.reply(result(done(&[("a.d", "deps"), ("a.o", &object)])));
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "none"]).arg(home.dir.join("work")).status();
    assert!(mounted.unwrap().success());
    compiles_after_all(&home, home.command(home.dir.join("masq/gcc")).args(["-c", "a.c"]));
    assert_eq!(home.files(), [""; 0]);
    assert!(Command::new("umount").arg(home.dir.join("work")).status().unwrap().success());
}

#[test]
fn a_full_device_takes_back_what_was_in_place() {
    let home = Home::new();
    home.script("real/gcc", "#!/bin/sh\necho ran\nexit 4\n");
    let _daemon = home.reply(result(done(&[("a.d", "deps"), ("/dev/full", "object")])));
    compiles_after_all(&home, home.command(home.dir.join("masq/gcc")).args(["-c", "a.c"]));
    assert_eq!(home.files(), [""; 0]);
}

#[test]
fn a_failed_compile_leaves_what_the_compiler_leaves() {
    let home = Home::new();
    home.script("real/gcc", "#!/bin/sh\nexit 9\n");
    fs::write(home.work("a.o"), "old").unwrap();
    let mut answer = done(&[("a.d", "deps")]);
    answer.ending = Ending::Exit(1);
    answer.stderr = Data::Inline(b"a.c:1: error\n".to_vec());
    let _daemon = home.reply(result(answer));
    let output = home.run("gcc", &["-c", "a.c"]);
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(1), &b"a.c:1: error\n"[..]));
    assert_eq!(fs::read_to_string(home.work("a.o")).unwrap(), "old");
    assert_eq!(fs::read_to_string(home.work("a.d")).unwrap(), "deps");
}
