//! What compilers answer: search lists, macros, operators, lists of inputs, the meaning of `native`.

use crate::support::{DRIVERS, environment, run, sources, strings, toolchain, unit_of};
use kiln_toolchain::{
    Builtins, FileStamp, ListError, NATIVE_SPECS_PATH, list_inputs, names_native, query_builtins, query_operators, resolve_native,
};
use std::path::Path;

#[test]
fn the_search_list_and_macros_are_the_compilers() {
    for driver in DRIVERS {
        let (_dir, work) = sources();
        std::fs::create_dir(work.join("q d")).unwrap();
        std::fs::create_dir(work.join("i")).unwrap();
        let args = strings(&["-iquote", "q d", "-Ii", "-I", "none", "-isystem", "gone"]);
        let language = if driver.contains("++") { "c++" } else { "c" };
        let found = query_builtins(&toolchain(driver), language, &args, &environment(), &work).unwrap();
        assert_eq!(found.quote_dirs, ["q d"], "{driver}");
        assert_eq!(found.include_dirs[0].path, "i", "{driver}");
        assert!(found.missing_dirs.iter().any(|dir| dir == "none") && found.missing_dirs.iter().any(|dir| dir == "gone"));
        let macros = String::from_utf8(found.macros.clone()).unwrap();
        assert!(
            macros.lines().all(|line| line.starts_with("#define ")) && macros.contains("#define __SIZEOF_INT__ 4\n"),
            "{driver}"
        );
        assert_eq!(macros.contains("#define __cplusplus "), driver.contains("++"), "{driver}");
        assert!(!macros.contains("kiln"), "{driver}");
        assert!(found.operators.contains(&"__has_include") && found.operators.contains(&"__has_attribute"), "{driver}");
        assert_eq!(found.operators.contains(&"__has_feature"), driver.contains("clang"), "{driver}");
        assert_eq!(found.preincluded.iter().any(|name| name.ends_with("/stdc-predef.h")), !driver.contains("clang"), "{driver}");
        assert!(found.is_current());
        let read = Builtins::decode(&found.encode().unwrap()).unwrap();
        assert!(read == found && read.is_current());
        std::fs::create_dir(work.join("none")).unwrap();
        assert!(!found.is_current() && !read.is_current(), "a directory that comes is searched");
    }
}

#[test]
fn a_header_that_the_compiler_includes_by_itself_bears_on_the_macros() {
    let (_dir, work) = sources();
    let header = work.join("stdc-predef.h");
    std::fs::write(&header, "#define LIBRARY 1\n").unwrap();
    while !FileStamp::of(&std::fs::metadata(&header).unwrap()).is_settled_at(std::time::SystemTime::now()) {
        std::thread::yield_now();
    }
    let ask = || query_builtins(&toolchain("/usr/bin/gcc"), "c", &strings(&["-isystem", "."]), &environment(), &work).unwrap();
    let found = ask();
    assert!(String::from_utf8_lossy(&found.macros).contains("#define LIBRARY 1\n") && found.is_current());
    std::fs::write(&header, "#define LIBRARY 2\n").unwrap();
    assert!(!found.is_current(), "the library was upgraded");
    let fresh = ask();
    assert!(String::from_utf8_lossy(&fresh.macros).contains("#define LIBRARY 2\n"));
}

#[test]
fn options_and_variables_bear_on_the_answer() {
    let gcc = toolchain("/usr/bin/gcc");
    let (_dir, work) = sources();
    let ask = |language: &str, args: &[&str], env: &[(String, String)]| {
        query_builtins(&gcc, language, &strings(args), env, &work).unwrap_or_else(|error| panic!("{args:?}: {error}"))
    };
    let plain = ask("c", &[], &environment());
    assert_ne!(ask("c", &["-std=c99"], &environment()).macros, plain.macros);
    assert_ne!(ask("assembler-with-cpp", &[], &environment()).macros, plain.macros);
    assert!(ask("c", &["-nostdinc"], &environment()).include_dirs.is_empty());
    assert!(ask("c", &["-ffreestanding"], &environment()).preincluded.is_empty());
    std::fs::create_dir(work.join("by-variable")).unwrap();
    let mut env = environment();
    env.push(("CPATH".into(), "by-variable".into()));
    env.push(("LC_ALL".into(), "de_DE.UTF-8".into()));
    assert_eq!(ask("c", &[], &env).include_dirs[0].path, "by-variable");
    let error = query_builtins(&gcc, "c", &strings(&["-march=none"]), &environment(), &work).unwrap_err().to_string();
    assert!(error.contains("exits with 1") && error.contains("-march="), "{error}");
}

#[test]
fn operators_have_the_compilers_values() {
    let ask = |driver: &str, expressions: &[&str]| {
        query_operators(&toolchain(driver), "c++", &[], &strings(expressions), &environment(), Path::new("/"))
    };
    for driver in DRIVERS {
        let values =
            ask(driver, &["__has_cpp_attribute(nodiscard)", "__has_attribute(none)", "__has_builtin(__builtin_expect)"]).unwrap();
        assert!(values[0] >= 201_603 && values[1..] == [0, 1], "{driver}: {values:?}");
        assert!(ask(driver, &["__has_include(<stdio.h>)"]).is_err(), "{driver}: where it stands matters");
        assert!(ask(driver, &["1\n2"]).is_err() && ask(driver, &["__unknown(x)"]).is_err(), "{driver}");
        assert_eq!(ask(driver, &[]).unwrap(), []);
    }
    assert_eq!(ask("/usr/bin/clang-19", &["__has_feature(cxx_rtti)", "__has_extension(none)"]).unwrap(), [1, 0]);
}

