//! The program from outside: real processes, real files, the real database. One test binary for all themes.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod agenda;
mod alerts;
mod chaos;
mod control;
mod croner;
mod doctor;
mod emit;
mod emit_client;
mod emit_full;
mod emit_load;
mod exposures;
mod frail;
mod hangs;
mod install;
mod jobs;
mod launchd;
mod layers;
mod ledger_trouble;
mod mac;
mod memory;
mod notify;
mod odd_children;
mod odd_output;
mod odd_starts;
mod plists;
mod receiver;
mod reload;
mod restarts;
#[path = "../oracles/schedules.rs"]
mod schedules;
mod steps;
mod succession;
mod successors;
mod support;
mod tasks;
mod told;
mod tools;
mod upgrade;
mod verdicts;
mod watch;
mod witness;
