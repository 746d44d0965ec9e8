//! Services that do not leak, however they look.

use crate::rng::Rng;
use crate::shapes::{DAY, HOUR, Load, Scene, minutes, spread, uniform};

/// A class of healthy traces.
#[derive(Debug, Clone, Copy)]
pub struct Healthy {
    /// Its name.
    pub name: &'static str,
    /// How many hours its traces may have.
    pub hours: &'static [f64],
    /// Restarts and sleeps.
    pub frame: fn(&mut Rng, usize) -> Frame,
    /// What the memory does.
    pub shape: fn(&mut Scene),
}

/// When a service is restarted, and when the machine sleeps.
#[derive(Debug, Default)]
pub struct Frame {
    /// First minutes of new lives.
    pub restarts: Vec<usize>,
    /// From, until.
    pub sleeps: Vec<(usize, usize)>,
}

/// Neither restart nor sleep.
pub fn through(_: &mut Rng, _: usize) -> Frame {
    Frame::default()
}

/// Restarts at any time, some soon after another.
pub fn restarted(rng: &mut Rng, length: usize) -> Frame {
    let restarts = (0..1 + rng.below(10)).map(|_| rng.range(HOUR as u64, length as u64) as usize).collect();
    Frame { restarts, ..Frame::default() }
}

/// One to three restarts.
pub fn seldom_restarted(rng: &mut Rng, length: usize) -> Frame {
    let restarts = (0..1 + rng.below(3)).map(|_| rng.range(HOUR as u64, length as u64) as usize).collect();
    Frame { restarts, ..Frame::default() }
}

/// Each night at about the same time.
pub fn nightly(rng: &mut Rng, length: usize) -> Frame {
    let first = rng.range(3 * HOUR as u64, DAY as u64) as usize;
    let restarts = (first..length).step_by(DAY).map(|at| at + rng.below(20) as usize).collect();
    Frame { restarts, ..Frame::default() }
}

/// A laptop: most nights, and now and then by day.
pub fn asleep(rng: &mut Rng, length: usize) -> Frame {
    let evening = rng.range(HOUR as u64, DAY as u64) as usize;
    let mut sleeps = Vec::new();
    for at in (evening..length).step_by(DAY) {
        if rng.chance(75) {
            let from = at + rng.below(90) as usize;
            sleeps.push((from, from + minutes(uniform(rng, 1.0, 9.0))));
        }
        if rng.chance(30) {
            let from = at + minutes(uniform(rng, 10.0, 15.0));
            sleeps.push((from, from + minutes(uniform(rng, 0.2, 2.5))));
        }
    }
    Frame { sleeps, ..Frame::default() }
}

/// Both.
pub fn restarted_and_asleep(rng: &mut Rng, length: usize) -> Frame {
    let restarts = if rng.chance(60) { seldom_restarted(rng, length).restarts } else { Vec::new() };
    let sleeps = if rng.chance(60) { asleep(rng, length).sleeps } else { Vec::new() };
    Frame { restarts, sleeps }
}

const ANY: &[f64] = &[24.0, 48.0, 72.0, 96.0, 120.0, 168.0, 168.0, 240.0];
const LONG: &[f64] = &[72.0, 96.0, 120.0, 168.0, 168.0, 240.0];
const WEEKS: &[f64] = &[240.0, 336.0];

/// Those that are publicly described.
pub const CORE: &[Healthy] = &[
    Healthy { name: "flat", hours: ANY, frame: through, shape: quiet },
    Healthy { name: "gc_sawtooth", hours: ANY, frame: through, shape: sawtooth },
    Healthy { name: "gc_nested", hours: ANY, frame: through, shape: nested },
    Healthy { name: "warm_exp", hours: &[12.0, 24.0, 48.0, 72.0, 168.0], frame: through, shape: warm_exp },
    Healthy { name: "warm_log", hours: &[24.0, 48.0, 96.0, 168.0, 240.0], frame: through, shape: warm_log },
    Healthy { name: "cache_fill", hours: &[48.0, 72.0, 120.0], frame: through, shape: cache_fill },
    Healthy { name: "daily", hours: LONG, frame: through, shape: daily },
    Healthy { name: "steps", hours: LONG, frame: through, shape: steps },
    Healthy { name: "restarts", hours: LONG, frame: restarted, shape: warm_lives },
    Healthy { name: "sleep", hours: LONG, frame: asleep, shape: sleeper },
    Healthy { name: "pageout", hours: LONG, frame: through, shape: paged },
    Healthy { name: "mixed", hours: LONG, frame: restarted_and_asleep, shape: mixed },
];

