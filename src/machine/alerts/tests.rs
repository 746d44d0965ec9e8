//! The rules over traces that people can read (traces.txt), and over made-up ones.

mod properties;
mod traces;
mod world;
