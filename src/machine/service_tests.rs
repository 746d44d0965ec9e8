//! What reads better as a table or a short story than as a model (`model_test`).

use std::time::Duration;

use super::*;
use crate::model::wire::Verb;
use crate::model::{Exit, Fraction, Intent, Moment, Mono, RestartMode, ServiceSpec, Signal, Status, StopCause};
use crate::policy::STABLE_UPTIME;

const CRASH: Exit = Exit::Code(1);

/// One service, its clock, and a kernel that starts whatever it is told to.
struct Story {
    machine: ServiceMachine,
    now: Duration,
    rng: f64,
    /// Attempts of each start, in order.
    starts: Vec<u32>,
}

impl Story {
    fn new(spec: ServiceSpec) -> Self {
        let machine = ServiceMachine::new(spec, Intent::default());
        let mut story = Self { machine, now: Duration::from_secs(1000), rng: 0.0, starts: Vec::new() };
        story.give(Input::Begin { saved: None, fate: Fate::Fine, alive: None, same_boot: true });
        story
    }

    fn usual() -> Self {
        Self::new(ServiceSpec::for_tests("s"))
    }

    fn at(&self) -> Moment {
        let wall_ms = i64::try_from(self.now.as_millis()).unwrap();
        Moment { mono: Mono(0).plus(self.now), boot_ns: 0, wall_ms }
    }

    fn give(&mut self, input: Input) -> Vec<Effect> {
        let mut effects = self.machine.step(self.at(), Fraction::new(self.rng), input);
        let spawn =
            effects.iter().find_map(|e| if let Effect::Spawn { attempt, .. } = e { Some(*attempt) } else { None });
        if let Some(attempt) = spawn {
            self.starts.push(attempt);
            let process = ProcessRef { pid: 100 + i32::try_from(self.starts.len()).unwrap(), start: 1 };
            effects.extend(self.give(Input::Spawned { process }));
        }
        effects
    }

    fn exit_after(&mut self, time: Duration, exit: Exit) -> Vec<Effect> {
        self.now += time;
        let run_id = self.machine.run().expect("it runs").id;
        self.give(Input::Exited { run_id, exit })
    }

    /// To the moment that was asked for.
    fn due(&mut self) -> Vec<Effect> {
        let due = self.machine.due().expect("something is due");
        self.now = self.now.max(due.since(Mono(0)));
        self.give(Input::Tick)
    }

    fn order(&mut self, verb: Verb) -> Vec<Effect> {
        self.give(Input::Order { verb, by: "operator".into(), cause: None, run_id: None })
    }

    /// How long it waits now for its next start.
    fn delay(&self) -> Duration {
        match self.machine.phase() {
            Phase::Delayed { until } => until.since(self.at().mono),
            Phase::Up(_) => Duration::ZERO,
            other => panic!("it does not wait: {other:?}"),
        }
    }

    fn status(&self) -> Status {
        self.machine.status()
    }
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn signals(effects: &[Effect]) -> Vec<Signal> {
    effects.iter().filter_map(|e| if let Effect::Signal { signal, .. } = e { Some(*signal) } else { None }).collect()
}

fn named(effects: &[Effect]) -> Vec<&'static str> {
    effects
        .iter()
        .filter_map(|e| if let Effect::Record { event, .. } = e { Some(event.as_str()) } else { None })
        .collect()
}

#[test]
fn restart_attempt_counts_automatic_starts_and_begins_anew_with_an_operator_or_a_long_run() {
    let mut story = Story::usual();
    for _ in 0..3 {
        story.exit_after(seconds(10), CRASH);
    }
    assert_eq!(story.starts, [0, 1, 2, 3]);
    story.exit_after(STABLE_UPTIME, CRASH);
    assert_eq!(story.starts.last(), Some(&1), "ten minutes of uptime prove it well");
    story.exit_after(seconds(10), CRASH);
    story.order(Verb::Restart);
    story.exit_after(seconds(1), Exit::Code(0));
    assert_eq!(story.starts.last(), Some(&0), "an operator's restart is no automatic start");
    story.exit_after(seconds(20), CRASH);
    assert_eq!(story.starts.last(), Some(&1));
    // A verdict of the daemon is automatic too.
    story.now += seconds(20);
    story.give(Input::Order { verb: Verb::Restart, by: "daemon".into(), cause: Some(StopCause::Hung), run_id: None });
    story.exit_after(seconds(1), Exit::Code(0));
    assert_eq!(story.starts.last(), Some(&2));
}

