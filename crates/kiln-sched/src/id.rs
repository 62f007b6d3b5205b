//! Typed numbers for everything the core speaks of, and its time. Knows no names.

use std::fmt;

/// Microseconds since an origin of the driver's choice; only differences count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Micros(pub u64);

impl Micros {
    /// A span of milliseconds.
    pub const fn from_ms(ms: u64) -> Micros {
        Micros(ms.saturating_mul(1000))
    }

    /// A span of seconds.
    pub const fn from_secs(secs: u64) -> Micros {
        Micros(secs.saturating_mul(1_000_000))
    }

    /// This time or span in whole milliseconds.
    pub const fn as_ms(self) -> u64 {
        self.0 / 1000
    }

    /// The time that is `span` later.
    pub const fn plus(self, span: Micros) -> Micros {
        Micros(self.0.saturating_add(span.0))
    }

    /// The span since `earlier`; none when it is later.
    pub const fn since(self, earlier: Micros) -> Micros {
        Micros(self.0.saturating_sub(earlier.0))
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

id! {
    /// A worker. The driver numbers them, gives the same name the same number, and may give a number anew only after
    /// [`Command::Forget`](crate::Command::Forget).
    WorkerId(u32)
}
id! {
    /// A daemon, or a caller of the front door. The driver may give a number anew once the core does not know it any more.
    ClientId(u32)
}
id! {
    /// Whom fairness is between.
    UserId(u32)
}
id! {
    /// A kind of processor that programs run on.
    MachineId(u32)
}
id! {
    /// A form of root that workers can give.
    RootId(u32)
}
id! {
    /// A toolchain that workers have.
    ToolchainId(u32)
}
id! {
    /// A right to one run, lent for a time. The core numbers them and never gives a number twice.
    LeaseId(u64)
}
id! {
    /// One call for grants. The driver numbers them and never gives a number twice.
    RequestId(u64)
}

/// What makes two runs the same run: a hash over instance and action.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActionKey(pub [u8; 32]);

impl fmt::Debug for ActionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ActionKey({:02x}{:02x}..)", self.0[0], self.0[1])
    }
}
