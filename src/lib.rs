//! `supervisor` keeps the local services of an OpenClaw installation alive and puts every exit on record.
pub mod cli;
pub mod control;
pub mod config;
pub mod error;
pub mod machine;
pub mod journal;
pub mod model;
pub mod policy;
pub mod process;
pub mod store;
