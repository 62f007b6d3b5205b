//! Options inside options: `-Wp,` `-Xpreprocessor` `-Wa,` `-Xassembler` `-Xclang` `-mllvm`. Knows only what may stand there.

use crate::invocation::SearchKind;
use crate::read::State;
use crate::reason::Reason;
use crate::table::{ASSEMBLER, CC1, Depend, Effect, Family, llvm_prefixes};
use crate::words::{Names, Spelled, Word, Words};

/// `-Wp,A,B,...`. clang's driver takes `-Wp,-MD,FILE` and `-Wp,-MMD,FILE` for itself.
pub(crate) fn comma_preprocessor(state: &mut State, arg: &str, value: &str) {
    let tokens: Vec<&str> = value.split(',').collect();
    if state.family == Family::Clang && matches!(tokens[0], "-MD" | "-MMD") {
        match tokens.as_slice() {
            [flag, file] => {
                state.depend(if *flag == "-MD" { Depend::All } else { Depend::User }, "");
                state.depend(Depend::File, file);
            }
            _ => state.refuse(Reason::PreprocessorOption, arg),
        }
        return;
    }
    state.preprocessor.extend(tokens.into_iter().map(str::to_owned));
}

/// Reads the gathered tokens; they stand behind the driver's own options in the inner command.
pub(crate) fn finish(state: &mut State) {
    preprocessor(state);
    assembler(state);
    cc1(state);
    let llvm = std::mem::take(&mut state.llvm);
    for option in &llvm {
        if !is_harmless_llvm(option) {
            state.refuse(Reason::BackendOption, option);
        }
    }
}

fn preprocessor(state: &mut State) {
    let tokens = std::mem::take(&mut state.preprocessor);
    let names = Names::Driver(state.family);
    let mut at = 0;
    while at < tokens.len() {
        // The inner gcc takes a file after -MD and -MMD where the driver takes none.
        if matches!(tokens[at].as_str(), "-MD" | "-MMD") {
            let Some(file) = tokens.get(at + 1).filter(|_| state.family == Family::Gcc) else {
                return state.refuse(Reason::PreprocessorOption, &tokens[at]);
            };
            state.sides.dep.wanted = true;
            state.sides.dep.inner_system = Some(tokens[at] == "-MD");
            state.sides.dep.inner_file = Some(file.clone());
            at += 2;
            continue;
        }
        let mut words = Words::new(names, &tokens[at..]);
        match words.next() {
            Some(Word::Option(spelled)) => {
                preprocessor_option(state, spelled);
                at += if spelled.next.is_some() { 2 } else { 1 };
            }
            _ => return state.refuse(Reason::PreprocessorOption, &tokens[at]),
        }
    }
}

fn preprocessor_option(state: &mut State, spelled: Spelled<'_>) {
    let allowed = match spelled.found.opt.effect {
        Effect::Define | Effect::Undefine | Effect::Include | Effect::Imacros | Effect::Search(_) => true,
        Effect::Warn | Effect::Message => spelled.next.is_none(),
        Effect::Depend(Depend::Target | Depend::QuotedTarget | Depend::Phony) => state.family == Family::Gcc,
        // The inner -MF counts over the driver's, as the inner -MD does.
        Effect::Depend(Depend::File) if state.family == Family::Gcc => {
            state.sides.dep.inner_file = Some(spelled.value.to_owned());
            return;
        }
        // One word, so that `-Wp,WORD` can be repeated in the query.
        Effect::Code if spelled.next.is_none() && !spelled.arg.contains(',') => {
            return state.probe(&format!("-Wp,{}", spelled.arg), None);
        }
        _ => false,
    };
    if allowed {
        state.common(spelled);
    } else {
        state.refuse(Reason::PreprocessorOption, spelled.arg);
    }
}

fn assembler(state: &mut State) {
    let tokens = std::mem::take(&mut state.assembler);
    for word in Words::new(Names::Table(&ASSEMBLER, None), &tokens) {
        let Word::Option(spelled) = word else {
            let (Word::Input(text) | Word::Unknown(text) | Word::MissingValue(text)) = word else { continue };
            state.refuse(Reason::AssemblerOption, text);
            continue;
        };
        match spelled.found.opt.effect {
            Effect::Code | Effect::Warn | Effect::Message => {}
            Effect::Debug => state.invocation.debug = true,
            Effect::Search(SearchKind::Assembler) | Effect::Side(_) | Effect::Refuse(_) => state.common(spelled),
            _ => state.refuse(Reason::AssemblerOption, spelled.arg),
        }
    }
}

fn cc1(state: &mut State) {
    let tokens = std::mem::take(&mut state.cc1);
    for word in Words::new(Names::Table(&CC1, Some(Family::Clang)), &tokens) {
        let Word::Option(spelled) = word else {
            let (Word::Input(text) | Word::Unknown(text) | Word::MissingValue(text)) = word else { continue };
            state.refuse(Reason::BackendOption, text);
            continue;
        };
        let effect = spelled.found.opt.effect;
        // The query repeats `-Xclang` words as they are, in order; but it is to tell of the compiler, not of headers.
        if !matches!(effect, Effect::Include | Effect::IncludePch | Effect::EmitPch) {
            for word in [Some(spelled.arg), spelled.next].into_iter().flatten() {
                state.probe("-Xclang", Some(word));
            }
        }
        match effect {
            Effect::Code | Effect::Warn | Effect::Message => {}
            Effect::Include => state.include_inner(spelled.value),
            Effect::IncludePch | Effect::EmitPch => state.common(spelled),
            Effect::Machine => state.invocation.native |= spelled.value == "native",
            Effect::Define | Effect::Undefine | Effect::Refuse(_) => state.common(spelled),
            Effect::PassLlvm => state.llvm.push(spelled.value.to_owned()),
            _ => state.refuse(Reason::BackendOption, spelled.arg),
        }
    }
}

fn is_harmless_llvm(option: &str) -> bool {
    let name = option.trim_start_matches('-');
    !option.contains('/')
        && !name.contains("file")
        && !name.contains("output")
        && llvm_prefixes().iter().any(|prefix| name.starts_with(prefix))
}
