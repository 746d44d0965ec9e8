//! Services that cannot be started: each is held with a sentence that says why, and started at once when it is mended.

use std::os::unix::fs::PermissionsExt;

use super::support::{Env, Guard, wait_for};
use super::tools::*;

/// What runs after the mending. The file tells that it was this and nothing older.
const GOOD: &str = "#!/bin/sh\nexec sleep 1000\n";

fn held(env: &Env, name: &str, sentence: &str) {
    let info = env.wait_status(name, "held");
    let why = info["why"].as_str().unwrap().to_owned();
    assert!(why.contains(sentence), "{name}: {why:?} has not {sentence:?}");
    assert!(why.contains("next try in 1"), "the slow retry is not told: {why:?}");
    assert!(info["pid"].is_null() && info["next_run_ms"].is_number(), "{info}");
    let row = wait_row(env, name, |row| row.is("service_held"));
    assert!(row.data["reason"].as_str().unwrap().contains(sentence), "{row:?}");
    assert!(ok(env, &["why", name]).contains("is held"));
    // Nothing ran, so nothing ended.
    assert!(rows_of(env, name).iter().all(|row| !row.is("service_exit") && !row.is("service_crash")));
}

fn path(env: &Env, name: &str) -> String {
    home(env, name).display().to_string()
}

fn with_program(name: &str) -> String {
    format!("[service.{name}]\ncommand = [\"{{dir}}/{name}\"]\nthrottle = \"0s\"\n")
}

#[test]
fn what_is_wrong_with_a_program_is_said_and_mending_it_starts_it_at_once() {
    let names = ["missing", "plain", "script", "folder", "binary", "deep/er/still"];
    let tables = |name: &&str| {
        with_program(name).replacen(&format!("[service.{name}]"), &format!("[service.{}]", &name[..4]), 1)
    };
    let env = Env::new(&names.iter().map(tables).collect::<String>());
    put(&home(&env, "plain"), GOOD, 0o600);
    put(&home(&env, "script"), "#! /no/such/interpreter -x\n", 0o700);
    std::fs::create_dir(home(&env, "folder")).unwrap();
    put(&home(&env, "binary"), "\x7fELF garbage", 0o700);
    env.start_daemon();

    held(&env, "miss", &format!("the program {} does not exist", path(&env, "missing")));
    held(&env, "plai", &format!("{0} is not executable; run: chmod +x {0}", path(&env, "plain")));
    held(&env, "scri", "needs the interpreter \"/no/such/interpreter\" (its #! line), which does not exist");
    held(&env, "fold", &format!("{} is a folder, not a program", path(&env, "folder")));
    held(&env, "bina", "is no program that this machine can run (wrong format or architecture)");
    held(&env, "deep", &format!("the program {} does not exist", path(&env, "deep/er/still")));
    let report = ends_with(&env, 3, &["status"]);
    assert!(report.contains("held"), "{report}");

    put(&home(&env, "missing"), GOOD, 0o700);
    std::fs::set_permissions(home(&env, "plain"), std::fs::Permissions::from_mode(0o700)).unwrap();
    put(&home(&env, "script"), GOOD, 0o700);
    std::fs::remove_dir(home(&env, "folder")).unwrap();
    put(&home(&env, "folder"), GOOD, 0o700);
    put(&home(&env, "binary"), GOOD, 0o700);
    // Folder by folder, as an installer does.
    std::fs::create_dir(home(&env, "deep")).unwrap();
    std::fs::create_dir(home(&env, "deep/er")).unwrap();
    put(&home(&env, "deep/er/still"), GOOD, 0o700);
    for name in ["miss", "plai", "scri", "fold", "bina", "deep"] {
        env.wait_status(name, "up");
        assert_eq!(env.service(name)["run_id"], 1);
    }
    // Each hold is told once.
    let held = |name: &str| count(&env, name, "service_held");
    assert_eq!(["plai", "scri", "bina"].map(held), [1, 1, 1]);
}

#[test]
fn a_folder_that_is_made_anew_and_an_interpreter_that_comes_back_are_seen() {
    let env = Env::new(
        &["venv/bin/py", "tool"]
            .map(|path| with_program(path).replacen(&format!("service.{path}"), &format!("service.{}", &path[..4]), 1))
            .concat(),
    );
    // As after an upgrade of the system's python: the environment is there, what it needs is not.
    std::fs::create_dir_all(home(&env, "venv/bin")).unwrap();
    put(&home(&env, "tool"), &format!("#!{} -x\nexec sleep 1000\n", path(&env, "lib/reader")), 0o700);
    env.start_daemon();
    held(&env, "venv", "does not exist");
    held(&env, "tool", "needs the interpreter");
    std::fs::remove_dir_all(home(&env, "venv")).unwrap();
    std::fs::create_dir_all(home(&env, "venv/bin")).unwrap();
    put(&home(&env, "venv/bin/py"), GOOD, 0o700);
    std::fs::create_dir(home(&env, "lib")).unwrap();
    std::os::unix::fs::symlink("/bin/sh", home(&env, "lib/reader")).unwrap();
    for name in ["venv", "tool"] {
        env.wait_status(name, "up");
        assert_eq!(env.service(name)["run_id"], 1);
    }
}

#[test]
fn a_missing_working_directory_holds_and_making_it_starts() {
    let env =
        Env::new(&service("homeless", "pwd >$HOME/where; exec sleep 1000", "cwd = \"{dir}/a/b\"\nthrottle = \"0s\""));
    env.start_daemon();
    held(&env, "homeless", &format!("its working directory {} does not exist", path(&env, "a/b")));
    std::fs::create_dir_all(home(&env, "a/b")).unwrap();
    env.wait_status("homeless", "up");
    let where_it_is = wait_for("where it runs", || {
        std::fs::read_to_string(home(&env, "where")).ok().filter(|text| text.ends_with('\n'))
    });
    assert_eq!(where_it_is.trim(), path(&env, "a/b"));
}

