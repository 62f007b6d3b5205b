//! One unit in the variants that substitutes would compile, and when what they make counts. Asks for no slot.

use kiln_cas::Digest;
use kiln_proto::v1::Grant;
use std::sync::Arc;

use super::look;
use crate::action::Analysed;
use crate::course::Setback;
use crate::daemon::Daemon;
use crate::farm::Farm;
use crate::reply::UnitResult;
use crate::taken::take;

/// Code of a result that does not count: the unit is compiled by its own compiler.
pub(crate) const NOT_COUNTED: &str = "substitute";

/// Whose action a grant is for.
pub(crate) enum Whose<'a> {
    /// The client's own toolchain's.
    Own,
    /// That of a compiler in its place.
    Substitute(&'a Arc<Analysed>),
    /// Nobody's.
    Unknown,
}

/// The variants of a unit.
pub(crate) struct Variants {
    ids: Vec<Digest>,
    units: Vec<Arc<Analysed>>,
    given_up: bool,
}

impl Variants {
    /// Those of the compilers proven equal; lets others be looked for.
    pub(crate) fn of(daemon: &Arc<Daemon>, unit: &Analysed) -> Variants {
        look(daemon, unit);
        let mut variants = Variants { ids: Vec::new(), units: Vec::new(), given_up: false };
        for substitute in daemon.substitutes.of(&unit.toolchain) {
            match unit.with_substitute(&substitute) {
                Ok(other) => {
                    variants.ids.push(substitute.id);
                    variants.units.push(Arc::new(other));
                }
                Err(why) => tracing::debug!("{}: not by a substitute: {why}", unit.unit.source),
            }
        }
        variants
    }

    /// Compilers that may be asked for this unit.
    pub(crate) fn ids(&self) -> &[Digest] {
        &self.ids
    }

    /// Which variant a grant is for.
    pub(crate) fn granted(&self, grant: &Grant) -> Whose<'_> {
        if grant.substitute.is_empty() {
            return Whose::Own;
        }
        let place = self.ids.iter().position(|id| id.to_string() == grant.substitute);
        place.map_or(Whose::Unknown, |place| Whose::Substitute(&self.units[place]))
    }

    /// No substitute is asked for this unit any more.
    pub(crate) fn give_up(&mut self) {
        *self = Variants { ids: Vec::new(), units: Vec::new(), given_up: true };
    }

    /// Whether one was asked in vain: then the unit's own compiler has the last word, here if nowhere else.
    pub(crate) fn were_given_up(&self) -> bool {
        self.given_up
    }

    /// A result that is known already, and where it was.
    pub(crate) async fn find(&self, daemon: &Arc<Daemon>, farm: &Farm) -> Option<(UnitResult, &'static str)> {
        for unit in &self.units {
            if let Some(result) = crate::unit::find_local(daemon, unit).await.filter(counts) {
                return Some((result, "local"));
            }
            if daemon.settings.remote_cache
                && farm.is_up()
                && let Some(remote) = farm.look_up(unit).await
                && let Ok(result) = counted(take(daemon, unit, remote))
            {
                return Some((result, "remote"));
            }
        }
        None
    }
}

/// A substitute's messages may differ in what is no part of an object, so a result counts only where the compiler succeeds and is
/// silent; what says nothing of the worker is this variant's fault.
pub(crate) fn counted(outcome: Result<UnitResult, Setback>) -> Result<UnitResult, Setback> {
    let not = |detail: String| Err(Setback::Unfit { code: NOT_COUNTED, detail });
    match outcome {
        Ok(result) if counts(&result) => Ok(result),
        Ok(result) => not(format!("exit code {}, or messages", result.exit_code)),
        Err(Setback::Doubtful(detail) | Setback::Missed(detail) | Setback::Unfit { detail, .. }) => not(detail),
        Err(setback @ (Setback::Rejected | Setback::Lost { .. })) => Err(setback),
    }
}

fn counts(result: &UnitResult) -> bool {
    result.exit_code == 0 && result.stdout.is_empty() && result.stderr.is_empty()
}
