//! What a watch set means, in a sentence, and what of it is not there.

use std::time::Duration;

use crate::config::show_duration as show;
use crate::model::{Initial, ServiceSpec, WatchOn, WatchSpec};

/// One sentence for each set, and one for each folder that is not there.
pub(super) fn notes(service: &ServiceSpec) -> Vec<String> {
    let mut notes = Vec::new();
    for set in &service.watch {
        let about = format!("{}: {}", service.name, set.name);
        notes.push(format!("{about}: {}", sentence(set)));
        for path in set.paths.iter().filter(|path| !path.exists()) {
            notes.push(format!("{about}: {} does not exist; it is watched from when it does", path.display()));
        }
    }
    notes
}

fn sentence(set: &WatchSpec) -> String {
    let on: Vec<&str> = set.on.iter().copied().map(WatchOn::as_str).collect();
    let paths: Vec<String> = set.paths.iter().map(|path| path.display().to_string()).collect();
    let below = if set.recursive { " and below" } else { "" };
    let rests = match set.settle {
        Duration::ZERO => "at once".to_owned(),
        settle => format!("when it has not changed for {}", show(settle)),
    };
    let tries = match set.retries {
        0 => "tried once".to_owned(),
        retries => format!("tried {} times, {} and longer apart", retries.saturating_add(1), show(set.retry_delay)),
    };
    let there = match set.initial {
        Initial::Seen => "what is there at the first start is left alone",
        Initial::Handle => "what is there at the first start is new",
    };
    format!(
        "{} runs for each file {} in {}{below}, {rests}; {} at a time, {} each, {tries}; {there}",
        set.run.first().map_or("nothing", String::as_str),
        on.join(" or "),
        paths.join(", "),
        set.concurrency,
        show(set.timeout),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_set_is_told_in_a_sentence() {
        let set = WatchSpec {
            name: "downloads".into(),
            paths: vec!["/no/such/folder".into(), "/".into()],
            on: vec![WatchOn::Created, WatchOn::Renamed],
            recursive: true,
            settle: Duration::from_secs(2),
            ignore: Vec::new(),
            run: vec!["/bin/h".into(), "{path}".into()],
            concurrency: 3,
            timeout: Duration::from_secs(300),
            retries: 3,
            retry_delay: Duration::from_secs(10),
            initial: Initial::Seen,
            poll: None,
        };
        let at_once = WatchSpec {
            settle: Duration::ZERO,
            retries: 0,
            initial: Initial::Handle,
            recursive: false,
            paths: vec!["/".into()],
            ..set.clone()
        };
        let service = ServiceSpec { watch: vec![set, at_once], ..ServiceSpec::for_tests("watcher") };
        assert_eq!(
            notes(&service),
            [
                "watcher: downloads: /bin/h runs for each file created or renamed in /no/such/folder, / and below, when it has not \
                 changed for 2s; 3 at a time, 5m each, tried 4 times, 10s and longer apart; what is there at the first start is \
                 left alone",
                "watcher: downloads: /no/such/folder does not exist; it is watched from when it does",
                "watcher: downloads: /bin/h runs for each file created or renamed in /, at once; 3 at a time, 5m each, tried once; \
                 what is there at the first start is new",
            ]
        );
    }
}