/// Those that may come in life as well.
pub const FURTHER: &[Healthy] = &[
    Healthy { name: "weekly", hours: WEEKS, frame: through, shape: weekly },
    Healthy { name: "nightly_batch", hours: LONG, frame: through, shape: nightly_batch },
    Healthy { name: "ratchet", hours: LONG, frame: through, shape: ratchet },
    Healthy { name: "drift", hours: LONG, frame: through, shape: drift },
    Healthy { name: "heap_stairs", hours: ANY, frame: through, shape: heap_stairs },
    Healthy { name: "ttl_cache", hours: LONG, frame: through, shape: ttl_cache },
    Healthy { name: "slow_warm", hours: LONG, frame: through, shape: slow_warm },
    Healthy { name: "long_cycles", hours: LONG, frame: through, shape: long_cycles },
    Healthy { name: "sessions", hours: LONG, frame: through, shape: sessions },
    Healthy { name: "models", hours: LONG, frame: through, shape: models },
    Healthy { name: "recycled_workers", hours: LONG, frame: through, shape: recycled_workers },
    Healthy { name: "nightly_restart", hours: LONG, frame: nightly, shape: warm_lives },
    Healthy { name: "deep_sleep", hours: LONG, frame: asleep, shape: deep_sleeper },
    Healthy { name: "glitches", hours: ANY, frame: through, shape: glitches },
    Healthy { name: "children", hours: LONG, frame: through, shape: children },
    Healthy { name: "weekly_drop", hours: WEEKS, frame: through, shape: weekly_drop },
    Healthy { name: "creep", hours: ANY, frame: through, shape: creep },
    Healthy { name: "late_fill", hours: LONG, frame: through, shape: late_fill },
    Healthy { name: "laptop", hours: LONG, frame: restarted_and_asleep, shape: laptop },
    Healthy { name: "mixed_further", hours: LONG, frame: restarted_and_asleep, shape: mixed_further },
];

/// Those that cannot be told from a leak before they end.
pub const AMBIGUOUS: &[Healthy] = &[
    Healthy { name: "amb_long_fill", hours: &[120.0, 168.0], frame: through, shape: long_fill },
    Healthy { name: "amb_slow_recycling", hours: &[168.0], frame: through, shape: slow_recycling },
];

/// Noise, or a sawtooth, as most services have one of them.
pub fn background(scene: &mut Scene) {
    scene.usual_noise();
    if scene.rng.chance(55) {
        let height = scene.base * spread(&mut scene.rng, 0.02, 0.25);
        let period = spread(&mut scene.rng, 0.08, 1.2);
        scene.saw(height, period);
    }
}

fn quiet(scene: &mut Scene) {
    scene.usual_noise();
}

fn sawtooth(scene: &mut Scene) {
    scene.usual_noise();
    scene.usual_saw();
}

fn nested(scene: &mut Scene) {
    scene.usual_noise();
    scene.nested();
}

fn warm_exp(scene: &mut Scene) {
    background(scene);
    let (part, tau) = (uniform(&mut scene.rng, 0.1, 1.3), spread(&mut scene.rng, 0.2, 3.0));
    scene.warm(part, tau);
}

fn warm_log(scene: &mut Scene) {
    background(scene);
    let (part, tau) = (spread(&mut scene.rng, 0.015, 0.09), spread(&mut scene.rng, 0.05, 1.0));
    scene.warm_log(part, tau);
}

