//! gcc's specs files: whether one only adds and removes options that name no file. Knows their language, not what gcc's own specs say.
//!
//! A specs file is a program: it can start others, pipe them together, load plugins and name files to write. Distributions and
//! C libraries use it to turn an option on unless another is given; that is what is understood here, all else is refused.

use crate::table::{Effect, Family, find};

/// Specs that matter to the linker only. What is in them is never looked at, unless others refer to it.
const OF_LINKS: &[&str] = &[
    "endfile",
    "lib",
    "libgcc",
    "libgcc_eh",
    "libgfortran",
    "liborig",
    "libsan",
    "link",
    "link_command",
    "link_gcc_c_sequence",
    "link_gomp",
    "link_libgcc",
    "link_ssp",
    "linker",
    "linker_plugin_file",
    "lto_gcc",
    "lto_wrapper",
    "post_link",
    "startfile",
];

/// Options of the linker that are no concern of the compiler proper.
const LINK_WORDS: &[&str] = &["-pie", "-no-pie", "-static", "-static-pie", "-shared", "-pthread"];

/// Whether a specs file does no more than give options.
///
/// # Errors
/// What it does besides, for people.
pub fn check_specs(text: &str) -> Result<(), String> {
    let mut of_links: Vec<String> = OF_LINKS.iter().map(|name| (*name).to_owned()).collect();
    let text = text.replace("\\\n", "");
    let mut sections: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut open = false;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some(command) = line.strip_prefix('%').filter(|_| !open) {
            let words: Vec<&str> = command.split_ascii_whitespace().collect();
            match words.as_slice() {
                // The new name stands for what the old one stood for.
                ["rename", old, new] if of_links.iter().any(|known| known == old) => of_links.push((*new).to_owned()),
                ["rename", _, _] => {}
                _ => return Err(line.to_owned()),
            }
        } else if let Some(name) = line.strip_prefix('*').and_then(|rest| rest.strip_suffix(':')).filter(|_| !open) {
            sections.push((name, Vec::new()));
            open = true;
        } else if line.trim().is_empty() {
            open = false;
        } else {
            let Some((_, lines)) = sections.last_mut().filter(|_| open) else { return Err(line.to_owned()) };
            lines.push(line);
        }
    }
    for (name, lines) in sections {
        let is_of_link = |name: &str| of_links.iter().any(|known| known == name);
        match lines.as_slice() {
            _ if is_of_link(name) => {}
            [] => {}
            [line] => Spec { rest: line.strip_prefix('+').unwrap_or(line), is_of_link: &is_of_link }.check()?,
            // Each line is a command of its own.
            [_, second, ..] => return Err((*second).to_owned()),
        }
    }
    Ok(())
}

/// One spec string, what is not yet read of it.
struct Spec<'s> {
    rest: &'s str,
    is_of_link: &'s dyn Fn(&str) -> bool,
}

impl<'s> Spec<'s> {
    fn refuse(&self, at: &str) -> Result<(), String> {
        Err(at.chars().take(60).collect())
    }

    fn check(mut self) -> Result<(), String> {
        loop {
            self.rest = self.rest.trim_start();
            let all = self.rest;
            let Some(first) = all.chars().next() else { return Ok(()) };
            match first {
                '}' | ';' => self.skip(1),
                '%' => self.substitution()?,
                '-' => self.option()?,
                _ => return self.refuse(all),
            }
        }
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = &self.rest[bytes..];
    }