#[test]
fn what_is_ordered_of_one_run_is_not_done_to_another() {
    let mut story = Story::usual();
    let of_run = |verb, run_id| {
        let cause = (verb == Verb::Restart).then_some(StopCause::Hung);
        Input::Order { verb, by: "daemon".into(), cause, run_id: Some(run_id) }
    };
    story.exit_after(seconds(20), CRASH);
    // Run 2 lives, and what is said of run 1 comes too late; of run 3 nothing can be known.
    for (verb, run_id) in [(Verb::Restart, 1), (Verb::Stop, 1), (Verb::Start, 1), (Verb::Restart, 3)] {
        let (before, ticket) = (story.machine.clone(), story.machine.ticket(verb, Some(run_id)));
        assert_eq!(story.give(of_run(verb, run_id)), [], "{verb:?} of run {run_id}");
        assert_eq!(story.machine, before, "{verb:?} of run {run_id}");
        assert_eq!(story.machine.ticket_state(ticket), TicketState::Done(format!("run {run_id} is over")));
    }
    assert_eq!(signals(&story.give(of_run(Verb::Restart, 2))), [Signal::TERM]);
    let ticket = story.machine.ticket(Verb::Restart, Some(2));
    assert_eq!(story.machine.ticket_state(ticket), TicketState::Pending);
    // Between two runs there is none that it could be about.
    story.exit_after(seconds(1), Exit::Code(0));
    let before = story.machine.clone();
    assert_eq!(before.run(), None, "{before:?}");
    assert_eq!(story.give(of_run(Verb::Restart, 2)), []);
    assert_eq!(story.machine, before);
}

#[test]
fn a_start_keeps_throttle_since_the_last_start_and_a_storm_doubles_it() {
    // (runs for, waits then) with the least jitter, so that the delays are the greatest: throttle 10 s, at most 5 min.
    let mut story = Story::usual();
    let table =
        [(1, 9), (4, 6), (9, 1), (10, 0), (1, 19), (0, 40), (0, 80), (0, 160), (0, 300), (0, 300), (250, 50), (400, 0)];
    for (runs, waits) in table {
        story.exit_after(seconds(runs), CRASH);
        assert_eq!(story.delay(), seconds(waits), "after a run of {runs} s");
        if waits > 0 {
            story.due();
        }
    }
    // The most jitter goes down to throttle and no further.
    story.rng = 1.0;
    story.exit_after(seconds(0), CRASH);
    assert_eq!(story.delay().as_millis(), 10_000);
    story.due();
    story.exit_after(STABLE_UPTIME, CRASH);
    story.rng = 0.0;
    story.exit_after(seconds(1), CRASH);
    assert_eq!(story.delay(), seconds(9), "ten minutes end the storm");
}

#[test]
fn without_throttle_nothing_waits_however_often() {
    let mut spec = ServiceSpec::for_tests("s");
    spec.throttle = Duration::ZERO;
    let mut story = Story::new(spec);
    for _ in 0..100 {
        story.exit_after(Duration::from_millis(1), CRASH);
        assert_eq!(story.status(), Status::Up);
    }
    assert_eq!(story.starts.len(), 101);
}

#[test]
fn a_restart_joins_the_one_under_way() {
    let mut story = Story::usual();
    let first = story.order(Verb::Restart);
    assert_eq!(named(&first), ["service_restart"]);
    let ticket = story.machine.ticket(Verb::Restart, None);
    let second = story.order(Verb::Restart);
    assert_eq!((named(&second), signals(&second)), (vec![], vec![]), "it is done once");
    story.exit_after(seconds(1), Exit::Code(0));
    assert_eq!(story.starts, [0, 0]);
    assert!(matches!(story.machine.ticket_state(ticket), TicketState::Done(_)));
}

#[test]
fn who_asks_last_during_a_stop_decides_what_follows() {
    use Verb::{Restart, Start, Stop};
    // Orders in this order on a running service; then its process ends. The status, and how many starts there were.
    let table: &[(&[Verb], Status, usize)] = &[
        (&[Stop], Status::Down, 1),
        (&[Stop, Stop], Status::Down, 1),
        (&[Stop, Start], Status::Up, 2),
        (&[Stop, Restart], Status::Up, 2),
        (&[Restart, Stop], Status::Down, 1),
        (&[Restart, Stop, Start], Status::Up, 2),
        (&[Restart, Start], Status::Up, 2),
        (&[Start], Status::Up, 1),
    ];
    for (orders, status, starts) in table {
        let mut story = Story::usual();
        for verb in *orders {
            story.order(*verb);
        }
        if **orders != [Start] {
            assert_eq!(story.status(), Status::Stopping, "{orders:?}");
            story.exit_after(seconds(1), Exit::Code(0));
        }
        assert_eq!((story.status(), story.starts.len()), (*status, *starts), "{orders:?}");
    }
}

#[test]
fn a_stop_or_a_shutdown_during_a_long_drain_leaves_it_no_longer_than_a_stop() {
    let mut spec = ServiceSpec::for_tests("s");
    (spec.drain_timeout, spec.stop_timeout) = (seconds(330), seconds(30));
    for hasten in [
        Input::Leave { cause: StopCause::Shutdown },
        Input::Order { verb: Verb::Stop, by: "operator".into(), cause: None, run_id: None },
    ] {
        let mut story = Story::new(spec.clone());
        story.order(Verb::Restart);
        let began = story.at().mono;
        assert_eq!(story.machine.due(), Some(began.plus(seconds(330))));
        story.now += seconds(5);
        story.give(hasten.clone());
        assert_eq!(story.machine.due(), Some(began.plus(seconds(35))), "{hasten:?}");
        assert_eq!(signals(&story.due()), [Signal::KILL]);
    }
    // And it is never given more time than it had.
    let mut story = Story::new(spec);
    story.order(Verb::Restart);
    story.now += seconds(320);
    let due = story.machine.due();
    story.order(Verb::Stop);
    assert_eq!(story.machine.due(), due);
}

