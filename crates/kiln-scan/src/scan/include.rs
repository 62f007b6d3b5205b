//! What one include, probe or assembler include looks up, by the rules of the compiler. It evaluates no conditions.

use std::sync::Arc;

use crate::closure::{Reason, Searched, Tried};
use crate::directives::Lookup;
use crate::names::HeaderId;
use crate::request::ForcedKind;
use crate::resolve::{Answer, DirRef, Found, join};
use crate::search::Compiler;
use crate::unprovable::Unprovable;
use crate::view::FileView;

use super::eval::Truth;
use super::{LOOKUPS_MAX, Scan};

/// What a compiler opens without it being an input: it exists everywhere and is empty.
const NULL_DEVICE: &str = "/dev/null";

impl<V: FileView + ?Sized> Scan<'_, V> {
    /// `#include` and its kin: what may be found is entered.
    pub(super) fn include(&mut self, node: u32, how: Lookup, header: HeaderId, line: u32) -> Result<(), Unprovable> {
        self.check_header(node, header, line)?;
        if how.embed {
            self.flags.embed = true;
            let found = self.embed(node, how, header)?;
            return found.map_or(Ok(()), |f| self.record_from(f, Reason::Embedded, node, line).map(drop));
        }
        if self.nodes[node as usize].main && self.pch_line.is_some_and(|last| line <= last) {
            self.precompiled_first(node, how.quoted, header, line)?;
        }
        let answers = self.candidates(node, how, header)?;
        for answer in answers.into_iter().flatten() {
            if let Some(found) = self.accept(answer, node, line)? {
                let file = self.record_from(found, Reason::Included, node, line)?;
                self.enter(found, file, false)?;
            }
        }
        Ok(())
    }

    /// `__has_include`: what exists is listed, not entered. The truth is definite where all compilers agree on the search.
    pub(super) fn look_up(&mut self, node: u32, how: Lookup, header: HeaderId) -> Result<Truth, Unprovable> {
        self.check_header(node, header, 0)?;
        if how.embed {
            if let Some(found) = self.embed(node, how, header)? {
                self.record_from(found, Reason::Probed, node, 0)?;
            }
            return Ok(Truth::Unknown);
        }
        let answers = self.candidates(node, how, header)?;
        let mut outcomes = Vec::with_capacity(1);
        for answer in answers.into_iter().flatten() {
            let found = self.accept(answer, node, 0)?;
            if let Some(found) = found {
                self.record_from(found, Reason::Probed, node, 0)?;
            }
            outcomes.push(found.is_some());
        }
        Ok(match outcomes[..] {
            [true] => Truth::Yes,
            [false] => Truth::No,
            _ => Truth::Unknown,
        })
    }

    fn record_from(&mut self, found: Found, reason: Reason, node: u32, line: u32) -> Result<u32, Unprovable> {
        let from = self.nodes[node as usize].file;
        self.record(found, reason, Some(from), line)
    }

    fn check_header(&mut self, node: u32, header: HeaderId, line: u32) -> Result<(), Unprovable> {
        let probed = std::mem::take(&mut self.resolver.probed);
        self.spend(1 + probed)?;
        if self.resolver.searched.len() > LOOKUPS_MAX {
            return Err(Unprovable::TooManyLookups);
        }
        if self.resolver.header(self.view, header).invalid {
            return Err(Unprovable::NotUtf8 { path: self.path_of(node), line });
        }
        Ok(())
    }

    /// Turns what is in the way into an error; an absent file is none.
    fn accept(&mut self, answer: Answer, node: u32, line: u32) -> Result<Option<Found>, Unprovable> {
        match answer {
            Answer::Found(found) => Ok(Some(found)),
            Answer::Missing => Ok(None),
            Answer::TooLong => Err(Unprovable::PathTooLong { path: self.path_of(node), line }),
            Answer::Special(path) => self.special(path).map(|()| None),
        }
    }

    fn special(&mut self, path: crate::resolve::PathId) -> Result<(), Unprovable> {
        let path = self.resolver.path_text(path);
        if &*path == NULL_DEVICE { Ok(()) } else { Err(Unprovable::Special { path: path.to_string() }) }
    }

    /// Every file that one compiler or another would take for the name. One, but for `include_next` in a file that was not
    /// found along the search list.
    fn candidates(&mut self, node: u32, how: Lookup, header: HeaderId) -> Result<[Option<Answer>; 3], Unprovable> {
        let n = &self.nodes[node as usize];
        let (dir, at, main, phys) = (n.dir, n.at, n.main, n.phys);
        if let Some(answer) = self.resolver.absolute(self.view, self.cwd, header) {
            return Ok([Some(answer), None, None]);
        }
        if !how.next || main {
            return Ok([Some(self.plain(dir, at, how.quoted, header)), None, None]);
        }
        if let Some(at) = at {
            return Ok([Some(self.resolver.along(self.view, self.list, at + 1, header)), None, None]);
        }
        // gcc searches the whole list (for an absolute path the includer's directory first), clang goes on behind the file itself.
        let plain = self.plain(dir, at, how.quoted, header);
        let whole = self.resolver.along(self.view, self.list, 0, header);
        let mut behind = whole;
        while let Answer::Found(found) = behind {
            let Some(at) = found.at else { break };
            behind = self.resolver.along(self.view, self.list, at + 1, header);
            if found.phys == phys {
                break;
            }
        }
        Ok([Some(plain), Some(whole), Some(behind)])
    }

    /// A plain include in a file of directory `dir` that was itself found at `at`. With clang, a file found beside its includer
    /// inherits the includer's place on the search list: that is where `include_next` in it goes on.
    fn plain(&mut self, dir: DirRef, at: Option<u16>, quoted: bool, header: HeaderId) -> Answer {
        if quoted && !self.request.search.ignore_includer {
            match self.resolver.beside(self.view, dir, header) {
                Answer::Missing => {}
                Answer::Found(found) if self.request.compiler == Compiler::Clang => {
                    return Answer::Found(Found { at, ..found });
                }
                answer => return answer,
            }
        }
        let from = if quoted { 0 } else { self.resolver.angle(self.list) };
        self.resolver.along(self.view, self.list, from, header)
    }

    /// `#embed`: the includer's directory for quoted names, then `--embed-dir`.
    fn embed(&mut self, node: u32, how: Lookup, header: HeaderId) -> Result<Option<Found>, Unprovable> {
        if let Some(answer) = self.resolver.absolute(self.view, self.cwd, header) {
            return self.accept(answer, node, 0);
        }
        let mut dirs = Vec::new();
        if how.quoted {
            dirs.push(self.nodes[node as usize].dir);
        }
        for dir in &self.request.embed_dirs {
            dirs.extend(self.resolver.dir(self.view, self.cwd, dir));
        }
        for dir in dirs {
            let answer = self.resolver.beside(self.view, dir, header);
            if let Some(found) = self.accept(answer, node, 0)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// `.incbin`: the working directory, then the assembler's directories.
    pub(super) fn incbin(&mut self, node: u32, header: HeaderId, line: u32) -> Result<(), Unprovable> {
        self.check_header(node, header, line)?;
        self.flags.incbin = true;
        let name = Arc::clone(&self.resolver.header(self.view, header).name);
        let here = String::new();
        let request = self.request;
        for dir in std::iter::once(&here).chain(&request.assembler_dirs) {
            let path = if name.starts_with('/') { name.to_string() } else { join(dir, &name) };
            let answer = self.resolver.file_at(self.view, self.cwd, &path);
            if let Some(found) = self.accept(answer, node, line)? {
                return self.record_from(found, Reason::Assembled, node, line).map(drop);
            }
            let tried = Tried::Dir(dir.as_str().into());
            self.resolver.searched.push(Searched { name: Arc::clone(&name), tried, found: false });
        }
        Ok(())
    }

    /// The files read before the source.
    pub(super) fn forced(&mut self) -> Result<(), Unprovable> {
        let request = self.request;
        for forced in &request.forced {
            let header = self.header_of_forced(&forced.name)?;
            let precompiled = match self.precompiled_forced(forced.kind, header) {
                Err(Unprovable::PrecompiledHeader { path }) if self.stand_in(&path)? => continue,
                other => other?,
            };
            let here = self.resolver.dir(self.view, self.cwd, "");
            let answer = match (forced.kind, self.resolver.absolute(self.view, self.cwd, header), here) {
                (_, Some(answer), _) => answer,
                (ForcedKind::Implicit, ..) | (_, _, None) => self.plain_angled(header),
                (ForcedKind::Include | ForcedKind::Text | ForcedKind::Imacros, None, Some(here)) => {
                    match self.resolver.beside(self.view, here, header) {
                        Answer::Missing => self.resolver.along(self.view, self.list, 0, header),
                        answer => answer,
                    }
                }
            };
            match answer {
                Answer::Found(found) => {
                    let file = self.record(found, Reason::Forced, None, 0)?;
                    self.enter(found, file, false)?;
                    self.walk()?;
                }
                Answer::Missing if precompiled => return Err(Unprovable::PrecompiledHeader { path: forced.name.clone() }),
                Answer::Missing => {}
                Answer::TooLong => return Err(Unprovable::PathTooLong { path: forced.name.clone(), line: 0 }),
                Answer::Special(path) => self.special(path)?,
            }
        }
        Ok(())
    }

    /// Reads what stands in a precompiled header, if that is known.
    fn stand_in(&mut self, precompiled: &str) -> Result<bool, Unprovable> {
        let request = self.request;
        let Some((_, headers)) = request.stand_ins.iter().find(|(path, _)| path == precompiled) else { return Ok(false) };
        for header in headers {
            let Answer::Found(found) = self.resolver.file_at(self.view, self.cwd, header) else { return Ok(false) };
            let file = self.record(found, Reason::Forced, None, 0)?;
            self.enter(found, file, false)?;
            self.walk()?;
        }
        Ok(true)
    }

    /// The name of a file read before the source.
    pub(super) fn header_of_forced(&mut self, name: &str) -> Result<HeaderId, Unprovable> {
        let Some(header) = self.view.names().write().headers.intern(name.as_bytes()).map(HeaderId) else {
            return Err(Unprovable::TooManyLookups);
        };
        if self.resolver.header(self.view, header).invalid {
            return Err(Unprovable::NotUtf8 { path: self.request.source.clone(), line: 0 });
        }
        Ok(header)
    }

    fn plain_angled(&mut self, header: HeaderId) -> Answer {
        let from = self.resolver.angle(self.list);
        self.resolver.along(self.view, self.list, from, header)
    }
}
