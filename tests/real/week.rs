//! A week of work, done in a minute or two, and what our own leak detector says to it.
//!
//! Each sample stands for so much of the week, and the work between two samples is done as fast as it can be. The detector reads them with
//! the time stamps of the week, so it looks at a week's growth, and sees 4 MiB of it.

use std::io::{BufRead, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use supervisor::model::Growth;
use supervisor::policy::trend::{Point, Trend, TrendSpec};
use supervisor::process::memory::Tree;
use supervisor::process::{identity, vitals};

use crate::support::{Guard, pass, pid_of, try_wait};

const WEEK_SECONDS: f64 = 7.0 * 86_400.0;

/// What counts as fast growth, bytes an hour: a week of it is 168 MB.
const FAST: u64 = 1_000_000;

/// Who has gone without a word is noticed when something is written to them, which is every 15 s at least; the first time it seems to
/// get there.
const NOTICED: Duration = Duration::from_secs(40);

/// A number of samples of which each stands for ten minutes.
pub const TEN_MINUTES_EACH: usize = 1008;

/// What was seen of a process.
#[derive(Debug)]
pub struct Week {
    /// Growth that the detector told of.
    pub told: Vec<Growth>,
    /// Bytes of its tree, of each sample.
    pub bytes: Vec<u64>,
    /// Its descriptors before, at most, and at the end.
    pub descriptors: [usize; 3],
}

impl Week {
    /// Its course, for whoever reads the output: KiB at eleven times.
    pub fn course(&self) -> String {
        let at = |tenth: usize| self.bytes[(self.bytes.len() - 1) * tenth / 10] >> 10;
        (0..=10).map(|tenth| at(tenth).to_string()).collect::<Vec<_>>().join(" ")
    }

    /// Fails when it has grown, or has not given back its descriptors but for `kept` that it may keep for later.
    pub fn was_flat(&self, name: &str, kept: usize) {
        println!("{name}: KiB {}; descriptors before, at most, after: {:?}", self.course(), self.descriptors);
        assert!(self.told.is_empty(), "{name} grows: {:?}", self.told);
        assert!(self.descriptors[2] <= self.descriptors[0] + kept, "{name} keeps descriptors: {:?}", self.descriptors);
    }
}

/// Has `load` work with the process `pid`, `samples` times, each time with the number of the sample, and looks at the process after each.
/// Whatever `load` opens it has to close again: in the end as many descriptors are expected as there were at the beginning, a
/// little later if need be.
pub fn week(pid: i32, samples: usize, mut load: impl FnMut(usize)) -> Week {
    let start = identity::start_token(pid).unwrap();
    let open = || vitals::open_descriptors(pid).unwrap();
    // Who has gone before is noticed a moment later.
    let mut before = open();
    pass(Duration::from_secs(1), || before = before.min(open()));
    let spec = TrendSpec { growth: Some(FAST), plateau: None, recycle: None };
    let (mut tree, mut trend) = (Tree::default(), Trend::new());
    let mut seen = Week { told: Vec::new(), bytes: Vec::new(), descriptors: [before, before, 0] };
    for sample in 0..samples {
        load(sample);
        let bytes = tree.look(pid, start).expect("it has ended").bytes;
        let at = WEEK_SECONDS * sample as f64 / samples as f64;
        let point = Point { awake: at, wall: 1_795_334_100.0 + at, bytes, life: 1, room: None, requests: None };
        seen.told.extend(trend.sample(&spec, point));
        seen.bytes.push(bytes);
        seen.descriptors[1] = seen.descriptors[1].max(open());
    }
    try_wait(NOTICED, || (open() <= before).then_some(()));
    seen.descriptors[2] = open();
    seen
}

#[test]
#[ignore = "belongs to what .ci/run runs apart"]
fn what_keeps_a_little_of_everything_is_told() {
    let program = "$| = 1; while (<STDIN>) { push @kept, 'x' x 20000 if /keep/; print \"done\\n\" }";
    for (word, grows) in [("keep", true), ("pass", false)] {
        #[expect(clippy::disallowed_methods, reason = "what is looked at")]
        let mut command = Command::new("perl");
        let child = command.args(["-e", program]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut child = Guard(child);
        let mut to = child.0.stdin.take().unwrap();
        let mut from = std::io::BufReader::new(child.0.stdout.take().unwrap());
        let seen = week(pid_of(&child.0), TEN_MINUTES_EACH, |_| {
            let mut line = String::new();
            writeln!(to, "{word}").unwrap();
            from.read_line(&mut line).unwrap();
            assert_eq!(line, "done\n");
        });
        assert_eq!(!seen.told.is_empty(), grows, "{word}: {} {:?}", seen.course(), seen.told);
    }
}
