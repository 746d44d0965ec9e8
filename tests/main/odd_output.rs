//! What services write, and what the disk does with it: floods, folders that vanish, disks that are full, permissions.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

use super::support::{Env, wait_for};
use super::tools::*;

/// The files of one log, oldest first.
fn log_files(env: &Env, log: &str) -> Vec<PathBuf> {
    let folder = env.state_dir().join("logs");
    let rotated = (1..1000).map(|n| folder.join(format!("{log}.{n}"))).take_while(|path| path.exists());
    let mut files: Vec<PathBuf> = std::iter::once(folder.join(log)).chain(rotated).collect();
    files.reverse();
    files
}

#[test]
fn a_flood_on_both_streams_stays_bounded_and_whole_and_starves_nobody() {
    let flood = "$| = 0; my $n = 0; for my $round (1..60) { for (1..1000) { $n++; \
                 print STDOUT \"out $n \", 'x' x 50, \"\\n\"; print STDERR \"err $n \", 'y' x 50, \"\\n\"; } } \
                 close STDOUT; open(F, '>', \"$ENV{HOME}/written\"); close F; sleep 1000";
    let env = Env::new(&format!(
        "[service.flood]\ncommand = [\"perl\", \"-e\", '''{flood}''']\nlog = {{ max_size = \"64KiB\", keep = 2 }}\n"
    ));
    env.start_daemon();
    let written = home(&env, "written");
    // Each answer comes while it floods, until it has done so.
    wait_for("the end of the flood", || {
        assert_eq!(env.status()["services"][0]["name"], "flood");
        written.exists().then_some(())
    });
    for (word, log) in [("out", "flood-stdout.log"), ("err", "flood-stderr.log")] {
        let last = |text: &str| text.lines().last().is_some_and(|line| line.starts_with(&format!("{word} 60000 ")));
        let read =
            || log_files(&env, log).iter().map(|f| std::fs::read_to_string(f).unwrap_or_default()).collect::<String>();
        let text = wait_for("the last line", || Some(read()).filter(|text| last(text)));
        let files = log_files(&env, log);
        assert_eq!(files.len(), 3, "{files:?}");
        for file in &files {
            let text = std::fs::read_to_string(file).unwrap();
            assert!(text.len() <= (64 << 10) + 100, "{file:?} has {} bytes", text.len());
            assert!(text.ends_with('\n') && text.starts_with(word), "{file:?} was cut within a line");
        }
        let number = |line: &str| line.split(' ').nth(1).unwrap().parse::<u64>().unwrap();
        let numbers: Vec<u64> = text.lines().map(number).collect();
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "a line is missing between two files");
    }
    assert_eq!(ok(&env, &["logs", "flood", "-n", "3"]).lines().count(), 3);
    assert_eq!(env.service("flood")["log_dropped"], 0);
}

#[test]
fn runners_killed_in_the_middle_of_a_flood_lose_and_double_no_line() {
    const ROUNDS: u64 = 4;
    const LINES: u64 = 1_500_000;
    // A round of the flood after each file `go-N`.
    let flood = format!(
        "n=0; while :; do until test -e $HOME/go-$n; do sleep 0.02; done; \
         seq $((n*{LINES}+1)) $(((n+1)*{LINES})); n=$((n+1)); done"
    );
    let env = Env::new(&service("flood", &flood, "log = { max_size = \"1MiB\", keep = 900 }"));
    env.start_daemon();
    main_pid(&env, "flood");
    let size =
        || log_files(&env, "flood-stdout.log").iter().filter_map(|f| f.metadata().ok()).map(|d| d.len()).sum::<u64>();
    for round in 0..ROUNDS {
        let runner = wait_for("a runner", || env.runner_pid());
        let before = size();
        std::fs::write(home(&env, &format!("go-{round}")), "").unwrap();
        wait_for("some of the flood", || (size() > before + (1 << 20)).then_some(()));
        end(runner, Signal::SIGKILL);
        wait_dead(runner);
        let sum = |to: u64| (1..=to).map(|n| u64::from(n.ilog10()) + 2).sum::<u64>();
        let expected = sum((round + 1) * LINES);
        wait_for("the rest of the flood", || (size() >= expected).then_some(()));
        assert_eq!(size(), expected, "after {} rounds", round + 1);
    }
    let files = log_files(&env, "flood-stdout.log");
    let text: String = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    assert!(text.lines().zip(1_u64..).all(|(line, n)| line.parse() == Ok(n)), "a line is missing, cut, twice or late");
    assert_eq!(env.service("flood")["log_dropped"], 0);
}

/// Says a line after each file `say-N` that the test makes.
const TALKER: &str =
    "n=1; while :; do until test -e $HOME/say-$n; do sleep 0.02; done; echo \"line $n\"; n=$((n+1)); done";

