//! The contract of the command line: words, exit codes, JSON, and what bad input must leave alone.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test, and the panic says which")]

mod bad_input;
mod config;
mod contract;
mod database;
mod defaults;
mod deny;
mod interrupted;
mod limits;
mod networks;
mod options;
mod privileges;
mod run;
mod timers;
mod trace;
