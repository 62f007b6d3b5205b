//! Finds the row of an argument among a thousand. Knows no row.

use super::{Found, Opt, Takes};

/// Rows sorted by name, and the beginning of each name beside them: most steps of a search read nothing else.
#[derive(Debug)]
pub(crate) struct Table {
    pub(super) rows: &'static [Opt],
    pub(super) heads: &'static [u64],
}

/// The heads of a table's names.
pub(super) const fn heads<const ROWS: usize>(rows: &[Opt]) -> [u64; ROWS] {
    let mut heads = [0; ROWS];
    let mut at = 0;
    while at < ROWS {
        heads[at] = head(rows[at].name.as_bytes());
        at += 1;
    }
    heads
}

/// The eight bytes behind the first as a number, zeros behind the end: in the same order as names that begin alike and hold no zero. All
/// begin with a dash.
const fn head(name: &[u8]) -> u64 {
    let mut head = 0;
    let mut at = 1;
    while at < 9 {
        head = head << 8 | if at < name.len() { name[at] as u64 } else { 0 };
        at += 1;
    }
    head
}

impl Table {
    /// The longest name that fits `arg`. Each step drops at least one byte of the candidate prefix, and in practice the second or third
    /// step ends it.
    pub(crate) fn longest(&self, arg: &str) -> Option<Found> {
        let bytes = arg.as_bytes();
        let mut key = bytes;
        while !key.is_empty() {
            let opt = &self.rows[self.last_up_to(key)?];
            let name = opt.name.as_bytes();
            if bytes.starts_with(name) && name.len() <= key.len() {
                if fits(opt, bytes) {
                    return Some(Found { opt, negated: false, value_at: name.len() });
                }
                key = &bytes[..name.len() - 1];
            } else {
                let common = name.iter().zip(key).take_while(|(a, b)| a == b).count();
                key = &bytes[..common];
            }
        }
        None
    }

    /// The last row whose name is not behind `key`.
    fn last_up_to(&self, key: &[u8]) -> Option<usize> {
        let head = head(key);
        let first = self.heads.partition_point(|&of| of < head);
        let alike = self.heads[first..].partition_point(|&of| of == head);
        let rows = &self.rows[first..first + alike];
        (first + rows.partition_point(|opt| opt.name.as_bytes() <= key)).checked_sub(1)
    }
}

fn fits(opt: &Opt, arg: &[u8]) -> bool {
    match opt.takes {
        Takes::Nothing | Takes::Separate => arg.len() == opt.name.len(),
        Takes::Joined | Takes::Either => true,
    }
}