fn say(env: &Env, n: u32) {
    std::fs::write(home(env, &format!("say-{n}")), "").unwrap();
}

#[test]
fn a_log_folder_that_vanishes_comes_back() {
    let env = Env::new(&service("talker", TALKER, ""));
    env.start_daemon();
    let pid = main_pid(&env, "talker");
    let log = env.state_dir().join("logs/talker-stdout.log");
    let says = |text: &str| wait_for(text, || std::fs::read_to_string(&log).ok()?.ends_with(text).then_some(()));
    say(&env, 1);
    says("line 1\n");
    std::fs::rename(env.state_dir().join("logs"), env.state_dir().join("old-logs")).unwrap();
    say(&env, 2);
    says("line 2\n");
    std::fs::remove_dir_all(env.state_dir().join("logs")).unwrap();
    say(&env, 3);
    says("line 3\n");
    std::fs::remove_file(&log).unwrap();
    say(&env, 4);
    says("line 4\n");
    assert_eq!(std::fs::metadata(log.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(main_pid(&env, "talker"), pid);
    assert_eq!(env.service("talker")["log_dropped"], 0);
    // The supervisor's own log is in that folder too.
    ok(&env, &["stop", "talker"]);
    wait_for("our own log", || {
        std::fs::read_to_string(env.state_dir().join("logs/supervisor.log")).ok()?.contains("stop").then_some(())
    });
}

#[test]
fn on_a_full_disk_the_service_runs_on_and_what_is_lost_is_counted_and_told() {
    let chatty = "my $n = 0; $| = 1; while (1) { $n++; print \"line $n \", 'x' x 1000, \"\\n\"; select(undef, undef, undef, 0.002); }";
    let env = Env::new(&format!("[service.chatty]\ncommand = [\"perl\", \"-e\", '''{chatty}''']\n"));
    let Some(disk) = Disk::mount(&env.state_dir().join("logs"), "256k") else { return };
    std::fs::write(disk.0.join("filler"), vec![0; 200 << 10]).unwrap();
    env.start_daemon();
    let pid = main_pid(&env, "chatty");
    let info = wait_for("lost bytes in the status", || {
        let info = env.service("chatty");
        (info["log_dropped"].as_u64()? > 5000).then_some(info)
    });
    assert_eq!(info["status"], "up");
    let troubles = env.status()["troubles"].to_string();
    assert!(troubles.contains("logs of chatty") && troubles.contains("No space left on device"), "{troubles}");
    assert!(ok(&env, &["why", "chatty"]).contains("could not be written to its log"));
    std::fs::remove_file(disk.0.join("filler")).unwrap();
    let log = disk.0.join("chatty-stdout.log");
    wait_for("the note about the gap, and lines after it", || {
        let text = String::from_utf8_lossy(&std::fs::read(&log).ok()?).into_owned();
        let (_, after) = text.split_once("[supervisor: ")?;
        (after.contains("bytes of output could not be written") && after.contains("\nline ")).then_some(())
    });
    wait_for("the end of the trouble in the status, or the next full disk", || {
        let status = env.status();
        let full = std::fs::metadata(&log).ok()?.len() > 200 << 10;
        (full || !status["troubles"].to_string().contains("logs of chatty")).then_some(())
    });
    assert_eq!(main_pid(&env, "chatty"), pid);
    assert_eq!(env.service("chatty")["run_id"], 1);
    ok(&env, &["stop", "chatty"]);
}

#[test]
fn everything_of_ours_is_for_its_owner_alone() {
    let env = Env::new(&service("a", "umask >&2; echo x >$HOME/made; exec sleep 1000", "notify = false"));
    env.start_daemon();
    main_pid(&env, "a");
    ok(&env, &["stop", "a"]);
    ok(&env, &["events"]);
    wait_row(&env, "a", |row| row.is("service_exit"));
    let mut seen = Vec::new();
    check_modes(&env.state_dir(), &mut seen);
    for name in [
        "daemon.sock",
        "_embedded.sock",
        "_embedded.journal",
        "observability.sqlite",
        "a-stdout.log",
        "lock",
        "intent",
        "adopt",
    ] {
        assert!(seen.iter().any(|file| file == name), "there is no {name} among {seen:?}");
    }
}

fn check_modes(folder: &Path, seen: &mut Vec<String>) {
    let mode = |path: &Path| std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(folder), 0o700, "{folder:?}");
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            check_modes(&path, seen);
        } else {
            assert!(kind.is_file() || kind.is_socket() || kind.is_fifo(), "{path:?} is {kind:?}");
            assert_eq!(mode(&path), 0o600, "{path:?}");
            seen.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
}
