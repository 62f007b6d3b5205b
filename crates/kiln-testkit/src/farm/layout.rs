//! What a farm for a test is made of, and where its parts stand. Starts nothing.

use crate::network::Network;

/// What a farm is made of.
#[derive(Debug, Clone)]
pub struct Layout {
    /// Its workers, named `w1`, `w2` and so on.
    pub workers: usize,
    /// Jobs at once of each.
    pub slots: u32,
    /// Whether there is a cache server, `cache`.
    pub cache: bool,
    /// Its schedulers, named `scheduler`, `scheduler2` and so on.
    pub schedulers: usize,
    /// How they reach each other.
    pub network: Network,
    /// Whether workers see no compiler, no header and nothing below the directory that the setting `HIDE` names; those of
    /// [`Network::Hosts`] never do.
    pub bare: bool,
    /// Whether workers belong to an ordinary user who is nobody else here, where root runs the tests; they belong to
    /// whoever runs them otherwise, who is an ordinary user. They are reached by TCP only.
    pub strangers: bool,
    /// More variables for every service and for clients.
    pub settings: Vec<(String, String)>,
    /// More variables for one role: its name, variable, value.
    pub own: Vec<(String, String, String)>,
    /// Roles that are not expected to get well.
    pub sick: Vec<String>,
}

impl Layout {
    /// Names of the workers.
    pub(super) fn worker_names(&self) -> Vec<String> {
        (1..=self.workers).map(|number| format!("w{number}")).collect()
    }

    /// Names of the schedulers.
    pub(super) fn scheduler_names(&self) -> Vec<String> {
        (1..=self.schedulers)
            .map(|number| if number == 1 { "scheduler".to_owned() } else { format!("scheduler{number}") })
            .collect()
    }
}

impl Default for Layout {
    fn default() -> Self {
        Self {
            workers: 2,
            slots: 2,
            cache: true,
            schedulers: 1,
            network: Network::Unix,
            bare: false,
            strangers: false,
            settings: Vec::new(),
            own: Vec::new(),
            sick: Vec::new(),
        }
    }
}
