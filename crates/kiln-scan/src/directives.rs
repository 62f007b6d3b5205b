//! The directives of one file in the form in which they are evaluated. It knows neither where the file lies nor who includes it.

use serde::{Deserialize, Serialize};

use crate::names::{HeaderId, NameId};
use crate::record;

/// Everything in a file that can decide what is looked up; the rest of the text is gone.
///
/// A file is a tree of blocks: block 0 is the file outside of any conditional, every branch of a conditional is a block.
/// All arrays are grouped by block, so that reaching a block is one walk over neighbouring memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directives {
    pub(crate) blocks: Box<[Block]>,
    pub(crate) defines: Box<[NameId]>,
    /// End of each definition's text in `text`.
    pub(crate) body_ends: Box<[u32]>,
    /// Definitions' texts, each led by one of the `BODY_*` bytes.
    #[serde(with = "record::bytes")]
    pub(crate) text: Box<[u8]>,
    pub(crate) items: Box<[Item]>,
    pub(crate) groups: Box<[(u32, u32)]>,
    pub(crate) branches: Box<[Branch]>,
    pub(crate) ops: Box<[Op]>,
    pub(crate) wide: Box<[(u64, bool)]>,
    pub(crate) probes: Box<[Probe]>,
    pub(crate) computed: Box<[Computed]>,
    /// Macros called in conditions with arguments that name no header.
    pub(crate) calls: Box<[NameId]>,
    /// Macros with parameters whose text holds `__has_include`.
    pub(crate) wrappers: Box<[NameId]>,
    pub(crate) root: u32,
    pub(crate) once: bool,
    pub(crate) uses_next: bool,
}

/// The text of an object-like macro follows.
pub(crate) const BODY_OBJECT: u8 = b' ';
/// Parameters and text of a function-like macro follow, parenthesis included.
pub(crate) const BODY_FUNCTION: u8 = b'(';
/// The name is undefined here.
pub(crate) const BODY_UNDEF: u8 = b'u';
/// A text that cannot be part of a header name, or is too long: not kept.
pub(crate) const BODY_ODD: u8 = b'x';
/// The name is restored by `#pragma pop_macro`.
pub(crate) const BODY_POP: u8 = b'p';

/// What a block holds, as ranges into the file's arrays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Block {
    pub(crate) defines: (u32, u32),
    pub(crate) items: (u32, u32),
    pub(crate) mentions: Mentions,
}

/// Things a block mentions outside of comments that matter beyond includes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mentions(pub(crate) u16);

impl Mentions {
    pub(crate) const DATE: Self = Self(1);
    pub(crate) const TIME: Self = Self(2);
    pub(crate) const TIMESTAMP: Self = Self(4);
    pub(crate) const FILE: Self = Self(8);
    /// `.incbin` whose name cannot be read off.
    pub(crate) const INCBIN: Self = Self(16);
    /// The assembler's own `.include`.
    pub(crate) const ASM_INCLUDE: Self = Self(32);
    pub(crate) const MODULES: Self = Self(64);
    /// `#pragma GCC dependency`: compares times.
    pub(crate) const DEPENDENCY: Self = Self(128);
    /// A pragma that changes which file an include means.
    pub(crate) const ALIAS: Self = Self(256);
    /// `__has_include` inside of a macro's text.
    pub(crate) const HAS_INCLUDE: Self = Self(512);
    /// A pragma that switches options of the compiler, and with them macros it defines.
    pub(crate) const OPTIONS: Self = Self(1024);

    pub(crate) fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    pub(crate) fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// Something to do when a block is reached, in source order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Item {
    /// `#include` and its kin with a literal name.
    Include { how: Lookup, header: HeaderId, line: u32 },
    /// `__has_include(<x>)` in the text of a macro: looked up, not entered.
    Probe { how: Lookup, header: HeaderId, line: u32 },
    /// `#include MACRO`.
    Computed(u32),
    /// A conditional: index into `groups`.
    Group(u32),
    /// `.incbin "file"` with a literal name.
    Incbin { header: HeaderId, line: u32 },
}

/// How a name is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lookup {
    pub(crate) quoted: bool,
    pub(crate) next: bool,
    pub(crate) embed: bool,
}

/// An include or probe whose name comes out of macros.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Computed {
    #[serde(with = "record::bytes")]
    pub(crate) text: Box<[u8]>,
    pub(crate) line: u32,
    pub(crate) next: bool,
    pub(crate) embed: bool,
    /// `__has_include(MACRO)`: looked up, not entered.
    pub(crate) probe: bool,
}

/// A branch of a conditional: its condition and the block it guards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Branch {
    pub(crate) cond: Cond,
    pub(crate) block: u32,
}

/// A condition. The usual ones have a form of their own, the rest is a postfix program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Cond {
    True,
    False,
    Unknown,
    Defined(NameId),
    NotDefined(NameId),
    /// `#elifdef` and `#elifndef`: older compilers take the line for text, so the branch before runs on.
    LateDefined(NameId),
    LateNotDefined(NameId),
    Program {
        start: u32,
        len: u32,
    },
}

/// One step of a condition's program over a stack of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Op {
    Int(i32),
    /// Index into `wide`.
    Wide(u32),
    Name(NameId),
    Defined(NameId),
    /// Index into `probes`.
    Probe(u32),
    Unknown,
    Unary(Unary),
    Binary(Binary),
    Ternary,
}

/// `__has_include("x")` or an unknown macro called with such an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Probe {
    pub(crate) target: Target,
    /// The operator itself (or the macro in its place).
    pub(crate) by: NameId,
}

/// What a probe asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Target {
    Literal {
        how: Lookup,
        header: HeaderId,
    },
    /// Index into `computed`.
    Computed(u32),
}

/// Prefix operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Unary {
    Not,
    Complement,
    Minus,
}

/// Infix operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Binary {
    Or,
    And,
    BitOr,
    BitXor,
    BitAnd,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    ShiftLeft,
    ShiftRight,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Directives {
    /// Whether the content says nothing to the preprocessor: it defines nothing and names no file.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty() && self.defines.is_empty() && self.probes.is_empty() && self.computed.is_empty() && !self.once
    }

    /// Whether the file asks to be read once only (`#pragma once`).
    #[must_use]
    pub fn once(&self) -> bool {
        self.once
    }

    /// Memory held, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        use std::mem::size_of_val as size;
        size(&*self.blocks)
            + size(&*self.defines)
            + size(&*self.body_ends)
            + size(&*self.text)
            + size(&*self.items)
            + size(&*self.groups)
            + size(&*self.branches)
            + size(&*self.ops)
            + size(&*self.wide)
            + size(&*self.probes)
            + size(&*self.computed)
            + size(&*self.calls)
            + size(&*self.wrappers)
            + self.computed.iter().map(|c| c.text.len()).sum::<usize>()
            + size_of::<Self>()
    }

    /// The text of definition `index`, led by its `BODY_*` byte.
    pub(crate) fn body(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.body_ends[index - 1] as usize };
        &self.text[start..self.body_ends[index] as usize]
    }
}
