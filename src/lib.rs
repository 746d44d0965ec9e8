//! `supervisor` keeps the local services of an OpenClaw installation alive and puts every exit on record.
//!
//! # Layers
//! Arrows point to what may be used; `tests/main/layers.rs` reads this table and holds the sources against it,
//! `.clippy.toml` keeps clocks and spawning out of the pure rooms. `error` may be used by all.
//!
//! ```text
//! model     plain data                                                          (no IO, no clock)
//! policy    pure decisions                                                      -> model
//! machine   ServiceMachine, MonitorMachine, words                               -> model, policy
//! config    services.toml -> Fleet                                              -> model
//! import    what others wrote -> services.toml text                             -> model, config
//! process   facts of the operating system                                       -> model
//! logs      pipes to files, rotation, reading back                              -> model, process
//! journal   a runner's append-only record                                       -> model, process
//! slots     which slot of a calendar job is taken by whom, on disk                -> model, policy, process
//! store     the SQLite ledger                                                   -> model, process
//! alert     sinks: messages leave the machine                                     -> model, policy, process
//! probe     asking a service how it is                                          -> model, process
//! evidence  what a service looked like before it was ended                      -> model, policy, machine (words), process, logs
//! manager   who starts runners                                                  -> model, process
//! install   jobs written, loaded, compared                                      -> model, manager, control, process
//! runner    the parent of services                                              -> all of the above but import, probe, evidence, alert, manager, install, store
//! control   the sockets: client and server                                      -> model, process
//! daemon    judges, records, answers                                            -> all of the above but import
//! doctor    what is wrong with this machine's set-up                            -> model, process, store, manager, config, alert, runner (environment)
//! emit      the event server: HTTP in, rows out                              -> model, process, store, control (serving), alert (secrets)
//! watch     the file-watcher: changes of files in, handlers run              -> model, policy, process, control
//! builtin   maintenance steps of calendar jobs                                 -> model, policy, machine, config, process, logs, store, slots, control, doctor
//! cli       asks and prints                                                     -> model, policy (the leak detector, replayed), machine, config, import, control, store, alert (previews), journal and logs (reading), process, manager, install, doctor, slots, emit, watch, builtin
//! ```
pub mod alert;
pub mod builtin;
pub mod cli;
pub mod config;
pub mod control;
pub mod daemon;
pub mod doctor;
pub mod emit;
pub mod error;
pub mod evidence;
pub mod import;
pub mod install;
pub mod journal;
pub mod logs;
pub mod machine;
pub mod manager;
pub mod model;
pub mod policy;
pub mod probe;
pub mod process;
pub mod runner;
pub mod slots;
pub mod store;
pub mod watch;
