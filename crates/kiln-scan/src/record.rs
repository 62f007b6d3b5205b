//! Directives as bytes, to outlive a process: names are spelled out, for their numbers mean nothing to another. Reads bytes that
//! may be anything; what it returns is as sound as what the lexer makes, whether or not it is what stands in any file.

use serde::{Deserialize, Serialize};

use crate::directives::{Branch, Cond, Directives, Item, Op, Target};
use crate::hash::LookupMap;
use crate::names::{HeaderId, NameId, Names};

/// Bytes that are no directives, or directives that cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// They do not read as directives.
    #[error("no directives: {0}")]
    Encoding(#[from] postcard::Error),
    /// They read, and point where nothing is.
    #[error("directives that contradict themselves")]
    Inconsistent,
    /// The tables of names are full.
    #[error("too many distinct names")]
    TooManyNames,
}

/// Bytes in one piece.
pub(crate) mod bytes {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub(crate) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Box<[u8]>, D::Error> {
        <&[u8]>::deserialize(from).map(Into::into)
    }
}

/// What is written: the names, and directives whose numbers are places among these.
#[derive(Serialize, Deserialize)]
struct Written<'a> {
    #[serde(borrow)]
    macros: Vec<&'a [u8]>,
    headers: Vec<&'a [u8]>,
    directives: Directives,
}

/// Numbers in the order in which they are met, and their places in it.
#[derive(Default)]
struct Met {
    places: LookupMap<u32, u32>,
    order: Vec<u32>,
}

impl Met {
    fn place(&mut self, number: u32) -> u32 {
        *self.places.entry(number).or_insert_with(|| {
            self.order.push(number);
            (self.order.len() - 1) as u32
        })
    }
}

impl Directives {
    /// These directives as bytes; `names` are those they were read with.
    ///
    /// # Errors
    /// None is known.
    pub fn encode(&self, names: &Names) -> Result<Vec<u8>, RecordError> {
        let mut directives = self.clone();
        let (mut macros, mut headers) = (Met::default(), Met::default());
        directives.renumber(&mut |name| Some(macros.place(name)), &mut |header| Some(headers.place(header)));
        let tables = names.read();
        let macros = macros.order.iter().map(|name| tables.macros.get(*name)).collect();
        let headers = headers.order.iter().map(|header| tables.headers.get(*header)).collect();
        Ok(postcard::to_stdvec(&Written { macros, headers, directives })?)
    }

    /// What [`Directives::encode`] wrote, with numbers of `names`.
    ///
    /// # Errors
    /// When the bytes are anything else.
    pub fn decode(bytes: &[u8], names: &Names) -> Result<Directives, RecordError> {
        let (Written { macros, headers, mut directives }, rest) = postcard::take_from_bytes(bytes)?;
        if !rest.is_empty() || !directives.is_sound() {
            return Err(RecordError::Inconsistent);
        }
        let (macros, headers): (Vec<u32>, Vec<u32>) = {
            let mut tables = names.write();
            let macros = macros.iter().map(|name| tables.macros.intern(name)).collect::<Option<_>>();
            let headers = headers.iter().map(|name| tables.headers.intern(name)).collect::<Option<_>>();
            macros.zip(headers).ok_or(RecordError::TooManyNames)?
        };
        let known = |of: &[u32], place: u32| of.get(place as usize).copied();
        match directives.renumber(&mut |name| known(&macros, name), &mut |header| known(&headers, header)) {
            true => Ok(directives),
            false => Err(RecordError::Inconsistent),
        }
    }

    /// Gives every name another number; whether there was one for each.
    fn renumber(&mut self, name: &mut dyn FnMut(u32) -> Option<u32>, header: &mut dyn FnMut(u32) -> Option<u32>) -> bool {
        let mut all = true;
        let mut name = |id: &mut NameId| match name(id.0) {
            Some(number) => id.0 = number,
            None => all = false,
        };
        self.defines.iter_mut().chain(&mut self.calls).chain(&mut self.wrappers).for_each(&mut name);
        for Branch { cond, .. } in &mut self.branches {
            match cond {
                Cond::Defined(id) | Cond::NotDefined(id) | Cond::LateDefined(id) | Cond::LateNotDefined(id) => name(id),
                Cond::True | Cond::False | Cond::Unknown | Cond::Program { .. } => {}
            }
        }
        for op in &mut self.ops {
            if let Op::Name(id) | Op::Defined(id) = op {
                name(id);
            }
        }
        self.probes.iter_mut().for_each(|probe| name(&mut probe.by));
        let mut header = |id: &mut HeaderId| match header(id.0) {
            Some(number) => id.0 = number,
            None => all = false,
        };
        for item in &mut self.items {
            if let Item::Include { header: id, .. } | Item::Probe { header: id, .. } | Item::Incbin { header: id, .. } = item {
                header(id);
            }
        }
        for probe in &mut self.probes {
            if let Target::Literal { header: id, .. } = &mut probe.target {
                header(id);
            }
        }
        all
    }