#[test]
fn a_name_that_is_on_no_path_holds_and_installing_it_starts() {
    let body = "[service.tool]\ncommand = [\"no-such-tool\", \"x\"]\nenv = { PATH = \"{dir}/bin:/usr/bin:/bin\" }\nthrottle = \"0s\"\n";
    let env = Env::new(body);
    std::fs::create_dir(home(&env, "bin")).unwrap();
    env.start_daemon();
    held(&env, "tool", "\"no-such-tool\" is not on the service's PATH");
    let why = ok(&env, &["why", "tool"]);
    assert!(why.contains("env.PATH"), "no remedy: {why}");
    put(&home(&env, "bin/no-such-tool"), GOOD, 0o700);
    env.wait_status("tool", "up");
}

#[test]
fn an_env_file_that_others_can_read_holds_with_the_command_that_mends_it() {
    let env = Env::new(&service(
        "secretive",
        "echo \"$TOKEN\" >$HOME/token; exec sleep 1000",
        "env_file = \"{dir}/secrets.env\"\nthrottle = \"0s\"",
    ));
    put(&home(&env, "secrets.env"), "# keys\nexport TOKEN='s3cr3t'\n", 0o644);
    env.start_daemon();
    held(&env, "secretive", &format!("run: chmod 600 {}", path(&env, "secrets.env")));
    std::fs::set_permissions(home(&env, "secrets.env"), std::fs::Permissions::from_mode(0o600)).unwrap();
    env.wait_status("secretive", "up");
    wait_for("the token", || (std::fs::read_to_string(home(&env, "token")).ok()? == "s3cr3t\n").then_some(()));
    // What is in the file is nowhere of ours.
    let folder = env.state_dir().join("supervisor/services/secretive");
    for file in std::fs::read_dir(folder).unwrap().flatten().filter(|file| file.file_type().unwrap().is_file()) {
        let text = String::from_utf8_lossy(&std::fs::read(file.path()).unwrap()).into_owned();
        assert!(!text.contains("s3cr3t"), "{:?}", file.path());
    }
    let rows = all_rows(&env);
    assert!(rows.iter().all(|row| !row.data.to_string().contains("s3cr3t")), "{rows:?}");
    std::fs::remove_file(home(&env, "secrets.env")).unwrap();
    ends_with(&env, 3, &["restart", "secretive"]);
    assert!(
        env.service("secretive")["why"].as_str().unwrap().contains("cannot be read"),
        "{}",
        env.service("secretive")
    );
    put(&home(&env, "secrets.env"), "no equals sign\n", 0o600);
    wait_for("the word about the line", || {
        env.service("secretive")["why"].as_str()?.contains("secrets.env:1: a line must read KEY=value").then_some(())
    });
    put(&home(&env, "secrets.env"), "TOKEN=again\n", 0o600);
    env.wait_status("secretive", "up");
}

#[test]
fn a_service_gets_its_own_environment_and_nothing_of_ours() {
    let env = Env::new(
        "[service.plain]\ncommand = [\"/usr/bin/env\"]\nrestart = \"never\"\nenv = { MINE = \"yes\", HOMELY = \"${HOME}/x\" }\n",
    );
    let strange = [
        ("XPC_SERVICE_NAME", "ai.openclaw.gateway"),
        ("INVOCATION_ID", "0123"),
        ("JOURNAL_STREAM", "8:1"),
        ("NOTIFY_SOCKET", "/run/systemd/notify"),
        ("WATCHDOG_USEC", "1"),
        ("LAUNCHD_SOCKET", "/x"),
        ("SECRET", "hunter2"),
        ("LD_PRELOAD_NOT", "x"),
        ("LANG", "de_AT.UTF-8"),
    ];
    let _daemon = Guard(env.command(&["run"]).envs(strange).spawn().unwrap());
    wait_for("the daemon", || (env.status()["daemon"]["running"] == true).then_some(()));
    env.wait_status("plain", "done");
    let text = ok(&env, &["logs", "plain"]);
    let mut got: Vec<(&str, &str)> = text.lines().filter_map(|line| line.split_once('=')).collect();
    got.sort_unstable();
    // Its start token, which nobody knows beforehand.
    let started =
        got.iter().position(|(name, value)| *name == "SUPERVISOR_RUN_STARTED" && value.parse::<u64>().is_ok());
    got.remove(started.unwrap());
    let (dir, state) = (env.dir().display().to_string(), env.state_dir().display().to_string());
    let user = nix::unistd::User::from_uid(nix::unistd::getuid()).unwrap().map(|user| user.name).unwrap_or_default();
    let homely = format!("{dir}/x");
    let mut wanted = vec![
        ("HOME", dir.as_str()),
        ("HOMELY", &homely),
        ("LANG", "de_AT.UTF-8"),
        ("LAUNCHD_RESTART_COUNT", "0"),
        ("LOGNAME", &user),
        ("MINE", "yes"),
        ("PATH", "/opt/homebrew/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"),
        ("SUPERVISOR_RESTART_COUNT", "0"),
        ("SUPERVISOR_RUN_ID", "1"),
        ("SUPERVISOR_SERVICE", "plain"),
        ("SUPERVISOR_STATE_DIR", &state),
        ("TMPDIR", "/tmp"),
        ("USER", &user),
    ];
    wanted.sort_unstable();
    assert_eq!(got, wanted);
}