#[test]
fn lists_name_every_input_as_spelled() {
    for driver in DRIVERS {
        let (_dir, work) = sources();
        std::fs::create_dir(work.join("a b")).unwrap();
        for name in ["a b/x y.h", "d$.h", "h#.h", "c:d.h", "plain.h", "back\\slash.h"] {
            std::fs::write(work.join(name), "").unwrap();
        }
        // clang lists a backslash as a slash, whose file is not there: an error, tested below.
        let last = if driver.contains("clang") { "plain.h" } else { "back\\slash.h" };
        let includes = ["a b/../a b/x y.h", "d$.h", "h#.h", "c:d.h", "./plain.h", last];
        let text: String = includes.iter().map(|name| format!("#include \"{name}\"\n")).collect();
        let unit = if driver.contains("++") { "list.cc" } else { "list.c" };
        std::fs::write(work.join(unit), text).unwrap();
        let args = strings(&["-O2", "-c", "-MD", "-MF", "x.d", "-o", "x.o", "-include", "plain.h", unit]);
        let found = list_inputs(&toolchain(driver), &args, &environment(), &work).unwrap();
        for name in includes.iter().chain([&unit]) {
            assert!(
                found.iter().any(|found| found == name || found == name.trim_start_matches("./")),
                "{driver}: {name} in {found:?}"
            );
        }
        assert!(!work.join("x.d").exists() && !work.join("x.o").exists(), "{driver}: a list leaves nothing behind");
    }
}

#[test]
fn lists_of_units_that_fail_or_leave_doubt_are_errors() {
    for driver in DRIVERS {
        let (_dir, work) = sources();
        let unit = unit_of(driver);
        std::fs::write(work.join(unit), "#include \"none.h\"\n").unwrap();
        match list_inputs(&toolchain(driver), &strings(&["-c", unit]), &environment(), &work) {
            Err(ListError::Rejected { code: 1, stderr }) => {
                assert!(String::from_utf8_lossy(&stderr).contains("none.h"), "{driver}")
            }
            other => panic!("{driver}: {other:?}"),
        }
        std::fs::write(work.join("odd\\ name.h"), "").unwrap();
        std::fs::write(work.join("new\nline.h"), "").unwrap();
        let odd = work.join("new\nline.h");
        let answer = list_inputs(
            &toolchain(driver),
            &["-c", "-include", odd.to_str().unwrap(), "/dev/null"].map(String::from),
            &environment(),
            &work,
        );
        assert!(answer.is_err(), "{driver}: {answer:?}");
    }
}

/// Compiles the unit as asked and as resolved, and compares every byte.
fn native(driver: &str, args: &[&str]) {
    let toolchain = toolchain(driver);
    let (dir, work) = sources();
    let unit = unit_of(driver);
    let language = if unit == "unit.cc" { "c++" } else { "c" };
    let resolved =
        resolve_native(&toolchain, &strings(args), language).unwrap_or_else(|error| panic!("{driver} {args:?}: {error}"));
    let specs = dir.path().join("native.specs");
    if let Some(text) = &resolved.specs {
        assert!(!text.contains("local_cpu_detect"), "{text}");
        std::fs::write(&specs, text).unwrap();
    } else {
        assert!(!names_native(&resolved.spell(&strings(args))), "{driver}: {resolved:?}");
    }
    let spelled: Vec<String> =
        resolved.spell(&strings(args)).iter().map(|arg| arg.replace(NATIVE_SPECS_PATH, specs.to_str().unwrap())).collect();
    let spelled: Vec<&str> = spelled.iter().map(String::as_str).collect();
    let object = |args: &[&str]| {
        let output = run(&[&[driver], args, &["-c", unit, "-o", "out.o"]].concat(), &work);
        assert!(output.status.success(), "{driver} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        (std::fs::read(work.join("out.o")).unwrap(), output.stderr)
    };
    assert!(object(&spelled) == object(args), "{driver} {args:?}: the objects differ");
}

#[test]
fn native_is_what_this_processor_means_to_the_byte() {
    for driver in ["/usr/bin/gcc", "/usr/bin/g++", "/usr/bin/clang-14", "/usr/bin/clang++-19"] {
        native(driver, &["-march=native", "-O2", "-g"]);
        native(driver, &["-O3", "-mtune=native", "-g"]);
        native(driver, &["-O3", "-march=native", "-mtune=generic", "-mno-avx512f", "-mno-avx2"]);
        native(driver, &["-O2", "-march=native", "-flto", "-frandom-seed=1"]);
        native(driver, &["-O2", "-mtune=native", "-march=x86-64-v2", "-flto", "-frandom-seed=1", "-g"]);
    }
    native("/usr/bin/gcc", &["-march=native", "-mtune=native", "-g3", "-frecord-gcc-switches"]);
}

#[test]
fn native_that_cannot_be_proven_is_refused() {
    for (driver, args) in [
        ("/usr/bin/aarch64-linux-gnu-gcc", &["-mcpu=native"][..]),
        ("/usr/bin/clang-19", &["-march=native", "-grecord-command-line"]),
        ("/usr/bin/clang-19", &["-march=native", "-frecord-gcc-switches"]),
        ("/usr/bin/gcc", &["-march=native", "-specs=/usr/lib/x.specs"]),
    ] {
        let answer = resolve_native(&toolchain(driver), &strings(args), "c");
        assert!(answer.is_err(), "{driver} {args:?}: {answer:?}");
    }
    assert!(names_native(&strings(&["-O2", "-mcpu=native"])) && !names_native(&strings(&["-march=x86-64", "native"])));
}
