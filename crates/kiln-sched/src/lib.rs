//! The scheduling core: a state machine from events to commands. No clock, no socket.
