//! One labelled trace from a seed and a number.

use std::fmt;

use crate::healthy::{self, Healthy};
use crate::leaks::{self, Leaking, Speed};
use crate::rng::Rng;
use crate::shapes::{DAY, HOUR, Scene, minutes, normal, spread};

/// 2^20 bytes.
pub const MIB: f64 = 1_048_576.0;

/// One number of one minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Seconds since the trace's start; those of sleeps are missing.
    pub t: u32,
    /// Bytes.
    pub bytes: u64,
    /// Another one after each restart.
    pub pid: u32,
}

/// Which classes a class stands beside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// Publicly described.
    Core,
    /// What else there is in life.
    Further,
    /// Nobody can tell, from memory alone.
    Ambiguous,
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Core => "core",
            Self::Further => "further",
            Self::Ambiguous => "ambiguous",
        })
    }
}

/// What is leaked, and when one could know.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Leak {
    /// Seconds from the trace's start to its first byte.
    pub onset: f64,
    /// MiB per hour awake, mean.
    pub slope: f64,
    /// Hours until what one life leaked stands out of three deviations of the rest, and of 5 % of the base; 1 at least.
    pub ideal: f64,
}

/// A labelled trace.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// File name without its ending.
    pub name: String,
    /// Its class.
    pub class: &'static str,
    /// And what that is one of.
    pub group: Group,
    /// gateway, embedding or daemon.
    pub service: &'static str,
    /// `None` for a healthy one.
    pub leak: Option<Leak>,
    /// MiB that the service needs after its start.
    pub base: f64,
    /// Deviation of what comes again and again, MiB.
    pub sigma: f64,
    /// Its length.
    pub hours: f64,
    /// How often the service was restarted.
    pub restarts: usize,
    /// The numbers.
    pub samples: Vec<Sample>,
}

impl Trace {
    /// gateway or embedding: a daemon is judged as the former.
    pub fn threshold_class(&self) -> &'static str {
        if self.service == "embedding" { "embedding" } else { "gateway" }
    }

    /// What counts as fast growth for it, bytes per hour.
    pub fn growth(&self) -> u64 {
        if self.service == "embedding" { 20_000_000 } else { 10_000_000 }
    }
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Healthy(Healthy),
    Leaking(Leaking),
}

/// A class, by which traces are chosen.
#[derive(Debug, Clone, Copy)]
pub struct Class {
    /// Its name.
    pub name: &'static str,
    /// And what it is one of.
    pub group: Group,
    kind: Kind,
}

/// All classes, healthy ones and leaks in turn, so that any stretch of numbers has about as many of both.
pub fn classes() -> Vec<Class> {
    let healthy = |group, of: &[Healthy]| {
        of.iter().map(|it| Class { name: it.name, group, kind: Kind::Healthy(*it) }).collect::<Vec<_>>()
    };
    let leaking = |group, of: &[Leaking]| {
        of.iter().map(|it| Class { name: it.name, group, kind: Kind::Leaking(*it) }).collect::<Vec<_>>()
    };
    let mut all = Vec::new();
    for (some, others) in [
        (healthy(Group::Core, healthy::CORE), leaking(Group::Core, leaks::CORE)),
        (healthy(Group::Further, healthy::FURTHER), leaking(Group::Further, leaks::FURTHER)),
    ] {
        let (mut some, mut others) = (some.into_iter(), others.into_iter());
        loop {
            let pair = (some.next(), others.next());
            if pair.0.is_none() && pair.1.is_none() {
                break;
            }
            all.extend(pair.0);
            all.extend(pair.1);
        }
    }
    all.extend(healthy(Group::Ambiguous, healthy::AMBIGUOUS));
    all
}

/// The trace of this number: it depends on the seed, the number and the class alone.
pub fn trace(seed: u64, index: u64, class: &Class) -> Trace {
    let mut rng = Rng::new(seed, index);
    let (service, base) = match rng.below(100) {
        0..48 => ("gateway", spread(&mut rng, 70.0, 380.0)),
        48..82 => ("embedding", spread(&mut rng, 500.0, 2600.0)),
        _ => ("daemon", spread(&mut rng, 22.0, 50.0)),
    };
    let mut made = match class.kind {
        Kind::Healthy(healthy) => whole(rng, base, &healthy),
        Kind::Leaking(leaking) => leaky(&mut rng, service, base, &leaking),
    };
    made.name = format!("s{seed}-{index:04}-{}", class.name);
    (made.class, made.group, made.service, made.base) = (class.name, class.group, service, base);
    made
}

fn whole(mut rng: Rng, base: f64, class: &Healthy) -> Trace {
    let length = minutes(rng.pick(class.hours));
    let frame = (class.frame)(&mut rng, length);
    let mut scene = Scene::new(rng, base, length, &frame.restarts, &frame.sleeps);
    (class.shape)(&mut scene);
    let nothing = vec![0.0; length];
    written(&mut scene, &nothing, length, None)
}

/// What a leak does to one scene.
struct Leaked {
    /// MiB that are there, minute by minute.
    mib: Vec<f64>,
    /// Minutes until it ends.
    length: usize,
    /// The label.
    leak: Leak,
}

