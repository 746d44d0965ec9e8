//! Services that leak, and what hides it.

use crate::healthy::{self, Frame, asleep, background, nightly, restarted_and_asleep, seldom_restarted, through};
use crate::rng::Rng;
use crate::shapes::{DAY, HOUR, Load, Scene, minutes, spread, uniform};

/// A class of leaking traces.
#[derive(Debug, Clone, Copy)]
pub struct Leaking {
    /// Its name.
    pub name: &'static str,
    /// Restarts and sleeps.
    pub frame: fn(&mut Rng, usize) -> Frame,
    /// How fast.
    pub speed: Speed,
    /// What else the memory does; it is told the leak's MiB per hour.
    pub shape: fn(&mut Scene, f64),
    /// When and how the leak comes.
    pub growth: fn(&mut Scene) -> Growing,
}

/// How fast a class leaks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Speed {
    /// 2 to 200 MiB per hour, most of them under 25.
    Usual,
    /// 2 to 4 MiB per hour.
    Small,
    /// 60 to 200 MiB per hour.
    Fast,
}

/// How a leak goes on.
#[derive(Debug)]
pub struct Growing {
    /// First minute.
    pub onset: usize,
    /// How much comes in each minute since then, on any scale.
    pub weights: Vec<f64>,
    /// Which part of a day's growth is given back at midnight.
    pub released: f64,
}

impl Growing {
    /// From the start on, so much more in each minute.
    fn by(scene: &Scene, weight: impl Fn(usize) -> f64) -> Self {
        Self::since(scene, 0, weight)
    }

    /// The same from a later minute; `weight` is told the minutes since then.
    fn since(scene: &Scene, onset: usize, weight: impl Fn(usize) -> f64) -> Self {
        let weights = (0..scene.len()).map(|at| if at < onset { 0.0 } else { weight(at - onset) }).collect();
        Self { onset, weights, released: 0.0 }
    }
}

const fn usual(name: &'static str, shape: fn(&mut Scene, f64), growth: fn(&mut Scene) -> Growing) -> Leaking {
    Leaking { name, frame: through, speed: Speed::Usual, shape, growth }
}

/// Those that are publicly described.
pub const CORE: &[Leaking] = &[
    usual("leak_linear", quiet, even),
    usual("leak_saw", sawtooth, even),
    usual("leak_daily", daily, even),
    usual("leak_warm", warm, even),
    Leaking { frame: asleep, ..usual("leak_sleep", sleeper, even) },
    Leaking { frame: seldom_restarted, ..usual("leak_restarts", warm, even) },
    usual("leak_pageout", paged, even),
    usual("leak_per_request", loaded, per_request),
    usual("leak_midway", busy, midway),
    usual("leak_stairs", busy, stairs),
    usual("leak_expo", busy, exponential),
    usual("leak_hidden20", hidden, even),
    Leaking { frame: restarted_and_asleep, ..usual("leak_mixed", mixed, at_any_time) },
];

/// Those that may come in life as well.
pub const FURTHER: &[Leaking] = &[
    usual("leak_work_hours", loaded, work_hours),
    usual("leak_bursts", loaded, bursts),
    usual("leak_after_step", busy, after_step),
    usual("leak_part_released", busy, part_released),
    usual("leak_slowing", busy, slowing),
    usual("leak_accelerating", busy, accelerating),
    usual("leak_one_worker", workers, midway),
    Leaking { frame: nightly, ..usual("leak_nightly_restart", warm, even) },
    Leaking { speed: Speed::Small, ..usual("leak_small", quiet, even) },
    Leaking { speed: Speed::Fast, ..usual("leak_fast", busy, at_any_time) },
    usual("leak_drift", drifting, even),
    usual("leak_ttl_cache", ttl_cache, even),
    usual("leak_two_rates", busy, two_rates),
    usual("leak_weekly", weekly, per_request),
    usual("leak_native_stairs", quiet, native_stairs),
    usual("leak_heap_stairs", heap_stairs, even),
    usual("leak_creep", creep, even),
    Leaking { frame: restarted_and_asleep, ..usual("leak_laptop", laptop, even) },
    usual("leak_children", children, even),
    Leaking { frame: asleep, ..usual("leak_deep_sleep", deep_sleeper, even) },
];

