//! The daemon: from a wrapper's request to verified results. One a user, host and view.
