//! Search lists as the compilers make them of their options: order, missing directories, duplicates. It knows no names searched for.

use crate::view::{DirId, FileView};

/// Whose rules apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Compiler {
    /// GNU C and C++.
    Gcc,
    /// clang.
    Clang,
}

/// Search directories by the options that named them, as spelled, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchDirs {
    /// `-iquote` (and what stands before `-I-`).
    pub quote: Vec<String>,
    /// `-I`.
    pub user: Vec<String>,
    /// `-isystem`, then the built-in directories.
    pub system: Vec<String>,
    /// `-idirafter`.
    pub after: Vec<String>,
    /// `-I-` was given: the includer's own directory is not searched.
    pub ignore_includer: bool,
}

/// The directories searched, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SearchList {
    /// Searched for quoted includes only, before `angle`.
    pub quote: Vec<String>,
    /// Searched for every include.
    pub angle: Vec<String>,
    /// Named, but not there: searched by nobody until they are made.
    pub missing: Vec<String>,
    /// The includer's own directory is not searched (`-I-`).
    pub ignore_includer: bool,
}

struct Dir<'d> {
    spelled: &'d str,
    id: DirId,
}

impl SearchList {
    /// The list that a compiler makes of these directories: missing ones are dropped; of duplicates within a group the first
    /// stays; a user directory that is also a system directory is searched at its place among those.
    pub fn assemble<V: FileView + ?Sized>(view: &V, cwd: &str, dirs: &SearchDirs, compiler: Compiler) -> Self {
        let mut list = Self { ignore_includer: dirs.ignore_includer, ..Self::default() };
        let system_names: Vec<&String> = dirs.system.iter().chain(&dirs.after).collect();
        let system = existing(view, cwd, &system_names, &mut list.missing);
        let system = unique(system, &[], None);
        let user = existing(view, cwd, &dirs.user.iter().collect::<Vec<_>>(), &mut list.missing);
        let user = unique(user, &system, system.first().map(|d| d.id));
        let quote = existing(view, cwd, &dirs.quote.iter().collect::<Vec<_>>(), &mut list.missing);
        let quote = match compiler {
            Compiler::Gcc => unique(quote, &system, user.first().or(system.first()).map(|d| d.id)),
            Compiler::Clang => unique(quote, &[], None),
        };
        list.quote = quote.iter().map(|d| d.spelled.to_owned()).collect();
        list.angle = user.iter().chain(&system).map(|d| d.spelled.to_owned()).collect();
        list
    }
}

/// An absolute spelling of `path`.
pub(crate) fn absolute(cwd: &str, path: &str) -> String {
    if path.starts_with('/') {
        path.to_owned()
    } else if path.is_empty() {
        cwd.to_owned()
    } else {
        format!("{}/{path}", cwd.trim_end_matches('/'))
    }
}

fn existing<'d, V: FileView + ?Sized>(view: &V, cwd: &str, dirs: &[&'d String], missing: &mut Vec<String>) -> Vec<Dir<'d>> {
    let mut found = Vec::new();
    for dir in dirs {
        match view.dir(&absolute(cwd, dir)) {
            Some(id) => found.push(Dir { spelled: dir, id }),
            None => missing.push((*dir).clone()),
        }
    }
    found
}

/// Drops what is in `system`, what came before in the same group, and a last one that is the next group's first.
fn unique<'d>(dirs: Vec<Dir<'d>>, system: &[Dir<'_>], next: Option<DirId>) -> Vec<Dir<'d>> {
    let last = dirs.len().saturating_sub(1);
    let mut kept: Vec<Dir<'d>> = Vec::with_capacity(dirs.len());
    for (i, dir) in dirs.into_iter().enumerate() {
        let known = system.iter().chain(&kept).any(|d| d.id == dir.id);
        let joins = i == last && next == Some(dir.id);
        if !(known || joins) {
            kept.push(dir);
        }
    }
    kept
}