#[test]
fn a_reload_reaches_a_service_however_it_stands() {
    let held = |story: &mut Story| drop(story.exit_after(seconds(60), Exit::Code(78)));
    let delayed = |story: &mut Story| drop(story.exit_after(seconds(1), CRASH));
    let stopped = |story: &mut Story| {
        story.order(Verb::Stop);
        story.exit_after(seconds(1), Exit::Code(0));
    };
    let up = |_: &mut Story| {};
    reloaded("up", up, (Status::Up, 1));
    reloaded("held", held, (Status::Up, 2));
    reloaded("delayed, and throttle is now shorter", delayed, (Status::Up, 2));
    reloaded("stopped", stopped, (Status::Down, 1));
    // What it waited for need not be waited for any more.
    let mut spec = ServiceSpec::for_tests("s");
    spec.after = vec![crate::model::UnitName::new("other").unwrap()];
    let mut story = Story::new(spec.clone());
    assert_eq!(story.status(), Status::Waiting);
    spec.after.clear();
    story.give(Input::Spec { spec: Box::new(spec), restart: false });
    assert_eq!((story.status(), story.starts.as_slice()), (Status::Up, [0].as_slice()));
}

fn reloaded(name: &str, stand: impl Fn(&mut Story), wanted: (Status, usize)) {
    let mut story = Story::usual();
    stand(&mut story);
    let mut spec = story.machine.spec().clone();
    spec.throttle = Duration::ZERO;
    story.give(Input::Spec { spec: Box::new(spec), restart: false });
    assert_eq!((story.status(), story.starts.len()), wanted, "{name}");
}

#[test]
fn a_changed_service_is_started_anew_whatever_restart_says() {
    let mut spec = ServiceSpec::for_tests("s");
    (spec.restart, spec.throttle) = (RestartMode::Never, Duration::ZERO);
    let mut story = Story::new(spec.clone());
    story.give(Input::Spec { spec: Box::new(spec), restart: true });
    assert_eq!(story.status(), Status::Stopping);
    story.exit_after(seconds(1), Exit::Code(0));
    assert_eq!((story.status(), story.starts.len()), (Status::Up, 2));
}

#[test]
fn a_locked_out_service_is_somebody_elses_until_it_begins() {
    let machine = ServiceMachine::new(ServiceSpec::for_tests("s"), Intent::default());
    let mut story = Story { machine, now: seconds(1000), rng: 0.0, starts: Vec::new() };
    story.give(Input::LockedOut { owner: Some(7) });
    for verb in [Verb::Start, Verb::Stop, Verb::Restart] {
        let ticket = story.machine.ticket(verb, None);
        assert_eq!(story.order(verb), [], "the file is the other runner's to write");
        match story.machine.ticket_state(ticket) {
            TicketState::Failed(why) => assert!(why.contains("another runner (pid 7)"), "{why}"),
            other => panic!("{verb:?}: {other:?}"),
        }
    }
    story.machine.set_intent(Intent { up: false, by: "operator".into(), since_ms: 5 });
    story.give(Input::Begin { saved: None, fate: Fate::Fine, alive: None, same_boot: true });
    assert_eq!((story.status(), story.starts.len()), (Status::Down, 0), "what its owner was told holds");
}

#[test]
fn a_spawn_that_is_not_answered_yet_can_be_taken_back() {
    for (input, phase) in [
        (Input::Leave { cause: StopCause::Reload }, Phase::Idle),
        (Input::Order { verb: Verb::Stop, by: "operator".into(), cause: None, run_id: None }, Phase::Down),
    ] {
        let mut machine = ServiceMachine::new(ServiceSpec::for_tests("s"), Intent::default());
        let rng = Fraction::new(0.0);
        let begin = Input::Begin { saved: None, fate: Fate::Fine, alive: None, same_boot: true };
        assert!(matches!(machine.step(Moment::default(), rng, begin)[..], [Effect::Spawn { .. }]));
        machine.step(Moment::default(), rng, input);
        assert_eq!(*machine.phase(), phase);
    }
}

#[test]
fn a_refusal_is_told_again_once_a_run_in_between_was_well_for_a_minute() {
    let told = |effects: &[Effect]| {
        effects
            .iter()
            .filter(|e| matches!(e, Effect::Record { event: crate::model::EventType::ServiceHeld, .. }))
            .count()
    };
    let refusal = Exit::Code(78);
    let mut story = Story::usual();
    assert_eq!(told(&story.exit_after(Duration::from_secs(1), refusal)), 1);
    for (lived, again) in [(59_999, 0), (60_000, 1), (1000, 0)] {
        story.due();
        assert_eq!(told(&story.exit_after(Duration::from_millis(lived), refusal)), again, "after {lived} ms");
    }
}
