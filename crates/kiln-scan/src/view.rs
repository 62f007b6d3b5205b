//! The scanner's only window on files. It says what is asked; whoever implements it decides how it is known.

use std::sync::Arc;

use crate::dialect::Dialect;
use crate::directives::Directives;
use crate::lex::LexError;
use crate::names::Names;

/// A regular file at its place, whatever its bytes are: one number for one physical path, never given to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u32);

/// One version of a file's bytes. A number is never given to other bytes; equal bytes may have several numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentId(pub u32);

/// One directory, however it is reached: two paths to the same directory have the same number, and a number is never given
/// to another directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DirId(pub u32);

/// What stands under a name in a directory, symbolic links followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Nothing, or a link to nothing.
    Absent,
    /// A regular file.
    File(FileId),
    /// A directory: compilers go on searching.
    Dir,
    /// Anything else: device, FIFO, link loop, a file or directory that may not be read.
    Special,
}

/// Why a file's directives cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The file may not be read, or went away.
    #[error("the file cannot be read")]
    Unreadable,
    /// The file's directives cannot be kept.
    #[error(transparent)]
    Lex(#[from] LexError),
}

/// Files and directories as one process sees them.
///
/// Answers about names must agree with each other while [`FileView::generation`] does not change; contents may change at any
/// time, and a closure says which it saw.
pub trait FileView {
    /// The tables by which the directives of this view's files name things.
    fn names(&self) -> &Names;

    /// A number that changes whenever any answer given before about a name would be another now. Answers never given may change
    /// silently: an object file that appears beside a header changes nothing. Nor does a file's new content.
    fn generation(&self) -> u64;

    /// The directory at an absolute path, walked as it is spelled (`a/../b` needs `a`, links are followed).
    fn dir(&self, path: &str) -> Option<DirId>;

    /// The directory at a relative path of one or more components, walked as it is spelled.
    fn walk(&self, from: DirId, relative: &str) -> Option<DirId>;

    /// What stands under `name` (a single component).
    fn entry(&self, dir: DirId, name: &str) -> Entry;

    /// What a file holds now.
    ///
    /// # Errors
    /// [`ReadError`] when it cannot be read, or is no regular file any more.
    fn content(&self, file: FileId) -> Result<ContentId, ReadError>;

    /// The directives of a content, cached by the view by content and dialect.
    ///
    /// # Errors
    /// [`ReadError`] when the bytes of this version cannot be read.
    fn directives(&self, content: ContentId, dialect: Dialect) -> Result<Arc<Directives>, ReadError>;
}