    /// Whether everything that points into one of the arrays points at something that is there.
    fn is_sound(&self) -> bool {
        let within = |range: (u32, u32), len: usize| range.0 <= range.1 && range.1 as usize <= len;
        let is_index = |index: u32, len: usize| (index as usize) < len;
        let bodies = self.body_ends.iter().try_fold(0, |start, end| (start < *end).then_some(*end));
        let block =
            |block: &crate::directives::Block| within(block.defines, self.defines.len()) && within(block.items, self.items.len());
        let item = |item: &Item| match *item {
            Item::Computed(index) => is_index(index, self.computed.len()),
            Item::Group(index) => is_index(index, self.groups.len()),
            Item::Include { .. } | Item::Probe { .. } | Item::Incbin { .. } => true,
        };
        let branch = |branch: &Branch| {
            let cond = match branch.cond {
                Cond::Program { start, len } => start.checked_add(len).is_some_and(|end| end as usize <= self.ops.len()),
                _ => true,
            };
            cond && is_index(branch.block, self.blocks.len())
        };
        let op = |op: &Op| match *op {
            Op::Wide(index) => is_index(index, self.wide.len()),
            Op::Probe(index) => is_index(index, self.probes.len()),
            _ => true,
        };
        let probe = |probe: &crate::directives::Probe| match probe.target {
            Target::Computed(index) => is_index(index, self.computed.len()),
            Target::Literal { .. } => true,
        };
        bodies.is_some_and(|end| end as usize == self.text.len())
            && self.defines.len() == self.body_ends.len()
            && is_index(self.root, self.blocks.len())
            && self.blocks.iter().all(block)
            && self.items.iter().all(item)
            && self.groups.iter().all(|group| within(*group, self.branches.len()))
            && self.branches.iter().all(branch)
            && self.ops.iter().all(op)
            && self.probes.iter().all(probe)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dialect, directives};

    const SOURCE: &[u8] = include_bytes!("../../../fuzz/seeds/scan/everything.c");
    const SEED: &[u8] = include_bytes!("../../../fuzz/seeds/directives/everything");

    #[test]
    fn directives_outlive_the_numbers_of_their_names() {
        let names = Names::new();
        let first = directives(SOURCE, Dialect::GNU_CXX, &names).unwrap();
        let record = first.encode(&names).unwrap();
        assert_eq!(record, SEED, "the fuzzer's seed");
        assert_eq!(Directives::decode(&record, &names).unwrap(), first);
        let others = Names::new();
        directives(b"#define UNRELATED\n#include <unrelated.h>\n", Dialect::GNU_CXX, &others).unwrap();
        let second = Directives::decode(&record, &others).unwrap();
        assert_ne!(second, first, "they have other numbers");
        assert_eq!(second, directives(SOURCE, Dialect::GNU_CXX, &others).unwrap());
    }

    #[test]
    fn what_is_cut_or_longer_is_refused() {
        for at in 0..SEED.len() {
            assert!(Directives::decode(&SEED[..at], &Names::new()).is_err(), "cut at {at}");
        }
        assert!(Directives::decode(&[SEED, b"x"].concat(), &Names::new()).is_err());
    }

    type Lie = fn(&mut Directives);

    #[test]
    fn what_points_at_nothing_is_refused() {
        let names = Names::new();
        let source =
            b"#if A > 0x7fffffffffff && __has_include(B)\n#include C\n#define D d\n#elif defined E\n#include <e.h>\n#endif\n";
        let good = directives(source, Dialect::GNU_C, &names).unwrap();
        let lies: &[(&str, Lie)] = &[
            ("a root", |d| d.root = d.blocks.len() as u32),
            ("a block's definitions", |d| d.blocks[0].defines = (0, d.defines.len() as u32 + 1)),
            ("a range that ends before it begins", |d| d.blocks[0].items = (1, 0)),
            ("a branch's block", |d| d.branches[0].block = d.blocks.len() as u32),
            ("a condition", |d| d.branches[0].cond = Cond::Program { start: u32::MAX, len: 2 }),
            ("a group", |d| d.items[0] = Item::Group(d.groups.len() as u32)),
            ("a group's branches", |d| d.groups[0] = (0, d.branches.len() as u32 + 1)),
            ("an include by a macro", |d| d.items[0] = Item::Computed(d.computed.len() as u32)),
            ("a large number", |d| d.ops[0] = Op::Wide(d.wide.len() as u32)),
            ("a probe", |d| d.ops[0] = Op::Probe(d.probes.len() as u32)),
            ("a probe by a macro", |d| d.probes[0].target = Target::Computed(d.computed.len() as u32)),
            ("a text's end", |d| d.body_ends[0] += 1),
            ("a text without its first byte", |d| d.body_ends[0] = 0),
            ("a definition without a text", |d| d.body_ends = Box::default()),
        ];
        assert!(Directives::decode(&good.encode(&names).unwrap(), &names).is_ok());
        for (what, lie) in lies {
            let mut bad = good.clone();
            lie(&mut bad);
            let refused = Directives::decode(&bad.encode(&names).unwrap(), &names);
            assert!(matches!(refused, Err(RecordError::Inconsistent)), "{what}: {refused:?}");
        }
        // A name that is not in the list: the last of the definitions' numbers stands for one.
        let written = |macros| Written { macros, headers: Vec::new(), directives: Directives::clone(&named(1)) };
        let decoded = |macros| Directives::decode(&postcard::to_stdvec(&written(macros)).unwrap(), &names);
        assert!(decoded(vec![b"A", b"B"]).is_ok());
        assert!(matches!(decoded(vec![b"A"]), Err(RecordError::Inconsistent)));
    }

    /// One definition of the name with this number.
    fn named(name: u32) -> Directives {
        Directives {
            blocks: vec![crate::directives::Block { defines: (0, 1), ..Default::default() }].into(),
            defines: vec![NameId(name)].into(),
            body_ends: vec![1].into(),
            text: Box::from(&b" "[..]),
            ..Directives::default()
        }
    }
}
