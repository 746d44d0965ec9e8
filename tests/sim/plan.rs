//! A seed becomes a plan: which services there are, and what goes wrong when. A plan is plain data, so that a failing one can
//! be made smaller.

use std::time::Duration;

use supervisor::model::{
    Exit, HealthSpec, LogSpec, ProbeKind, ProbeSpec, ProcessType, Program, RestartMode, ServiceSpec, Signal, StopCause,
    Sweep, UnitName, wire::Verb,
};

use crate::clock::{DAY, HOUR, MINUTE, SECOND};
use crate::rng::Rng;

/// Something that goes wrong, or that somebody does.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// The main process ends.
    Exit { service: usize, exit: Exit },
    /// The next so many runs end by themselves, each after so many milliseconds.
    Loop { service: usize, times: u64, uptime_ms: u64, exit: Exit },
    /// It ends with 78, and so does each further run until its configuration is mended, so many seconds later.
    Refuse { service: usize, mended_s: u64 },
    /// Its program is missing for so many seconds; noticed at the next start.
    Missing { service: usize, mended_s: u64 },
    /// The system is short of processes: the next so many spawns fail.
    Short { service: usize, times: u64 },
    /// The main process takes so long for a polite signal; `None`: it does not listen.
    Slow { service: usize, ms: Option<u64> },
    /// The main process is in uninterruptible sleep for so many seconds.
    Stuck { service: usize, s: u64 },
    /// It starts a child, which leaves the group or not, and listens to signals or not.
    Fork { service: usize, leaves: bool, deaf: bool },
    /// Other people's processes come and go: pids are used up.
    Strangers { count: u64 },
    /// Somebody, or a verdict, orders something.
    Order { service: usize, verb: Verb, cause: Option<StopCause> },
    /// SIGKILL for a runner after so many further effects; its successor comes so many milliseconds later.
    KillRunner { slot: usize, after: u64, back_ms: u64 },
    /// The same for the daemon.
    KillDaemon { after: u64, back_ms: u64 },
    /// The main process ends after so many further effects of its runner.
    ExitAfter { slot: usize, service: usize, after: u64, exit: Exit },
    /// SIGTERM for a runner (log-out, bootout); it is started again so many seconds after its end.
    Shutdown { slot: usize, back_s: u64 },
    /// A runner becomes a new version of itself, in place.
    Upgrade { slot: usize },
    /// No file can be written for so many seconds.
    DiskFull { s: u64 },
    /// The database cannot be written for so many seconds.
    Database { s: u64 },
    /// The power goes after so many further effects of a runner, for so many seconds.
    Power { slot: usize, after: u64, off_s: u64 },
    /// The machine sleeps.
    Sleep { s: u64 },
    /// The wall clock is set.
    Wall { ms: i64 },
}

#[derive(Debug, Clone)]
pub struct Timed {
    /// Awake nanoseconds from the beginning.
    pub at: u64,
    pub fault: Fault,
}

#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    pub services: Vec<ServiceSpec>,
    /// One runner for all (embedded), or one for each.
    pub embedded: bool,
    pub tells_status: bool,
    pub subreaper: bool,
    /// Journals and ledger are real files.
    pub real: bool,
    /// Awake nanoseconds until the faults end.
    pub length: u64,
    pub faults: Vec<Timed>,
}

/// What kind of story.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Months with a fault every few hours, and bursts.
    Long,
    /// Two dense hours on real files.
    Real,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Long => "long",
            Self::Real => "real",
        }
    }
}

impl Plan {
    pub fn slots(&self) -> Vec<Vec<usize>> {
        let all = 0..self.services.len();
        if self.embedded { vec![all.collect()] } else { all.map(|service| vec![service]).collect() }
    }

    pub fn slot_of(&self, service: usize) -> usize {
        if self.embedded { 0 } else { service }
    }

    /// Service-years that it tells of.
    pub fn years(&self) -> f64 {
        self.services.len() as f64 * self.length as f64 / (365.25 * DAY as f64)
    }

    pub fn of_seed(seed: u64, kind: Kind) -> Self {
        let mut rng = Rng::new(seed, 1);
        let count = usize::try_from(rng.range(1, 5)).unwrap_or(1);
        let mut services: Vec<ServiceSpec> = Vec::new();
        for n in 0..count {
            let mut spec = spec(&format!("s{n}"), &mut rng);
            if n > 0 && rng.chance(25) {
                spec.after = vec![services[n - 1].name.clone()];
            }
            services.push(spec);
        }
        let length = match kind {
            Kind::Long => 30 * DAY + rng.below(60 * DAY),
            Kind::Real => 2 * HOUR,
        };
        let mut plan = Self {
            seed,
            services,
            embedded: rng.chance(50),
            tells_status: rng.chance(70),
            subreaper: rng.chance(50),
            real: kind == Kind::Real,
            length,
            faults: Vec::new(),
        };
        let mean = match kind {
            Kind::Long => 5.0 * HOUR as f64 / count as f64,
            Kind::Real => 6.0 * MINUTE as f64,
        };
        let mut at = MINUTE;
        while at < length {
            if rng.chance(8) {
                plan.burst(at, &mut rng);
            } else {
                plan.single(at, &mut rng);
            }
            at += rng.exponential(mean) as u64 + 1;
        }
        plan.faults.sort_by_key(|timed| timed.at);
        plan
    }

    fn push(&mut self, at: u64, fault: Fault) {
        if at < self.length {
            self.faults.push(Timed { at, fault });
        }
    }

    fn single(&mut self, at: u64, rng: &mut Rng) {
        let fault = self.fault(rng);
        self.push(at, fault);
    }

