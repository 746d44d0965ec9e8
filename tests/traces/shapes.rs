//! What memory does that is no leak: the building blocks that healthy and leaking traces are made of. All sizes are MiB, all
//! times minutes of the wall clock unless a name says otherwise.

use crate::rng::Rng;

/// Samples are a minute apart.
pub const HOUR: usize = 60;

/// A day of samples.
pub const DAY: usize = 24 * HOUR;

/// From `from` to `to`, all alike.
pub fn uniform(rng: &mut Rng, from: f64, to: f64) -> f64 {
    from + (to - from) * rng.fraction()
}

/// From `from` to `to`, each factor alike.
pub fn spread(rng: &mut Rng, from: f64, to: f64) -> f64 {
    uniform(rng, from.ln(), to.ln()).exp()
}

/// Normal, mean 0 and deviation 1: twelve throws are near enough and the same on every machine.
pub fn normal(rng: &mut Rng) -> f64 {
    (0..12).map(|_| rng.fraction()).sum::<f64>() - 6.0
}

/// Minutes of so many hours.
pub fn minutes(hours: f64) -> usize {
    (hours * HOUR as f64).round() as usize
}

/// How much is to do over the days.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Hour of the day at which it is highest.
    pub peak: f64,
    /// Hours from its start to its end, roughly.
    pub width: f64,
    /// A plateau rather than a hill.
    pub plateau: bool,
    /// What is left of it on the two days of the weekend.
    pub weekend: f64,
    /// How much days differ: 0 for not at all.
    pub uneven: f64,
}

impl Load {
    /// Days that are much alike.
    pub fn any(rng: &mut Rng) -> Self {
        Self {
            peak: uniform(rng, 9.0, 18.0),
            width: uniform(rng, 6.0, 11.0),
            plateau: rng.chance(40),
            weekend: 1.0,
            uneven: uniform(rng, 0.1, 0.35),
        }
    }

    /// Little on two of seven days.
    pub fn weekly(rng: &mut Rng) -> Self {
        Self { weekend: uniform(rng, 0.05, 0.4), ..Self::any(rng) }
    }
}

/// One service over some days, as it is put together.
#[derive(Debug)]
pub struct Scene {
    /// Luck.
    pub rng: Rng,
    /// What the service needs once it has started.
    pub base: f64,
    /// Whether the machine was awake.
    pub awake: Vec<bool>,
    /// Which life of the process.
    pub life: Vec<usize>,
    /// Hours awake since that began.
    pub age: Vec<f64>,
    /// Everything that is no leak.
    pub healthy: Vec<f64>,
    /// What of it comes again and again: a leak has to rise above that.
    pub steady: Vec<f64>,
    /// Which part of the pages is resident.
    pub resident: Vec<f64>,
    /// How much is to do, about 0 to 1.
    pub load: Vec<f64>,
    /// Samples that say nonsense.
    pub nonsense: Vec<(usize, u64)>,
    first_hour: f64,
    first_day: usize, // 5 and 6 are the weekend
}

impl Scene {
    /// So many minutes of a service that is started at the first, and again at `restarts`; the machine sleeps in `sleeps`.
    pub fn new(mut rng: Rng, base: f64, length: usize, restarts: &[usize], sleeps: &[(usize, usize)]) -> Self {
        let mut awake = vec![true; length];
        for &(from, until) in sleeps {
            awake[from.min(length)..until.min(length)].fill(false);
        }
        let (mut life, mut age) = (Vec::with_capacity(length), Vec::with_capacity(length));
        let (mut lives, mut hours) = (0, 0.0);
        for (at, &is_awake) in awake.iter().enumerate() {
            if restarts.contains(&at) {
                (lives, hours) = (lives + 1, 0.0);
            }
            life.push(lives);
            age.push(hours);
            hours += if is_awake { 1.0 / HOUR as f64 } else { 0.0 };
        }
        let first_hour = uniform(&mut rng, 0.0, 24.0);
        let first_day = rng.range(0, 7) as usize;
        // A process maps its libraries and reads its state in the first minutes.
        let healthy = age.iter().map(|hours| base * (1.0 - 0.25 * (-hours * 40.0).exp())).collect();
        Self {
            rng,
            base,
            awake,
            life,
            age,
            healthy,
            steady: vec![0.0; length],
            resident: vec![1.0; length],
            load: vec![1.0; length],
            nonsense: Vec::new(),
            first_hour,
            first_day,
        }
    }

    /// How many minutes.
    pub fn len(&self) -> usize {
        self.awake.len()
    }

    /// Hour of the day, 0 to 24.
    pub fn hour(&self, at: usize) -> f64 {
        (self.first_hour + at as f64 / HOUR as f64) % 24.0
    }

    /// Days since the first midnight before the trace.
    pub fn day(&self, at: usize) -> usize {
        (self.first_hour + at as f64 / HOUR as f64) as usize / 24
    }

    /// The first minute of each hour `hour`, day by day.
    pub fn each_day_at(&self, hour: f64) -> Vec<usize> {
        (1..self.len())
            .filter(|&at| self.hour(at) >= hour && (self.hour(at - 1) < hour || self.day(at - 1) != self.day(at)))
            .collect()
    }

