//! Three-valued evaluation of conditions. It reaches nothing: it says true, false or unknown.

use crate::directives::{Binary, Cond, Directives, Op, Probe, Target, Unary};
use crate::macros::Value;
use crate::names::NameId;
use crate::unprovable::Unprovable;
use crate::view::FileView;

use super::Scan;
use super::slots::Known;

/// True, false or unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Truth {
    Yes,
    No,
    Unknown,
}

impl Truth {
    fn of(value: bool) -> Self {
        if value { Self::Yes } else { Self::No }
    }

    fn not(self) -> Self {
        match self {
            Self::Yes => Self::No,
            Self::No => Self::Yes,
            Self::Unknown => Self::Unknown,
        }
    }
}

/// A 64-bit number, or nothing known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Num {
    Unknown,
    Int(u64, bool),
}

impl Num {
    fn truth(self) -> Truth {
        match self {
            Self::Unknown => Truth::Unknown,
            Self::Int(value, _) => Truth::of(value != 0),
        }
    }

    fn of(truth: Truth) -> Self {
        match truth {
            Truth::Yes => Self::Int(1, false),
            Truth::No => Self::Int(0, false),
            Truth::Unknown => Self::Unknown,
        }
    }
}

/// Names that stand for names are followed this far; longer chains are unknown.
const ALIAS_STEPS_MAX: u32 = 16;

impl<V: FileView + ?Sized> Scan<'_, V> {
    /// The value of a condition now. Names it was decided on are left in `self.reads`.
    pub(super) fn truth(&mut self, node: u32, d: &Directives, cond: Cond) -> Result<Truth, Unprovable> {
        Ok(match cond {
            Cond::True => Truth::Yes,
            Cond::False => Truth::No,
            Cond::Unknown => Truth::Unknown,
            Cond::Defined(name) | Cond::LateDefined(name) => self.is_defined(name),
            Cond::NotDefined(name) | Cond::LateNotDefined(name) => self.is_defined(name).not(),
            Cond::Program { start, len } => {
                let mut stack = std::mem::take(&mut self.stack);
                stack.clear();
                for &op in &d.ops[start as usize..(start + len) as usize] {
                    let value = self.step(node, d, op, &mut stack)?;
                    stack.push(value);
                }
                let last = stack.last().copied();
                self.stack = stack;
                last.map_or(Truth::Unknown, Num::truth)
            }
        })
    }

    fn step(&mut self, node: u32, d: &Directives, op: Op, stack: &mut Vec<Num>) -> Result<Num, Unprovable> {
        self.spend(1)?;
        let mut pop = || stack.pop().unwrap_or(Num::Unknown);
        Ok(match op {
            Op::Int(value) => Num::Int(i64::from(value) as u64, false),
            Op::Wide(index) => {
                let (value, unsigned) = d.wide[index as usize];
                Num::Int(value, unsigned)
            }
            Op::Name(name) => self.number(name),
            Op::Defined(name) => Num::of(self.is_defined(name)),
            Op::Probe(index) => Num::of(self.probe(node, d.probes[index as usize])?),
            Op::Unknown => Num::Unknown,
            Op::Unary(op) => unary(op, pop()),
            Op::Binary(op) => {
                let right = pop();
                binary(op, pop(), right)
            }
            Op::Ternary => {
                let (otherwise, then) = (pop(), pop());
                ternary(pop(), then, otherwise)
            }
        })
    }

    fn is_defined(&mut self, name: NameId) -> Truth {
        match self.slots.known(name) {
            Known::Touched | Known::Special => Truth::Unknown,
            Known::Undefined => {
                self.reads.push(name);
                Truth::No
            }
            Known::Base(index) => {
                self.reads.push(name);
                Truth::of(self.bases.value(index) != Value::Undefined)
            }
        }
    }

    fn number(&mut self, name: NameId) -> Num {
        let mut name = name;
        for _ in 0..ALIAS_STEPS_MAX {
            match self.slots.known(name) {
                Known::Touched | Known::Special => return Num::Unknown,
                Known::Undefined => {
                    self.reads.push(name);
                    return Num::Int(0, false);
                }
                Known::Base(index) => {
                    self.reads.push(name);
                    match self.bases.value(index) {
                        Value::Int(value, unsigned) => return Num::Int(value, unsigned),
                        Value::Undefined => return Num::Int(0, false),
                        Value::Other => return Num::Unknown,
                        Value::Alias(other) => name = other,
                    }
                }
            }
        }
        Num::Unknown
    }

    fn probe(&mut self, node: u32, probe: Probe) -> Result<Truth, Unprovable> {
        let found = match probe.target {
            Target::Computed(index) => {
                self.add_computed(node, index);
                return Ok(Truth::Unknown);
            }
            Target::Literal { how, header } => self.look_up(node, how, header)?,
        };
        let is_operator = crate::names::is_include_operator(probe.by);
        if !is_operator || self.slots.known(probe.by) == Known::Touched {
            return Ok(Truth::Unknown);
        }
        self.reads.push(probe.by);
        Ok(found)
    }
}

fn unary(op: Unary, value: Num) -> Num {
    let Num::Int(v, unsigned) = value else { return Num::Unknown };
    match op {
        Unary::Not => Num::Int(u64::from(v == 0), false),
        Unary::Complement => Num::Int(!v, unsigned),
        Unary::Minus => Num::Int(v.wrapping_neg(), unsigned),
    }
}