fn cache_fill(scene: &mut Scene) {
    background(scene);
    let (part, hours) = (spread(&mut scene.rng, 0.3, 2.0), spread(&mut scene.rng, 1.0, 10.0));
    let bend = uniform(&mut scene.rng, 1.0, 4.0);
    scene.fill(part, hours, bend);
}

fn daily(scene: &mut Scene) {
    background(scene);
    if scene.rng.chance(60) {
        // No day is quite as the last.
        let (part, tau) = (spread(&mut scene.rng, 0.004, 0.025), uniform(&mut scene.rng, 8.0, 24.0));
        scene.drift(part, tau);
    }
    let load = Load::any(&mut scene.rng);
    scene.set_load(load);
    let part = spread(&mut scene.rng, 0.1, 0.8);
    scene.follow_load(part);
}

fn steps(scene: &mut Scene) {
    background(scene);
    for _ in 0..1 + scene.rng.below(4) {
        let at = scene.rng.range(2 * HOUR as u64, scene.len() as u64) as usize;
        let mib = scene.base * uniform(&mut scene.rng, 0.05, 0.4);
        let rise = uniform(&mut scene.rng, 1.0, 15.0);
        scene.step(at, mib, rise);
    }
}

fn warm_lives(scene: &mut Scene) {
    background(scene);
    let (part, tau) = (uniform(&mut scene.rng, 0.2, 1.2), spread(&mut scene.rng, 0.2, 2.0));
    scene.warm(part, tau);
}

fn sleeper(scene: &mut Scene) {
    background(scene);
    let half = spread(&mut scene.rng, 0.3, 3.0);
    scene.page_out_after_sleep(0.02, 0.35, half);
}

fn paged(scene: &mut Scene) {
    background(scene);
    let often = spread(&mut scene.rng, 6.0, 60.0);
    let mut at = minutes(scene.rng.exponential(often)) + HOUR;
    while at < scene.len() {
        let (part, half) = (uniform(&mut scene.rng, 0.1, 0.45), spread(&mut scene.rng, 0.3, 4.0));
        scene.page_out(at, part, half);
        at += minutes(scene.rng.exponential(often)) + HOUR;
    }
}

fn mixed(scene: &mut Scene) {
    background(scene);
    mix(scene, &[daily, steps, warm_lives, warm_log, cache_fill, paged]);
    if scene.rng.chance(70) {
        let half = spread(&mut scene.rng, 0.3, 3.0);
        scene.page_out_after_sleep(0.02, 0.35, half);
    }
}

/// Two of them.
fn mix(scene: &mut Scene, of: &[fn(&mut Scene)]) {
    let first = scene.rng.below(of.len() as u64) as usize;
    let second = (first + 1 + scene.rng.below(of.len() as u64 - 1) as usize) % of.len();
    of[first](scene);
    of[second](scene);
}

/// Work on five days; what the weekend let go is filled again on Monday.
pub fn weekly(scene: &mut Scene) {
    background(scene);
    let load = Load::weekly(&mut scene.rng);
    scene.set_load(load);
    let part = spread(&mut scene.rng, 0.1, 0.6);
    scene.follow_load(part);
    let (cache, ttl) = (spread(&mut scene.rng, 0.1, 0.5), uniform(&mut scene.rng, 6.0, 40.0));
    scene.ttl_cache(cache, ttl);
}

fn nightly_batch(scene: &mut Scene) {
    background(scene);
    let hour = uniform(&mut scene.rng, 0.5, 5.0);
    let size = scene.base * uniform(&mut scene.rng, 0.2, 0.8);
    // What a night leaves is used again by the next: the first two or three leave something.
    let mut left = size * uniform(&mut scene.rng, 0.05, 0.35);
    let less = uniform(&mut scene.rng, 0.0, 0.5);
    for at in scene.each_day_at(hour) {
        let until = at + minutes(uniform(&mut scene.rng, 0.5, 2.5));
        scene.hold(at, until, size);
        scene.step(at, left, 30.0);
        left *= less;
    }
}

