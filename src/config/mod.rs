//! services.toml to a checked [`Fleet`](crate::model::Fleet): every fault told at once, each with its place and with
//! what to type instead.
//!
//! What belongs here: finding and reading the file, its grammar, the checks that need nothing but its text, what a
//! changed file means for a running service, and the file's JSON schema. What does not: anything that looks at the
//! machine (whether a program exists, whether a port is free, what an `env_file` says). Only [`read`], [`locate`] and
//! [`Surroundings::of_process`] touch the system; [`parse()`] is a function of its arguments and of the time zones that this
//! machine knows.
//!
//! Decision: the TOML document is walked by hand, with the place of every value, and not through serde. Context: serde
//! stops at the first thing it dislikes, and a person who mends a file wants to see all of it. Cost: a reader of our
//! own; the structs in `schema_file`, `schema_memory` and
//! `schema_rest` say the same a second time for the schema, and tests hold the two together.

mod address;
mod alert_path;
mod alerts;
mod bounds;
mod calendar_form;
mod diff;
mod expand;
mod exposure;
mod fault;
mod fields;
mod health;
mod load;
mod loopback;
mod memory;
mod parse;
mod reader;
mod schema;
mod schema_file;
mod schema_memory;
mod schema_rest;
mod service;
mod sink;
mod step;
mod task;
mod typed;
mod units;
mod validate;
mod watch;

#[cfg(test)]
mod tests;

pub use alert_path::{AlertPath, Dependence, alert_path, describe_sink};
pub use diff::{changed_exposure_keys, changed_globals, changed_keys, changed_task_keys, diff, needs_restart};
pub use fault::{Fault, code, render};
pub use load::{Source, Surroundings, locate, read};
pub use parse::{Parsed, parse, state_dir};
pub use schema::schema;
pub use typed::{typed_duration, typed_rate, typed_size};
pub use units::show_duration;
