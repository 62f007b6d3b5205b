//! The reference page: what is distributed, what is refused and why, generated from the tables.

use std::fmt::Write as _;

use crate::environment::{EnvEffect, environment_rows};
use crate::reason::Reason;
use crate::table::{Effect, Family, Opt, Takes, assembler_options, cc1_options, options, shared_options};

/// The text of `docs/options.md`.
#[must_use]
pub fn reference() -> String {
    let mut out = String::from(HEAD);
    reasons(&mut out);
    environment(&mut out);
    out.push_str(
        "\n## Options\n\nA value that follows is shown as `=VALUE` or ` VALUE`; `-fno-`, `-mno-`, `-gno-` and `-Wno-` spellings \
         are known with their positive ones. Every `-W` option without a file is a warning. For gcc, `-m` options of targets \
         that are not listed are distributed too.\n",
    );
    section(&mut out, "gcc and clang", shared_options());
    section(&mut out, "gcc only", options(Family::Gcc));
    section(&mut out, "clang only", options(Family::Clang));
    section(&mut out, "Inside `-Wa,` and `-Xassembler`", assembler_options());
    section(&mut out, "Inside `-Xclang` (besides clang's own)", cc1_options());
    out
}

const HEAD: &str = "\
# Options

Generated from the tables of kiln-cmdline; a test keeps it fresh. What is in no table is refused as `unknown-option`: it may
write a file nobody expects, so the command runs here, as it was given.

A compile is distributed and cached when it makes an object (`-c`) or an assembly file (`-S`) of each source in C, C++,
Objective-C, Objective-C++ or assembly, and every option and variable is in the tables below without a reason against it.
Several sources in one command are compiled apart. A command that links as well is split where it has more than one source and
writes nothing but the program: the objects are made apart and linked here. One source compiled and linked at once stays here:
configure scripts try such commands by the thousand, and they are over sooner than a question would be.
Precompiled headers are made on the farm too, and used there as long as they say what their headers say.
";

fn reasons(out: &mut String) {
    out.push_str("\n## Reasons\n\n| reason | meaning |\n|---|---|\n");
    for reason in Reason::ALL {
        let _ = writeln!(out, "| `{reason}` | {} |", reason.describe());
    }
}

fn environment(out: &mut String) {
    out.push_str("\n## Environment\n\nVariables in no row change nothing and are not sent.\n\n| variable | effect |\n|---|---|\n");
    for row in environment_rows() {
        let effect = match row.effect {
            EnvEffect::Sent => "sent",
            EnvEffect::WorkingDir => "sent; the working directory where it is unset or relative",
            EnvEffect::SentForC => "sent for C and preprocessed assembly",
            EnvEffect::SentForCxx => "sent for C++",
            EnvEffect::SentForObjC => "sent for Objective-C",
            EnvEffect::SentForObjCxx => "sent for Objective-C++",
            EnvEffect::Terminal => "messages on a terminal only",
            EnvEffect::TerminalColor => "messages on a terminal, or where colour is demanded",
            EnvEffect::Irrelevant => "changes nothing",
            EnvEffect::Refuses => "refused: `environment`",
            EnvEffect::RefusesUnlessEmpty => "refused unless empty: `environment`",
        };
        let _ = writeln!(out, "| `{}` | {effect} |", row.name);
    }
}

/// Rows of one effect share a line, in the order in which the effects first come up.
fn section(out: &mut String, title: &str, rows: &[Opt]) {
    let _ = writeln!(out, "\n### {title}\n\n| effect | options |\n|---|---|");
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for row in rows {
        let (key, name) = (describe(row.effect), spell(row));
        match groups.iter_mut().find(|(effect, _)| *effect == key) {
            Some((_, names)) => names.push(name),
            None => groups.push((key, vec![name])),
        }
    }
    groups.sort();
    for (effect, names) in groups {
        let _ = writeln!(out, "| {effect} | {} |", names.join(" "));
    }
}

fn spell(row: &Opt) -> String {
    match row.takes {
        Takes::Nothing => format!("`{}`", row.name),
        Takes::Joined => format!("`{}VALUE`", row.name),
        Takes::Separate | Takes::Either => format!("`{} VALUE`", row.name),
    }
}

pub(crate) fn describe(effect: Effect) -> String {
    let text = match effect {
        Effect::Compile | Effect::Assemble => "what is made",
        Effect::Output => "the output",
        Effect::Language => "the language",
        Effect::Search(_) | Effect::SearchInSysroot | Effect::SearchPrefix | Effect::WithPrefix | Effect::WithPrefixBefore => {
            "search path"
        }
        Effect::Sysroot
        | Effect::IncludeSysroot
        | Effect::NoStdInc
        | Effect::NoStdIncxx
        | Effect::NoBuiltinInc
        | Effect::NoStdlibInc => "built-in directories",
        Effect::Define | Effect::Undefine => "macros",
        Effect::Include | Effect::Imacros | Effect::IncludePch => "headers read first",
        Effect::EmitPch => "what is made; a precompiled header of a header only",
        Effect::Depend(_) => "dependency file",
        Effect::Code => "code or preprocessing",
        Effect::Debug => "debug information",
        Effect::CompilationDir => "directory in debug information",
        Effect::Warn => "warnings",
        Effect::Message | Effect::Color | Effect::DiagnosticsFormat | Effect::OptInfo => "messages, or nothing",
        Effect::Link => "linker only",
        Effect::Machine => "processor; `native` is resolved here",
        Effect::Specs => "specs; shipped where they only give options (gcc)",
        Effect::Charset => "character set; UTF-8 and kin only",
        Effect::DumpLetters => "annotations; letters that dump are refused",
        Effect::Instrument => "profile instrumentation",
        Effect::EmitLlvm | Effect::Lto => "bitcode, link-time optimisation",
        Effect::SaveTemps => "side files: intermediates",
        Effect::Side(_) => "side files",
        Effect::Reads(_) | Effect::ReadsDir => "files read",
        Effect::PassPreprocessor | Effect::PassAssembler | Effect::PassCc1 | Effect::PassLlvm => "options inside options",
        Effect::Refuse(reason) => return format!("refused: `{reason}`"),
    };
    text.to_owned()
}