fn ratchet(scene: &mut Scene) {
    background(scene);
    let part = spread(&mut scene.rng, 0.015, 0.06);
    scene.ratchet(part);
}

/// What moves about slowly and comes back.
pub fn drift(scene: &mut Scene) {
    background(scene);
    let (part, tau) = (spread(&mut scene.rng, 0.01, 0.06), spread(&mut scene.rng, 2.0, 20.0));
    scene.drift(part, tau);
}

fn heap_stairs(scene: &mut Scene) {
    scene.usual_noise();
    let (part, hours) = (spread(&mut scene.rng, 0.1, 0.7), spread(&mut scene.rng, 0.3, 2.0));
    scene.heap_stairs(part, hours);
}

/// A cache that forgets, under daily load.
pub fn ttl_cache(scene: &mut Scene) {
    background(scene);
    let load = if scene.rng.chance(50) { Load::weekly(&mut scene.rng) } else { Load::any(&mut scene.rng) };
    scene.set_load(load);
    let (part, ttl) = (spread(&mut scene.rng, 0.2, 1.5), spread(&mut scene.rng, 1.0, 24.0));
    scene.ttl_cache(part, ttl);
}

fn slow_warm(scene: &mut Scene) {
    background(scene);
    if scene.rng.chance(50) {
        let (part, tau) = (uniform(&mut scene.rng, 0.1, 0.8), spread(&mut scene.rng, 3.0, 10.0));
        scene.warm(part, tau);
    } else {
        let (part, tau) = (spread(&mut scene.rng, 0.02, 0.12), spread(&mut scene.rng, 1.0, 10.0));
        scene.warm_log(part, tau);
    }
}

fn long_cycles(scene: &mut Scene) {
    scene.usual_noise();
    let (height, period) = (scene.base * spread(&mut scene.rng, 0.1, 0.6), spread(&mut scene.rng, 2.0, 9.0));
    scene.saw(height, period);
}

/// Opened in the morning, few closed by day, all drained in the evening.
fn sessions(scene: &mut Scene) {
    background(scene);
    let load = if scene.rng.chance(50) { Load::weekly(&mut scene.rng) } else { Load::any(&mut scene.rng) };
    scene.set_load(load);
    let most = scene.base * spread(&mut scene.rng, 0.1, 0.8) / load.width;
    let (by_day, by_night) = (uniform(&mut scene.rng, 0.02, 0.2), uniform(&mut scene.rng, 0.4, 2.0));
    let mut now = 0.0;
    let all: Vec<f64> = (0..scene.len())
        .map(|at| {
            let ends = if scene.load[at] > 0.3 { by_day } else { by_night };
            now += (scene.load[at] * most - now * ends) / HOUR as f64;
            now
        })
        .collect();
    for (at, mib) in all.iter().enumerate() {
        scene.healthy[at] += mib;
        scene.steady[at] += mib;
    }
}

/// Loaded when they are asked for, gone after they were idle.
fn models(scene: &mut Scene) {
    background(scene);
    let size = scene.base * uniform(&mut scene.rng, 0.3, 1.5);
    let mut at = minutes(scene.rng.exponential(6.0));
    let mut left = size * uniform(&mut scene.rng, 0.0, 0.06);
    while at < scene.len() {
        let until = at + minutes(0.3 + scene.rng.exponential(5.0));
        scene.hold(at, until, size);
        scene.step(at, left, 5.0);
        left *= 0.4;
        at = until + minutes(0.5 + scene.rng.exponential(8.0));
    }
}

fn recycled_workers(scene: &mut Scene) {
    background(scene);
    let workers = scene.rng.range(2, 9) as usize;
    let (part, hours) = (spread(&mut scene.rng, 0.2, 1.2), spread(&mut scene.rng, 1.0, 8.0));
    scene.recycled_workers(workers, part, hours);
}

fn deep_sleeper(scene: &mut Scene) {
    background(scene);
    let half = spread(&mut scene.rng, 2.0, 8.0);
    scene.page_out_after_sleep(0.3, 0.65, half);
}