fn leaky(rng: &mut Rng, service: &str, base: f64, class: &Leaking) -> Trace {
    let mut slope = slope(rng, service, base, class.speed);
    if class.name == "leak_hidden20" {
        // It takes 17 hours to stand out: not before the end.
        slope = slope.min(ceiling(base) / 60.0);
    }
    let mut wanted = rng.pick(&[72.0, 96.0, 120.0, 168.0, 168.0, 240.0]);
    // An ideal delay that leaves no room for a detector, or a process that has no room for the leak: another slope.
    for _ in 0..60 {
        let length = minutes(wanted);
        let mut mine = rng.clone();
        let frame = (class.frame)(&mut mine, length);
        let mut scene = Scene::new(mine, base, length, &frame.restarts, &frame.sleeps);
        (class.shape)(&mut scene, slope);
        let growing = (class.growth)(&mut scene);
        match leaked(&scene, &growing, slope) {
            Ok(leaked) => return written(&mut scene, &leaked.mib, leaked.length, Some(leaked.leak)),
            Err(TooFew::Hours) if wanted < 240.0 => wanted += 24.0,
            Err(TooFew::Hours) => slope *= 1.15,
            Err(TooFew::Room) => slope *= 0.8,
        }
        // Both at once: another day, of which there are many.
        rng.next();
    }
    panic!("no trace of {} with a base of {base:.0} MiB has room for its leak", class.name);
}

/// Where a process ends, MiB above its base.
fn ceiling(base: f64) -> f64 {
    (4.0 * base).max(2560.0)
}

/// MiB per hour.
fn slope(rng: &mut Rng, service: &str, base: f64, speed: Speed) -> f64 {
    match speed {
        Speed::Small => spread(rng, 2.0, 4.0).max(base * 0.003),
        Speed::Fast => spread(rng, 60.0, 200.0),
        Speed::Usual => {
            let (median, width) = match service {
                "gateway" => (8.0_f64, 1.1),
                "embedding" => (19.0, 0.8),
                _ => (4.0, 0.5),
            };
            (median.ln() + width * normal(rng)).exp().clamp(2.0, 200.0).max(base * 0.003)
        }
    }
}

/// Why a slope does not do.
enum TooFew {
    /// It stands out too late.
    Hours,
    /// It ends too early.
    Room,
}

fn leaked(scene: &Scene, growing: &leaks::Growing, slope: f64) -> Result<Leaked, TooFew> {
    let onset = growing.onset;
    let awake = (onset..scene.len()).filter(|&at| scene.awake[at]).count() as f64 / HOUR as f64;
    let sum: f64 = (onset..scene.len()).filter(|&at| scene.awake[at]).map(|at| growing.weights[at]).sum();
    let scale = slope * awake / sum.max(f64::MIN_POSITIVE);
    // What stays for good, and what the next midnight takes.
    let (mut kept, mut loose, mut total) = (0.0, 0.0, 0.0);
    let (mut mib, mut stays) = (Vec::with_capacity(scene.len()), Vec::with_capacity(scene.len()));
    for at in 0..scene.len() {
        if at > 0 && scene.life[at] != scene.life[at - 1] {
            (kept, loose) = (0.0, 0.0);
        }
        if at.is_multiple_of(DAY) {
            loose = 0.0;
        }
        if scene.awake[at] {
            let more = growing.weights[at] * scale;
            total += more * (1.0 - growing.released);
            kept += more * (1.0 - growing.released);
            loose += more * growing.released;
        }
        mib.push(kept + loose);
        stays.push(kept);
        if kept + loose >= ceiling(scene.base) {
            break;
        }
    }
    let length = mib.len();
    let least = (3.0 * deviation(&scene.steady[..length])).max(0.05 * scene.base);
    let out = stays.iter().position(|&mib| mib > least);
    let ideal = out.map(|at| ((at.max(onset) - onset) as f64 / HOUR as f64).max(1.0));
    let left = (length - onset.min(length)) as f64 / HOUR as f64;
    match ideal {
        Some(ideal) if 2.5 * ideal + 6.0 <= left => {
            let awake = (onset..length).filter(|&at| scene.awake[at]).count() as f64 / HOUR as f64;
            Ok(Leaked { mib, length, leak: Leak { onset: (onset * 60) as f64, slope: total / awake, ideal } })
        }
        _ if length < scene.len() => Err(TooFew::Room),
        _ => Err(TooFew::Hours),
    }
}

fn deviation(of: &[f64]) -> f64 {
    let count = of.len().max(1) as f64;
    let mean = of.iter().sum::<f64>() / count;
    (of.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / count).sqrt()
}

fn written(scene: &mut Scene, leaked: &[f64], length: usize, leak: Option<Leak>) -> Trace {
    let first = 300 + scene.rng.below(30_000) as u32;
    let mut samples: Vec<Sample> = (0..length)
        .filter(|&at| scene.awake[at])
        .map(|at| {
            let mib = ((scene.healthy[at] + leaked[at]) * scene.resident[at]).max(1.0);
            // Pages are 4 KiB.
            let bytes = (mib * MIB / 4096.0).round() as u64 * 4096;
            Sample { t: (at * 60) as u32, bytes, pid: first + 37 * scene.life[at] as u32 }
        })
        .collect();
    for &(at, bytes) in &scene.nonsense {
        if let Ok(found) = samples.binary_search_by_key(&((at * 60) as u32), |sample| sample.t) {
            samples[found].bytes = bytes;
        }
    }
    let restarts = scene.births().iter().filter(|&&at| at > 0 && at < length).count();
    Trace {
        name: String::new(),
        class: "",
        group: Group::Core,
        service: "",
        leak,
        base: scene.base,
        sigma: deviation(&scene.steady[..length]),
        hours: length as f64 / HOUR as f64,
        restarts,
        samples,
    }
}
