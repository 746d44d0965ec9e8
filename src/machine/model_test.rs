//! `ServiceMachine` against a small model, by long random stories.
//!
//! [`Wishes`] is what follows from the inputs alone: what is wanted, whose the service is. [`World`] is what somebody outside
//! would see: which process lives, since when, who ends it, when the next automatic start is allowed. Neither knows of phases;
//! after each step both say what the machine may do and must have done.

use std::time::Duration;

use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

use super::*;
use crate::model::wire::Verb;
use crate::model::{
    EventType, Exit, ExitClass, Fraction, HealthSpec, Intent, Moment, Mono, ProbeKind, ProbeSpec, RestartMode,
    ServiceSpec, Signal, StopCause,
};
use crate::policy::{Backoff, HOLD_RETRY, KILL_AGAIN, STABLE_UPTIME};

mod succession;
mod world;

use world::World;

const STOP: Duration = Duration::from_secs(5);
const DRAIN: Duration = Duration::from_secs(20);
const MOST: Duration = Duration::from_secs(15);

/// What is different between the services of the stories.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Kind {
    throttle_s: u64,
    mode: RestartMode,
    /// Ready by a probe's word, instead of by having been started.
    probed: bool,
    /// Comes after another service.
    after: bool,
}

impl Kind {
    fn spec(self) -> ServiceSpec {
        let mut spec = ServiceSpec::for_tests("s");
        spec.throttle = Duration::from_secs(self.throttle_s);
        spec.restart = self.mode;
        (spec.stop_timeout, spec.drain_timeout, spec.backoff_max) = (STOP, DRAIN, MOST);
        if self.after {
            spec.after = vec![crate::model::UnitName::new("other").unwrap()];
        }
        let probe = ProbeSpec { kind: ProbeKind::Tcp("127.0.0.1:1".into()), expect_status: 200, expect_json: None };
        let second = Duration::from_secs(1);
        spec.health = self.probed.then_some(HealthSpec {
            probe,
            interval: second,
            timeout: second,
            failures: 3,
            startup: None,
            parts: None,
            diagnostic_signal: None,
        });
        spec
    }
}

/// What a predecessor wrote down.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Left {
    Nothing,
    Idle,
    Waiting,
    Starting,
    Up,
    Stopping(StopCause, Then),
    Held,
    Down,
    Done,
    Failed,
}

/// What became of the run in it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Became {
    Lives,
    Gone,
    Recorded(Exit),
    /// It is gone, and a later one lives that was not written down.
    Later,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Begin {
    left: Left,
    became: Became,
    same_boot: bool,
}

/// What happens next.
#[derive(Debug, Clone, PartialEq)]
enum Do {
    LockedOut,
    Begin(Begin),
    Order(Verb, Option<StopCause>),
    /// The answer to a spawn, if one was asked for.
    Spawned,
    Refused,
    Short,
    Exit(Exit),
    Ready,
    /// The same of the run before.
    OldExit(Exit),
    OldReady,
    Deps(bool),
    Changed,
    /// Time goes by, nothing else.
    Wait(Duration),
    /// The moment the machine asked for comes, and maybe a while more.
    Due(Duration),
    /// A timer that comes too early.
    Early,
    Respec(Kind, bool),
    Leave(StopCause),
    /// The runner dies, and its successor finds the process alive or not; if torn, before it wrote down its last step.
    Reborn(Became, bool),
}

/// Whose the service is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Whose {
    Nobodys,
    Others,
    Ours,
    Left,
}

/// What follows from the inputs alone.
#[derive(Debug, Clone)]
struct Wishes {
    up: bool,
    kind: Kind,
    whose: Whose,
}

fn kind() -> impl Strategy<Value = Kind> {
    let mode =
        prop_oneof![4 => Just(RestartMode::Always), 1 => Just(RestartMode::OnFailure), 1 => Just(RestartMode::Never)];
    (prop_oneof![Just(10u64), Just(0), Just(30)], mode, any::<bool>(), prop::bool::weighted(0.3))
        .prop_map(|(throttle_s, mode, probed, after)| Kind { throttle_s, mode, probed, after })
}

fn exit() -> impl Strategy<Value = Exit> {
    let signal = |signal| Exit::Signal { signal, core: false };
    prop_oneof![
        Just(Exit::Code(1)),
        Just(Exit::Code(0)),
        Just(Exit::Code(78)),
        Just(signal(Signal::KILL)),
        Just(signal(Signal::TERM)),
        Just(Exit::Signal { signal: Signal::ABRT, core: true }),
        Just(Exit::Unknown),
    ]
}

