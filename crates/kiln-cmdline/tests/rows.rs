//! Every row of the option tables, given to the real compilers: none writes a file that was not modelled.

mod support;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use kiln_cmdline::{Effect, Family, Opt, Reason, Takes, options, shared_options};
use support::{CLANG_14, CLANG_19, CROSS_GCC, Compiler, GCC, TempDir, files_below};

const SOURCE: &str = "int g(int); int f(int x) { int s = 0; for (int i = 0; i < x; i++) s += g(i); return s; }\n";

/// Rows that say where to stop or what to read, which the command has already.
fn is_frame(row: &Opt) -> bool {
    matches!(row.effect, Effect::Output | Effect::Language | Effect::Include | Effect::Imacros)
}

/// The row as it stands on a command line, with a value where it takes one.
fn spelled(row: &Opt) -> Vec<String> {
    let value = match row.effect {
        Effect::PassAssembler => "--noexecstack",
        Effect::PassPreprocessor => "-DY",
        Effect::PassCc1 => "-disable-O0-optnone",
        Effect::PassLlvm => "-inline-threshold=5",
        Effect::Side(_) | Effect::Depend(_) => "side",
        Effect::SaveTemps => "obj",
        Effect::Search(_) | Effect::Sysroot | Effect::IncludeSysroot | Effect::ReadsDir => "inc",
        Effect::Charset => "UTF-8",
        Effect::Specs => "nosys.specs",
        Effect::DumpLetters => "p",
        Effect::Warn => "all",
        _ => "1",
    };
    match row.takes {
        Takes::Nothing => vec![row.name.to_owned()],
        Takes::Joined => vec![format!("{}{value}", row.name)],
        Takes::Separate | Takes::Either => vec![row.name.to_owned(), value.to_owned()],
    }
}

/// Flags that ask for nothing but other code or messages are tried some at a time; those that do not go together alone.
const TOGETHER: usize = 8;

fn is_plain(row: &Opt) -> bool {
    row.takes == Takes::Nothing && matches!(row.effect, Effect::Code | Effect::Warn | Effect::Message | Effect::Link)
}

/// Runs a compile with some rows; how many the compiler took.
fn run_rows(compiler: Compiler, rows: &[&Opt]) -> Result<usize, String> {
    let dir = TempDir::new("rows");
    dir.write("a.c", SOURCE);
    dir.write("inc/keep", "");
    let mut args: Vec<String> = ["-c", "a.c", "-O1", "-g", "-MD"].map(str::to_owned).to_vec();
    args.extend(rows.iter().flat_map(|row| spelled(row)));
    let read = compiler.read(&args, dir.path());
    let before = files_below(dir.path());
    let modelled: Vec<String> = match (&read, rows[0].effect) {
        (Ok(invocation), _) => invocation.outputs.iter().map(|output| output.path.clone()).collect(),
        (Err(_), Effect::Refuse(_)) => return Ok(0),
        // A value that fits no option of the kind; with a good one the other tests have it.
        (Err(refusal), _) if matches!(refusal.reason, Reason::BadCombination | Reason::PreprocessorOption) => return Ok(0),
        // clang has no specs files; what it makes of the option is left to it.
        (Err(refusal), Effect::Specs) if refusal.reason == Reason::Specs && compiler.family == Family::Clang => return Ok(0),
        (Err(refusal), _) => return Err(format!("{} {args:?}: {refusal}", compiler.program)),
    };
    let run = compiler.run(&args, dir.path());
    for file in files_below(dir.path()).difference(&before) {
        if !modelled.contains(file) {
            return Err(format!("{} {args:?}: wrote {file}, modelled {modelled:?}", compiler.program));
        }
    }
    Ok(if run.status.success() { rows.len() } else { 0 })
}

fn run_group(compiler: Compiler, rows: &[&Opt]) -> Result<usize, String> {
    if let Ok(accepted) = run_rows(compiler, rows)
        && accepted == rows.len()
    {
        return Ok(accepted);
    }
    rows.iter().map(|row| run_rows(compiler, &[row])).sum()
}

/// The first compiler runs every row, the others those of their targets.
fn check_rows(compilers: &[Compiler], family: Family, accepted_min: usize) {
    let all = || shared_options().iter().chain(options(family)).filter(|row| !is_frame(row));
    let mut groups: Vec<(Compiler, Vec<&Opt>)> = Vec::new();
    for (at, compiler) in compilers.iter().enumerate() {
        let rows = || all().filter(|row| at == 0 || row.name.starts_with("-m"));
        let plain: Vec<&Opt> = rows().filter(|row| is_plain(row)).collect();
        groups.extend(plain.chunks(TOGETHER).map(|chunk| (*compiler, chunk.to_vec())));
        groups.extend(rows().filter(|row| !is_plain(row)).map(|row| (*compiler, vec![row])));
    }
    let (next, accepted, problems) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some((compiler, rows)) = groups.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match run_group(*compiler, rows) {
                        Ok(count) => drop(accepted.fetch_add(count, Ordering::Relaxed)),
                        Err(problem) => problems.lock().expect("no panic above").push(problem),
                    }
                }
            });
        }
    });
    let problems = problems.into_inner().expect("no panic above");
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    let accepted = accepted.into_inner();
    assert!(accepted >= accepted_min, "only {accepted} rows compiled, of {} groups", groups.len());
}

#[test]
fn no_row_of_gcc_writes_an_unmodelled_file() {
    check_rows(&[GCC, CROSS_GCC], Family::Gcc, 800);
}

#[test]
fn no_row_of_clang_writes_an_unmodelled_file() {
    check_rows(&[CLANG_19, CLANG_14], Family::Clang, 700);
}
