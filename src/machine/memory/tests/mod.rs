//! The judge of one service's memory, played with a service, a machine and a daemon.

mod growing;
mod limits;
mod looking;
mod world;