fn ternary(condition: Num, then: Num, otherwise: Num) -> Num {
    let (Num::Int(a, ua), Num::Int(b, ub)) = (then, otherwise) else {
        // The type of the result depends on both arms.
        return Num::Unknown;
    };
    // Both arms are converted to their common type.
    let unsigned = ua || ub;
    match condition.truth() {
        Truth::Yes => Num::Int(a, unsigned),
        Truth::No => Num::Int(b, unsigned),
        Truth::Unknown if a == b => Num::Int(a, unsigned),
        Truth::Unknown => Num::Unknown,
    }
}

fn binary(op: Binary, left: Num, right: Num) -> Num {
    match op {
        Binary::Or => match (left.truth(), right.truth()) {
            (Truth::Yes, _) | (_, Truth::Yes) => Num::Int(1, false),
            (Truth::No, Truth::No) => Num::Int(0, false),
            _ => Num::Unknown,
        },
        Binary::And => match (left.truth(), right.truth()) {
            (Truth::No, _) | (_, Truth::No) => Num::Int(0, false),
            (Truth::Yes, Truth::Yes) => Num::Int(1, false),
            _ => Num::Unknown,
        },
        _ => match (left, right) {
            (Num::Int(a, ua), Num::Int(b, ub)) => arithmetic(op, (a, ua), (b, ub)).unwrap_or(Num::Unknown),
            _ => Num::Unknown,
        },
    }
}

/// Two known numbers; `None` where the result is undefined or compilers could differ.
fn arithmetic(op: Binary, left: (u64, bool), right: (u64, bool)) -> Option<Num> {
    let (a, b) = (left.0, right.0);
    let (sa, sb) = (a as i64, b as i64);
    let unsigned = left.1 || right.1;
    let compare = |u: bool, s: bool| Some(Num::Int(u64::from(if unsigned { u } else { s }), false));
    let signed = |value: Option<i64>| value.map(|v| Num::Int(v as u64, false));
    let value = |v: u64| Some(Num::Int(v, unsigned));
    match op {
        Binary::Equal => compare(a == b, a == b),
        Binary::NotEqual => compare(a != b, a != b),
        Binary::Less => compare(a < b, sa < sb),
        Binary::LessEqual => compare(a <= b, sa <= sb),
        Binary::Greater => compare(a > b, sa > sb),
        Binary::GreaterEqual => compare(a >= b, sa >= sb),
        Binary::BitOr => value(a | b),
        Binary::BitXor => value(a ^ b),
        Binary::BitAnd => value(a & b),
        Binary::ShiftLeft if b < 64 => Some(Num::Int(a << b, left.1)),
        Binary::ShiftRight if b < 64 => Some(Num::Int(if left.1 { a >> b } else { (sa >> b) as u64 }, left.1)),
        Binary::ShiftLeft | Binary::ShiftRight => None,
        Binary::Add if unsigned => value(a.wrapping_add(b)),
        Binary::Subtract if unsigned => value(a.wrapping_sub(b)),
        Binary::Multiply if unsigned => value(a.wrapping_mul(b)),
        Binary::Divide if unsigned => a.checked_div(b).and_then(value),
        Binary::Remainder if unsigned => a.checked_rem(b).and_then(value),
        Binary::Add => signed(sa.checked_add(sb)),
        Binary::Subtract => signed(sa.checked_sub(sb)),
        Binary::Multiply => signed(sa.checked_mul(sb)),
        Binary::Divide => signed(sa.checked_div(sb)),
        Binary::Remainder => signed(sa.checked_rem(sb)),
        Binary::Or | Binary::And => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signed_and_unsigned_arithmetic() {
        let int = |v: i64| Num::Int(v as u64, false);
        assert_eq!(binary(Binary::Less, int(-1), int(0)), int(1));
        assert_eq!(binary(Binary::Less, int(-1), Num::Int(0, true)), int(0));
        assert_eq!(binary(Binary::Divide, int(1), int(0)), Num::Unknown);
        assert_eq!(binary(Binary::Divide, int(i64::MIN), int(-1)), Num::Unknown);
        assert_eq!(binary(Binary::ShiftLeft, int(1), int(64)), Num::Unknown);
        assert_eq!(binary(Binary::ShiftRight, int(-8), int(1)), int(-4));
        assert_eq!(binary(Binary::Add, int(i64::MAX), int(1)), Num::Unknown);
        assert_eq!(unary(Unary::Minus, int(5)), int(-5));
    }

    #[test]
    fn unknown_spreads_only_where_it_matters() {
        let (one, zero) = (Num::Int(1, false), Num::Int(0, false));
        assert_eq!(binary(Binary::Or, Num::Unknown, one), one);
        assert_eq!(binary(Binary::Or, Num::Unknown, zero), Num::Unknown);
        assert_eq!(binary(Binary::And, zero, Num::Unknown), zero);
        assert_eq!(binary(Binary::And, one, Num::Unknown), Num::Unknown);
        assert_eq!(binary(Binary::Equal, Num::Unknown, Num::Unknown), Num::Unknown);
        assert_eq!(ternary(Num::Unknown, one, one), one);
        assert_eq!(ternary(one, zero, Num::Unknown), Num::Unknown);
        assert_eq!(ternary(one, zero, one), zero);
    }
}
