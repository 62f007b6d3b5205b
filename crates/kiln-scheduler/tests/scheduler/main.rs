//! The scheduler service from outside: over real sockets with a real client, and with a hand-moved clock.

mod clients;
mod fake_worker;
mod front;
mod reapi_client;
mod support;
mod time;
mod wire;