    /// The first minutes of lives, the first of all too.
    pub fn births(&self) -> Vec<usize> {
        (0..self.len()).filter(|&at| at == 0 || self.life[at] != self.life[at - 1]).collect()
    }

    /// `mib(self, minute)` in each minute.
    fn add(&mut self, mib: impl Fn(&Self, usize) -> f64) {
        for at in 0..self.len() {
            let more = mib(self, at);
            self.healthy[at] += more;
        }
    }

    fn add_steady(&mut self, mib: &[f64]) {
        for (at, more) in mib.iter().enumerate() {
            self.healthy[at] += more;
            self.steady[at] += more;
        }
    }

    /// Small changes from minute to minute, some of which last for ten: `part` of the base.
    pub fn noise(&mut self, part: f64) {
        let size = self.base * part;
        let mut slow = 0.0;
        let all: Vec<f64> = (0..self.len())
            .map(|_| {
                slow = 0.88 * slow + 0.48 * normal(&mut self.rng);
                size * (0.75 * slow + 0.66 * normal(&mut self.rng))
            })
            .collect();
        self.add_steady(&all);
    }

    /// The noise most services have.
    pub fn usual_noise(&mut self) {
        let part = spread(&mut self.rng, 0.001, 0.006);
        self.noise(part);
    }

    /// A collector's sawtooth: up by `height` in about `period` hours, then back to a floor that is nearly the same.
    pub fn saw(&mut self, height: f64, period: f64) {
        let mut all = Vec::with_capacity(self.len());
        while all.len() < self.len() {
            let floor = uniform(&mut self.rng, -0.04, 0.06) * height;
            let top = uniform(&mut self.rng, 0.72, 1.08) * height;
            let long = (period * HOUR as f64 * spread(&mut self.rng, 0.6, 1.6)).max(2.0) as usize;
            for minute in 0..long {
                let jitter = 0.006 * height * normal(&mut self.rng);
                all.push(floor + (top - floor) * minute as f64 / long as f64 + jitter);
            }
        }
        all.truncate(self.len());
        self.add_steady(&all);
    }

    /// One of the usual size.
    pub fn usual_saw(&mut self) {
        let height = self.base * spread(&mut self.rng, 0.05, 0.7);
        let period = spread(&mut self.rng, 0.08, 1.5);
        self.saw(height, period);
    }

    /// Young collections on old ones.
    pub fn nested(&mut self) {
        let high = self.base * spread(&mut self.rng, 0.15, 0.6);
        let long = spread(&mut self.rng, 1.0, 6.0);
        self.saw(high, long);
        let low = high * uniform(&mut self.rng, 0.2, 0.6);
        let short = long / uniform(&mut self.rng, 8.0, 40.0);
        self.saw(low, short);
    }

    /// `part` of the base that comes with a time constant of `tau` hours.
    pub fn warm(&mut self, part: f64, tau: f64) {
        self.add(|scene, at| scene.base * part * (1.0 - (-scene.age[at] / tau).exp()));
    }

    /// `part` of the base for each factor e in age, from `tau` hours on.
    pub fn warm_log(&mut self, part: f64, tau: f64) {
        self.add(|scene, at| scene.base * part * (1.0 + scene.age[at] / tau).ln());
    }

    /// A cache of `part` of the base that is full after so many hours; `bend` 1 fills it evenly, more ever slower.
    pub fn fill(&mut self, part: f64, hours: f64, bend: f64) {
        self.add(|scene, at| scene.base * part * (1.0 - (1.0 - (scene.age[at] / hours).min(1.0)).powf(bend)));
    }

    /// How much is to do, minute by minute; kept for what comes later.
    pub fn set_load(&mut self, load: Load) {
        let days: Vec<f64> =
            (0..=self.day(self.len()) + 1).map(|_| (1.0 + load.uneven * normal(&mut self.rng)).max(0.15)).collect();
        for at in 0..self.len() {
            let hours = self.first_hour + at as f64 / HOUR as f64;
            let mut sum = 0.0;
            for (day, size) in days.iter().enumerate() {
                let off = hours - (day as f64 * 24.0 + load.peak);
                let size = if (self.first_day + day) % 7 >= 5 { size * load.weekend } else { *size };
                sum += size
                    * if load.plateau {
                        let edge = |x: f64| 1.0 / (1.0 + (-x / 0.5).exp());
                        edge(off + load.width / 2.0) * edge(load.width / 2.0 - off)
                    } else {
                        (-(off / (load.width / 3.3)).powi(2) / 2.0).exp()
                    };
            }
            self.load[at] = sum;
        }
    }

    /// `part` of the base more where the load is 1.
    pub fn follow_load(&mut self, part: f64) {
        let all: Vec<f64> = self.load.iter().map(|load| self.base * part * load).collect();
        self.add_steady(&all);
    }