fn quiet(scene: &mut Scene, _: f64) {
    scene.usual_noise();
}

fn busy(scene: &mut Scene, _: f64) {
    background(scene);
}

fn sawtooth(scene: &mut Scene, _: f64) {
    scene.usual_noise();
    scene.usual_saw();
}

fn daily(scene: &mut Scene, _: f64) {
    background(scene);
    let load = Load::any(&mut scene.rng);
    scene.set_load(load);
    let part = spread(&mut scene.rng, 0.1, 0.5);
    scene.follow_load(part);
}

fn warm(scene: &mut Scene, _: f64) {
    background(scene);
    let (part, tau) = (uniform(&mut scene.rng, 0.2, 1.0), spread(&mut scene.rng, 0.2, 3.0));
    scene.warm(part, tau);
}

fn sleeper(scene: &mut Scene, _: f64) {
    background(scene);
    let half = spread(&mut scene.rng, 0.3, 3.0);
    scene.page_out_after_sleep(0.02, 0.35, half);
}

fn deep_sleeper(scene: &mut Scene, _: f64) {
    background(scene);
    let half = spread(&mut scene.rng, 2.0, 8.0);
    scene.page_out_after_sleep(0.3, 0.6, half);
}

fn paged(scene: &mut Scene, _: f64) {
    background(scene);
    for _ in 0..1 + scene.rng.below(3) {
        let at = scene.rng.range(HOUR as u64, scene.len() as u64) as usize;
        let (part, half) = (uniform(&mut scene.rng, 0.1, 0.45), spread(&mut scene.rng, 0.3, 4.0));
        scene.page_out(at, part, half);
    }
}

fn loaded(scene: &mut Scene, _: f64) {
    background(scene);
    let load = Load::any(&mut scene.rng);
    scene.set_load(load);
    let part = spread(&mut scene.rng, 0.05, 0.4);
    scene.follow_load(part);
}

fn weekly(scene: &mut Scene, _: f64) {
    background(scene);
    let load = Load::weekly(&mut scene.rng);
    scene.set_load(load);
    let part = spread(&mut scene.rng, 0.05, 0.3);
    scene.follow_load(part);
}

fn hidden(scene: &mut Scene, slope: f64) {
    scene.usual_noise();
    let period = spread(&mut scene.rng, 0.2, 4.0);
    scene.saw(20.0 * slope, period);
}

fn mixed(scene: &mut Scene, slope: f64) {
    let of = [daily, sawtooth, warm, paged, loaded];
    let first = scene.rng.pick(&of);
    first(scene, slope);
    if scene.rng.chance(60) {
        let half = spread(&mut scene.rng, 0.3, 3.0);
        scene.page_out_after_sleep(0.02, 0.35, half);
    }
}

fn workers(scene: &mut Scene, _: f64) {
    background(scene);
    // The others do their work well, and come and go with it.
    healthy::children(scene);
}

fn children(scene: &mut Scene, _: f64) {
    healthy::children(scene);
}

fn drifting(scene: &mut Scene, _: f64) {
    healthy::drift(scene);
}

fn creep(scene: &mut Scene, _: f64) {
    healthy::creep(scene);
}

fn laptop(scene: &mut Scene, _: f64) {
    healthy::laptop(scene);
}

fn ttl_cache(scene: &mut Scene, _: f64) {
    healthy::ttl_cache(scene);
}

fn heap_stairs(scene: &mut Scene, _: f64) {
    scene.usual_noise();
    let (part, hours) = (spread(&mut scene.rng, 0.1, 0.4), spread(&mut scene.rng, 0.3, 1.5));
    scene.heap_stairs(part, hours);
}