fn begin() -> impl Strategy<Value = Begin> {
    let cause = prop_oneof![
        Just(StopCause::Operator),
        Just(StopCause::Reload),
        Just(StopCause::Shutdown),
        Just(StopCause::Hung),
        Just(StopCause::OverMemory)
    ];
    let then = prop_oneof![Just(Then::Down), Just(Then::Start), Just(Then::Again), Just(Then::Leave)];
    let left = prop_oneof![
        3 => Just(Left::Nothing),
        1 => Just(Left::Idle),
        1 => Just(Left::Waiting),
        1 => Just(Left::Starting),
        2 => Just(Left::Up),
        2 => (cause, then).prop_map(|(cause, then)| Left::Stopping(cause, then)),
        1 => Just(Left::Held),
        1 => Just(Left::Down),
        1 => Just(Left::Done),
        1 => Just(Left::Failed),
    ];
    (left, became(), prop::bool::weighted(0.8)).prop_map(|(left, became, same_boot)| Begin { left, became, same_boot })
}

fn became() -> impl Strategy<Value = Became> {
    prop_oneof![Just(Became::Lives), Just(Became::Gone), exit().prop_map(Became::Recorded), Just(Became::Later)]
}

impl ReferenceStateMachine for Wishes {
    type State = Self;
    type Transition = Do;

    fn init_state() -> BoxedStrategy<Self> {
        (any::<bool>(), kind()).prop_map(|(down, kind)| Self { up: !down, kind, whose: Whose::Nobodys }).boxed()
    }

    fn transitions(state: &Self) -> BoxedStrategy<Do> {
        if matches!(state.whose, Whose::Nobodys | Whose::Others) {
            let order = prop_oneof![Just(Verb::Start), Just(Verb::Stop), Just(Verb::Restart)];
            return prop_oneof![
                6 => begin().prop_map(Do::Begin),
                1 => Just(Do::LockedOut),
                1 => order.prop_map(|verb| Do::Order(verb, None))
            ]
            .boxed();
        }
        let verdict = prop_oneof![Just(StopCause::Hung), Just(StopCause::StartTimeout), Just(StopCause::OverMemory)];
        let wait = || {
            prop_oneof![3 => 0..2000u64, 2 => 0..20_000u64, 1 => 599_000..1_000_000u64]
                .prop_map(Duration::from_millis)
                .boxed()
        };
        prop_oneof![
            2 => Just(Do::Order(Verb::Start, None)),
            1 => Just(Do::Order(Verb::Stop, None)),
            1 => Just(Do::Order(Verb::Restart, None)),
            1 => verdict.prop_map(|cause| Do::Order(Verb::Restart, Some(cause))),
            12 => Just(Do::Spawned),
            1 => Just(Do::Refused),
            1 => Just(Do::Short),
            12 => exit().prop_map(Do::Exit),
            2 => Just(Do::Ready),
            1 => exit().prop_map(Do::OldExit),
            1 => Just(Do::OldReady),
            2 => any::<bool>().prop_map(Do::Deps),
            1 => Just(Do::Changed),
            3 => wait().prop_map(Do::Wait),
            8 => prop_oneof![2 => Just(Duration::ZERO), 1 => wait()].prop_map(Do::Due),
            1 => Just(Do::Early),
            1 => (kind(), any::<bool>()).prop_map(|(kind, restart)| Do::Respec(kind, restart)),
            1 => prop_oneof![Just(StopCause::Shutdown), Just(StopCause::Reload)].prop_map(Do::Leave),
            2 => (became(), any::<bool>()).prop_map(|(became, torn)| Do::Reborn(became, torn)),
        ]
        .boxed()
    }

    fn preconditions(state: &Self, next: &Do) -> bool {
        let begun = matches!(state.whose, Whose::Ours | Whose::Left);
        match next {
            Do::Begin(_) | Do::LockedOut => !begun,
            Do::Order(..) => true,
            _ => begun,
        }
    }

    fn apply(mut state: Self, next: &Do) -> Self {
        match next {
            Do::Begin(_) | Do::Reborn(..) => state.whose = Whose::Ours,
            Do::LockedOut => state.whose = Whose::Others,
            // Whose it is says what is wanted of it.
            Do::Order(verb, None) if state.whose != Whose::Others => state.up = *verb != Verb::Stop,
            Do::Respec(kind, _) => state.kind = *kind,
            Do::Leave(_) => state.whose = Whose::Left,
            _ => {}
        }
        state
    }
}

struct Machine;

impl StateMachineTest for Machine {
    type SystemUnderTest = World;
    type Reference = Wishes;

    fn init_test(wishes: &Wishes) -> World {
        World::new(wishes)
    }

    fn apply(mut world: World, wishes: &Wishes, what: Do) -> World {
        world.next(wishes, what);
        world
    }

    fn teardown(world: World, _: Wishes) {
        world.leave_for_good();
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig { cases: 768, max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn whatever_happens_the_machine_does_what_it_may_and_must(sequential 1..80 => Machine);
}