    /// Many things within two minutes, some at the same moment.
    fn burst(&mut self, at: u64, rng: &mut Rng) {
        let mut at = at;
        for _ in 0..rng.range(4, 16) {
            let fault = self.fault(rng);
            self.push(at, fault);
            if rng.chance(60) {
                at += rng.below(20 * SECOND);
            }
        }
    }

    fn fault(&self, rng: &mut Rng) -> Fault {
        let service = usize::try_from(rng.below(self.services.len() as u64)).unwrap_or(0);
        let slot = self.slot_of(service);
        let after = if rng.chance(30) { 0 } else { rng.below(14) };
        let back_ms = rng.pick(&[0, 5, 200, 2000, 9000]) + rng.below(50);
        let verb = rng.pick(&[Verb::Stop, Verb::Start, Verb::Start, Verb::Restart]);
        let verdict = rng.pick(&[StopCause::Hung, StopCause::StartTimeout, StopCause::OverMemory]);
        match rng.below(100) {
            0..18 => Fault::Exit { service, exit: exit(rng) },
            18..25 => {
                let uptime_ms = rng.pick(&[0, 1, 300, 4000, 12_000, 45_000]);
                Fault::Loop { service, times: rng.range(1, 12), uptime_ms, exit: exit(rng) }
            }
            25..30 => Fault::Refuse { service, mended_s: rng.pick(&[0, 30, 600, 1000, 4000]) },
            30..32 => Fault::Missing { service, mended_s: rng.pick(&[5, 600, 2000]) },
            32..34 => Fault::Short { service, times: rng.range(1, 8) },
            34..38 => Fault::Slow { service, ms: rng.pick(&[None, Some(500), Some(10_000)]) },
            38..39 => Fault::Stuck { service, s: rng.range(5, 100) },
            39..45 => Fault::Fork { service, leaves: rng.chance(60), deaf: rng.chance(40) },
            45..49 => Fault::Strangers { count: rng.range(5, 70) },
            49..59 => Fault::Order { service, verb, cause: None },
            59..61 => Fault::Order { service, verb: Verb::Restart, cause: Some(verdict) },
            61..75 => Fault::KillRunner { slot, after, back_ms },
            75..80 => Fault::KillDaemon { after: rng.below(6), back_ms },
            80..82 => Fault::ExitAfter { slot, service, after, exit: exit(rng) },
            82..86 => Fault::Upgrade { slot },
            // Real lines are torn when the power goes in the middle of something.
            83..94 if self.real => Fault::Power { slot, after: 1 + rng.below(14), off_s: 1 },
            86..89 => Fault::Shutdown { slot, back_s: rng.pick(&[0, 1, 40]) },
            89..91 => Fault::DiskFull { s: rng.pick(&[1, 30, 900]) },
            91..94 => Fault::Database { s: rng.pick(&[2, 60, 4000]) },
            94..97 => Fault::Power { slot, after, off_s: rng.pick(&[1, 60, 8000]) },
            97..99 => Fault::Sleep { s: rng.pick(&[10, 3600, 30_000]) },
            _ => Fault::Wall { ms: rng.pick(&[-3_600_000, -1000, 1000, 86_400_000]) },
        }
    }
}

fn exit(rng: &mut Rng) -> Exit {
    let signal = |signal, core| Exit::Signal { signal, core };
    let segv = Signal::parse("SEGV").expect("a name");
    rng.pick(&[
        Exit::Code(0),
        Exit::Code(1),
        Exit::Code(78),
        Exit::Code(134),
        signal(Signal::KILL, false),
        signal(Signal::ABRT, true),
        signal(segv, false),
    ])
}

fn spec(name: &str, rng: &mut Rng) -> ServiceSpec {
    let seconds = Duration::from_secs;
    let probe = ProbeSpec { kind: ProbeKind::Tcp("127.0.0.1:1".into()), expect_status: 200, expect_json: None };
    let health = HealthSpec {
        probe,
        interval: seconds(10),
        timeout: seconds(5),
        failures: 4,
        startup: None,
        parts: None,
        diagnostic_signal: None,
    };
    ServiceSpec {
        name: UnitName::new(name).expect("a name"),
        program: Program::Command(vec!["/bin/true".into()]),
        cwd: "/".into(),
        env: Default::default(),
        env_file: None,
        enabled: true,
        restart: rng.pick(&[
            RestartMode::Always,
            RestartMode::Always,
            RestartMode::Always,
            RestartMode::Always,
            RestartMode::OnFailure,
            RestartMode::Never,
        ]),
        success_exit_codes: vec![0],
        hold_exit_codes: vec![78],
        throttle: seconds(rng.pick(&[10, 10, 10, 30, 1])),
        backoff_max: seconds(rng.pick(&[300, 300, 60])),
        min_uptime: seconds(10),
        start_timeout: seconds(60),
        stop_signal: Signal::TERM,
        stop_timeout: seconds(rng.pick(&[30, 5])),
        drain_timeout: seconds(rng.pick(&[30, 330])),
        ports: Vec::new(),
        sweep: rng.pick(&[Sweep::Tree, Sweep::Tree, Sweep::Tree, Sweep::Group]),
        notify: false,
        after: Vec::new(),
        watch_config: Vec::new(),
        process_type: ProcessType::Interactive,
        log: LogSpec { max_size: 10 << 20, keep: 5 },
        health: rng.chance(40).then_some(health),
        memory: None,
        watch: Vec::new(),
        listen: None,
        durability: supervisor::model::Durability::Process,
        token_file: None,
    }
}