    /// Up to the first of `ends`, which stays.
    fn take(&mut self, ends: &[char]) -> &'s str {
        let len = self.rest.find(ends).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(len);
        self.rest = rest;
        taken
    }

    /// `%(name)`, `%{condition:...}`, `%<option`, `%*`.
    fn substitution(&mut self) -> Result<(), String> {
        let all = self.rest;
        self.skip(1);
        let kind = self.rest.chars().next().unwrap_or(' ');
        match kind {
            '(' => {
                self.skip(1);
                let name = self.take(&[')']);
                if self.rest.is_empty() || (self.is_of_link)(name) {
                    return self.refuse(all);
                }
                self.skip(1);
            }
            '{' => {
                self.skip(1);
                self.condition(all)?;
            }
            '<' | '>' => {
                self.skip(1);
                self.take(&[' ', '\t', '}', ';']);
            }
            '*' => self.skip(1),
            _ => return self.refuse(all),
        }
        Ok(())
    }

    /// After `%{` or `;`: the switches asked for, then `:` before what they give, or `}` where they give themselves.
    fn condition(&mut self, all: &str) -> Result<(), String> {
        let asked = self.take(&[':', '}', '%', '{', ' ']);
        let plain = |c: char| c.is_ascii_alphanumeric() || "!|&*.,=-+_".contains(c);
        if !asked.chars().all(plain) {
            return self.refuse(all);
        }
        match self.rest.chars().next() {
            Some(':') => {
                self.skip(1);
                // What is given is read as all else; a `}` or `;` ends it there, and a `;` is followed by another condition.
                self.given(all)
            }
            Some('}') => {
                self.skip(1);
                Ok(())
            }
            _ => self.refuse(all),
        }
    }

    fn given(&mut self, all: &str) -> Result<(), String> {
        loop {
            self.rest = self.rest.trim_start();
            match self.rest.chars().next() {
                Some('}') => {
                    self.skip(1);
                    return Ok(());
                }
                Some(';') => {
                    self.skip(1);
                    return self.condition(all);
                }
                Some('%') => self.substitution()?,
                Some('-') => self.option()?,
                _ => return self.refuse(all),
            }
        }
    }

    /// An option that may be given: one that changes code or messages, or matters to the linker. None that defines a macro:
    /// whether the preprocessor gets it depends on the spec.
    fn option(&mut self) -> Result<(), String> {
        let word = self.take(&[' ', '\t', '}', ';', '%']);
        // A word that goes on with a substitution has a value that is not seen here.
        if self.rest.starts_with('%') {
            return self.refuse(word);
        }
        let harmless = find(Family::Gcc, word).is_some_and(|found| match found.opt.effect {
            Effect::Code => ["-f", "-m", "-O"].iter().any(|kind| word.starts_with(kind)) || LINK_WORDS.contains(&word),
            Effect::Warn | Effect::Message | Effect::Link | Effect::Debug => true,
            Effect::Machine => !word.ends_with("native"),
            _ => false,
        });
        if harmless { Ok(()) } else { self.refuse(word) }
    }
}

#[cfg(test)]
mod tests {
    use super::check_specs;

    const HARDENED: &str = "*cc1_options:\n+ %{!r:%{!fpie:%{!fPIE:%{!fpic:%{!fPIC:%{!fno-pic:-fPIE}}}}}}\n";

    #[test]
    fn specs_that_give_options_are_harmless() {
        for text in [
            "",
            "# nothing\n\n",
            HARDENED,
            "*self_spec:\n+ %{!static:%{!shared:%{!r:%{!fno-PIE:%{!no-pie:-fPIE -pie}}}}}\n",
            "*link:\n+ --as-needed %{!shared:-z now}\n\n*cc1:\n%(cc1_cpu) %{profile:-fwrapv} %{O*:-fno-pie;g:-g0}\n",
            "%rename link nano_link\n\n*link:\n%(nano_link) %:replace-outfile(-lc -lc_nano)\n",
            "*cc1_cpu:\n%<march=native -march=skylake -mtune=skylake\n",
        ] {
            assert_eq!(check_specs(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn all_else_is_not() {
        for (text, why) in [
            ("%include <x.specs>\n", "%include <x.specs>"),
            ("*cc1_options:\n+ -fplugin=annobin\n", "-fplugin=annobin"),
            ("*cc1_options:\n+ %{!x:-fdump-tree-all}\n", "-fdump-tree-all"),
            ("*cc1_options:\n+ -include x.h\n", "-include"),
            ("*cc1_options:\n+ -DX=1\n", "-DX=1"),
            ("*cc1_options:\n+ -std=c99\n", "-std=c99"),
            ("*cc1_options:\n+ -f%*\n", "-f"),
            ("*cc1_options:\n+ -MD\n", "-MD"),
            ("*cc1_options:\n+ %:find-plugindir()\n", "%:find-plugindir()"),
            ("*cc1_options:\n+ %{x:-O2 %W{o*}}\n", "%W{o*}}"),
            ("*cc1:\nevil %i\n", "evil %i"),
            ("*cc1:\n-O2\nevil\n", "evil"),
            ("%rename link mine\n*cc1:\n%(mine)\n", "%(mine)"),
            ("*cc1:\n%{O2\n", "%{O2"),
            ("-O2\n", "-O2"),
            ("*cc1_cpu:\n-march=native\n", "-march=native"),
        ] {
            assert_eq!(check_specs(text), Err(why.to_owned()), "{text}");
        }
    }
}