    /// What the load of the last `ttl` hours left in a cache; each life has to fill it anew.
    pub fn ttl_cache(&mut self, part: f64, ttl: f64) {
        let window = minutes(ttl).max(1);
        let (mut sum, mut born) = (0.0, 0);
        let mut all = Vec::with_capacity(self.len());
        for at in 0..self.len() {
            if at > 0 && self.life[at] != self.life[at - 1] {
                (sum, born) = (0.0, at);
            }
            sum += self.load[at];
            if at >= born + window {
                sum -= self.load[at - window];
            }
            all.push(self.base * part * sum / window as f64);
        }
        self.add_steady(&all);
    }

    /// What moves about its mean for hours: deviation `part` of the base, memory of `tau` hours.
    pub fn drift(&mut self, part: f64, tau: f64) {
        let keep = (-1.0 / (tau * HOUR as f64)).exp();
        let push = self.base * part * (1.0 - keep * keep).sqrt();
        let mut now = 0.0;
        let all: Vec<f64> = (0..self.len())
            .map(|_| {
                now = keep * now + push * normal(&mut self.rng);
                now
            })
            .collect();
        self.add_steady(&all);
    }

    /// `mib` more from a minute on, over `rise` minutes.
    pub fn step(&mut self, from: usize, mib: f64, rise: f64) {
        self.add(|_, at| if at < from { 0.0 } else { mib * ((at - from) as f64 / rise).min(1.0) });
    }

    /// `mib` more between two minutes.
    pub fn hold(&mut self, from: usize, until: usize, mib: f64) {
        for at in from..until.min(self.len()) {
            self.healthy[at] += mib * (((at - from + 1) as f64) / 4.0).min(1.0);
        }
    }

    /// `part` of the pages goes at a minute, and half of what is out comes back in each `half` hours awake.
    pub fn page_out(&mut self, from: usize, part: f64, half: f64) {
        let life = self.life[from];
        let mut hours = 0.0;
        for at in from..self.len() {
            if self.life[at] != life {
                break;
            }
            self.resident[at] *= 1.0 - part * 0.5f64.powf(hours / half);
            hours += if self.awake[at] { 1.0 / HOUR as f64 } else { 0.0 };
        }
    }

    /// After each sleep `part` of the pages is out.
    pub fn page_out_after_sleep(&mut self, least: f64, most: f64, half: f64) {
        for at in 1..self.len() {
            if self.awake[at] && !self.awake[at - 1] && self.rng.chance(80) {
                let part = uniform(&mut self.rng, least, most);
                let half = half * uniform(&mut self.rng, 0.6, 1.5);
                self.page_out(at, part, half);
            }
        }
    }

    /// Workers that each grow to `part` of the base and are replaced after about `hours`.
    pub fn recycled_workers(&mut self, workers: usize, part: f64, hours: f64) {
        let mut all = vec![0.0; self.len()];
        for _ in 0..workers {
            let mut at = 0;
            while at < all.len() {
                let long = minutes(hours * uniform(&mut self.rng, 0.75, 1.25)).max(10);
                let size = self.base * part * uniform(&mut self.rng, 0.8, 1.2) / workers as f64;
                for minute in 0..long.min(all.len() - at) {
                    all[at + minute] += size * minute as f64 / long as f64;
                }
                at += long;
            }
        }
        self.add_steady(&all);
    }

    /// Freed pages that are not given back: each record of a day's work stays, and records become rarer.
    pub fn ratchet(&mut self, part: f64) {
        let mut record = 0.0;
        for at in 0..self.len() {
            if at > 0 && self.life[at] != self.life[at - 1] {
                record = 0.0;
            }
            if at.is_multiple_of(20) {
                record = self.rng.exponential(1.0).max(record);
            }
            self.healthy[at] += self.base * part * record;
        }
    }

    /// A heap that nobody is in a hurry to collect: it creeps up in small portions by up to `part` of the base for about `hours`, and
    /// how much is given back then is luck.
    pub fn creep(&mut self, part: f64, hours: f64) {
        let mut all: Vec<f64> = Vec::with_capacity(self.len());
        let mut floor = 0.0;
        while all.len() < self.len() {
            let long = minutes(hours * spread(&mut self.rng, 0.3, 2.5)).max(5);
            let mut now = floor;
            for _ in 0..long {
                if self.rng.chance(25) {
                    now += self.rng.exponential(self.base * part / long as f64 / 0.25);
                }
                all.push(now.min(self.base * part * 1.3));
            }
            floor = self.base * part * uniform(&mut self.rng, 0.0, 0.35);
        }
        all.truncate(self.len());
        self.add_steady(&all);
    }

    /// A heap whose limit rises stair by stair before a full collection takes it all back.
    pub fn heap_stairs(&mut self, part: f64, stair_hours: f64) {
        let mut all: Vec<f64> = Vec::with_capacity(self.len());
        while all.len() < self.len() {
            let stairs = 3 + self.rng.below(6);
            for stair in 0..stairs {
                let long = minutes(stair_hours * spread(&mut self.rng, 0.5, 2.0)).max(3);
                let floor = stair as f64 / stairs as f64;
                let height = 1.0 / stairs as f64;
                all.extend((0..long).map(|minute| self.base * part * (floor + height * (minute % 25) as f64 / 40.0)));
            }
        }
        all.truncate(self.len());
        self.add_steady(&all);
    }
}
