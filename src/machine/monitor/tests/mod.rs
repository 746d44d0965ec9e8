//! The monitor in a small world: a service that pauses, hangs and starts, a machine that sleeps, and a daemon that is told of all of it
//! as the real one is. Nothing here takes any time.

mod excuses;
mod judging;
mod pauses;
mod sleeps;
mod starts;
mod world;