/// A counter that now and then says nothing, or nonsense.
pub fn glitches(scene: &mut Scene) {
    background(scene);
    for _ in 0..scene.rng.range(2, 9) {
        let at = scene.rng.below(scene.len() as u64) as usize;
        let bytes = scene.rng.pick(&[0, 0, 4096, 1 << 44, u64::MAX / 2]);
        scene.nonsense.push((at, bytes));
    }
}

/// A child process that comes and goes.
pub fn children(scene: &mut Scene) {
    background(scene);
    let often = spread(&mut scene.rng, 2.0, 20.0);
    let size = scene.base * spread(&mut scene.rng, 0.1, 0.8);
    let mut at = minutes(scene.rng.exponential(often));
    while at < scene.len() {
        let until = at + minutes(0.1 + scene.rng.exponential(often / 2.0));
        let mib = size * uniform(&mut scene.rng, 0.7, 1.3);
        scene.hold(at, until, mib);
        at = until + minutes(scene.rng.exponential(often));
    }
}

/// A job of each week that clears everything; half a day later it is back where it was.
fn weekly_drop(scene: &mut Scene) {
    background(scene);
    let (part, tau) = (uniform(&mut scene.rng, 0.2, 0.7), uniform(&mut scene.rng, 2.0, 9.0));
    let job = scene.rng.range(DAY as u64, 7 * DAY as u64) as usize;
    for at in 0..scene.len() {
        let since = if at < job { at } else { (at - job) % (7 * DAY) };
        scene.healthy[at] += scene.base * part * (1.0 - (-(since as f64) / HOUR as f64 / tau).exp());
    }
}

/// What a quiet Node process looks like.
pub fn creep(scene: &mut Scene) {
    scene.usual_noise();
    let hours = spread(&mut scene.rng, 0.3, 6.0);
    // However small the program is, its heap is allowed some ten MiB before anybody looks.
    let least = spread(&mut scene.rng, 12.0, 80.0) / scene.base;
    let part = spread(&mut scene.rng, 0.08, 0.6).max(least);
    scene.creep(part, hours);
}

/// A cache that is emptied or first used after days, and filled within hours.
fn late_fill(scene: &mut Scene) {
    background(scene);
    let at = scene.rng.range(20 * HOUR as u64, scene.len() as u64 - 12 * HOUR as u64) as usize;
    let mib = scene.base * spread(&mut scene.rng, 0.15, 1.0);
    if scene.rng.chance(50) {
        let rise = minutes(uniform(&mut scene.rng, 1.0, 10.0)) as f64;
        scene.step(at, mib, rise);
    } else {
        let tau = uniform(&mut scene.rng, 0.5, 4.0);
        for later in at..scene.len() {
            scene.healthy[later] += mib * (1.0 - (-((later - at) as f64) / HOUR as f64 / tau).exp());
        }
    }
}

/// Daily work on a machine that sleeps and needs its memory elsewhere.
pub fn laptop(scene: &mut Scene) {
    daily(scene);
    let half = spread(&mut scene.rng, 0.3, 4.0);
    scene.page_out_after_sleep(0.05, 0.5, half);
}

fn mixed_further(scene: &mut Scene) {
    scene.usual_noise();
    mix(scene, &[ttl_cache, drift, ratchet, children, nightly_batch, heap_stairs, slow_warm, glitches]);
    if scene.rng.chance(70) {
        let half = spread(&mut scene.rng, 0.5, 5.0);
        scene.page_out_after_sleep(0.05, 0.5, half);
    }
}

fn long_fill(scene: &mut Scene) {
    background(scene);
    let (part, hours) = (uniform(&mut scene.rng, 0.3, 1.5), uniform(&mut scene.rng, 14.0, 40.0));
    scene.fill(part, hours, 1.0);
}

fn slow_recycling(scene: &mut Scene) {
    background(scene);
    let (part, hours) = (uniform(&mut scene.rng, 0.3, 1.0), uniform(&mut scene.rng, 20.0, 60.0));
    scene.recycled_workers(1, part, hours);
}