fn even(scene: &mut Scene) -> Growing {
    Growing::by(scene, |_| 1.0)
}

/// A third into the trace, or up to half.
fn late(scene: &mut Scene) -> usize {
    let part = uniform(&mut scene.rng, 0.15, 0.5);
    (scene.len() as f64 * part) as usize
}

fn midway(scene: &mut Scene) -> Growing {
    let onset = late(scene);
    Growing::since(scene, onset, |_| 1.0)
}

fn at_any_time(scene: &mut Scene) -> Growing {
    if scene.rng.chance(50) { midway(scene) } else { even(scene) }
}

fn per_request(scene: &mut Scene) -> Growing {
    Growing::by(scene, |at| scene.load[at] + 0.05)
}

fn work_hours(scene: &mut Scene) -> Growing {
    Growing::by(scene, |at| if scene.load[at] > 0.4 { 1.0 } else { 0.0 })
}

/// Hundreds of sessions, each of which leaves its own.
fn bursts(scene: &mut Scene) -> Growing {
    let often = spread(&mut scene.rng, 0.3, 3.0);
    let mut weights = vec![0.0; scene.len()];
    for (at, weight) in weights.iter_mut().enumerate() {
        if scene.rng.fraction() < (scene.load[at] + 0.1) / (often * HOUR as f64) {
            *weight = scene.rng.exponential(1.0);
        }
    }
    Growing { onset: 0, weights, released: 0.0 }
}

/// Stairs of many sizes, hours apart.
fn stairs(scene: &mut Scene) -> Growing {
    let apart = spread(&mut scene.rng, 0.5, 8.0);
    stairs_apart(scene, apart)
}

fn stairs_apart(scene: &mut Scene, hours: f64) -> Growing {
    let mut weights = vec![0.0; scene.len()];
    let mut at = minutes(hours * scene.rng.fraction());
    while at < weights.len() {
        weights[at] = uniform(&mut scene.rng, 0.6, 1.5);
        at += minutes(hours * uniform(&mut scene.rng, 0.5, 1.5)).max(1);
    }
    Growing { onset: 0, weights, released: 0.0 }
}

/// Arenas of the C library, each some hours after the last.
fn native_stairs(scene: &mut Scene) -> Growing {
    let apart = spread(&mut scene.rng, 3.0, 10.0);
    stairs_apart(scene, apart)
}

fn exponential(scene: &mut Scene) -> Growing {
    let times = uniform(&mut scene.rng, 1.5, 3.5);
    let length = scene.len() as f64;
    Growing::by(scene, |at| (times * at as f64 / length).exp())
}

/// With a deploy that also needs more.
fn after_step(scene: &mut Scene) -> Growing {
    let onset = late(scene);
    let mib = scene.base * uniform(&mut scene.rng, 0.05, 0.4);
    scene.step(onset, mib, 10.0);
    Growing::since(scene, onset, |_| 1.0)
}

fn part_released(scene: &mut Scene) -> Growing {
    let released = uniform(&mut scene.rng, 0.3, 0.6);
    Growing { released, ..even(scene) }
}

/// As the root of time: slower and slower, without an end.
fn slowing(scene: &mut Scene) -> Growing {
    let power = uniform(&mut scene.rng, 0.2, 0.5);
    Growing::by(scene, |at| (1.0 + at as f64 / (4 * HOUR) as f64).powf(-power))
}

fn accelerating(scene: &mut Scene) -> Growing {
    let power = uniform(&mut scene.rng, 0.5, 1.2);
    Growing::by(scene, |at| (0.2 + at as f64 / DAY as f64).powf(power))
}

fn two_rates(scene: &mut Scene) -> Growing {
    let turn = late(scene);
    let times = scene.rng.pick(&[0.3, 0.4, 2.5, 4.0]);
    Growing::by(scene, |at| if at < turn { 1.0 } else { times })
}
