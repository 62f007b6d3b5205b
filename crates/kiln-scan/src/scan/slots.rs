//! What is known of each macro name during one scan. It knows no files.

use crate::macros::{Macro, Value};
use crate::names::{NameId, SPECIAL};

/// No watch.
const NONE: u32 = u32::MAX;
/// Some reached file defines or undefines the name.
const TOUCHED: u32 = 1 << 31;

#[derive(Clone, Copy)]
struct Slot {
    scan: u32,
    /// `TOUCHED`, and the index of the definition from before the first line plus one.
    state: u32,
    /// Head of the list of conditionals that were decided on the name.
    watch: u32,
}

struct Watch {
    node: u32,
    group: u32,
    next: u32,
}

/// What is known of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// Nobody defines it.
    Undefined,
    /// Defined before the first line and never after: index of the definition.
    Base(u32),
    /// Files may define or undefine it.
    Touched,
    /// The compiler gives it a meaning of its own.
    Special,
}

/// One entry a name; entries of earlier scans count as empty.
#[derive(Default)]
pub(super) struct Slots {
    scan: u32,
    slots: Vec<Slot>,
    watches: Vec<Watch>,
}

impl Slots {
    /// Forgets the scan before.
    pub(super) fn begin(&mut self) {
        self.watches.clear();
        if self.scan == u32::MAX {
            self.slots.clear();
            self.scan = 0;
        }
        self.scan += 1;
    }

    fn grow(&mut self, name: NameId) {
        let empty = Slot { scan: 0, state: 0, watch: NONE };
        let len = (name.0 as usize + 1).next_power_of_two();
        self.slots.resize(len, empty);
    }

    fn slot(&mut self, name: NameId) -> &mut Slot {
        if name.0 as usize >= self.slots.len() {
            self.grow(name);
        }
        let slot = &mut self.slots[name.0 as usize];
        if slot.scan != self.scan {
            *slot = Slot { scan: self.scan, state: 0, watch: NONE };
        }
        slot
    }

    /// Puts in the definition from before the first line.
    pub(super) fn base(&mut self, name: NameId, index: u32) {
        self.slot(name).state = index + 1;
    }

    /// The definition from before the first line, whatever files do.
    pub(super) fn base_of(&mut self, name: NameId) -> Option<u32> {
        (self.slot(name).state & !TOUCHED).checked_sub(1)
    }

    /// Some reached file defines or undefines the name: conditionals decided on it go to `reopen`.
    pub(super) fn touch(&mut self, name: NameId, reopen: &mut Vec<(u32, u32)>) {
        let slot = self.slot(name);
        if slot.state & TOUCHED != 0 {
            return;
        }
        slot.state |= TOUCHED;
        let mut watch = std::mem::replace(&mut slot.watch, NONE);
        while let Some(w) = self.watches.get(watch as usize) {
            reopen.push((w.node, w.group));
            watch = w.next;
        }
    }

    /// Remembers that a conditional was decided on the name.
    pub(super) fn watch(&mut self, name: NameId, node: u32, group: u32) {
        let index = self.watches.len() as u32;
        let slot = self.slot(name);
        if slot.state & TOUCHED != 0 {
            return;
        }
        let next = std::mem::replace(&mut slot.watch, index);
        self.watches.push(Watch { node, group, next });
    }

    /// What is known of the name now.
    pub(super) fn known(&mut self, name: NameId) -> Known {
        let state = self.slot(name).state;
        if state & TOUCHED != 0 {
            Known::Touched
        } else if state != 0 {
            Known::Base(state - 1)
        } else if (name.0 as usize) < SPECIAL.len() {
            Known::Special
        } else {
            Known::Undefined
        }
    }
}

/// Definitions from before the first line: the compiler's own, then the command line's.
pub(super) struct Bases<'r> {
    pub(super) predefined: &'r [Macro],
    pub(super) command: Vec<Macro>,
}

impl Bases<'_> {
    pub(super) fn get(&self, index: u32) -> &Macro {
        let index = index as usize;
        match self.predefined.get(index) {
            Some(m) => m,
            None => &self.command[index - self.predefined.len()],
        }
    }

    pub(super) fn value(&self, index: u32) -> Value {
        self.get(index).value
    }
}
