use std::collections::BTreeMap;

use super::*;

fn service(name: &str, argv: &[&str]) -> ServiceSpec {
    ServiceSpec {
        program: Program::Command(argv.iter().map(|word| (*word).to_owned()).collect()),
        ..ServiceSpec::for_tests(name)
    }
}

fn services() -> Vec<ServiceSpec> {
    vec![
        service("gateway", &["openclaw", "gateway", "run"]),
        service("embedding", &["/v/bin/python", "-m", "uvicorn", "main:app", "--port", "11435"]),
        ServiceSpec { enabled: false, ..service("off", &["off", "x"]) },
    ]
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join(name), text).unwrap();
    folder.join(name)
}

fn plist(label: &str, argv: &[&str]) -> String {
    let words: String = argv.iter().map(|word| format!("<string>{word}</string>")).collect();
    format!(
        "<plist version=\"1.0\"><dict><key>Label</key><string>{label}</string><key>ProgramArguments</key><array>{words}</array></dict></plist>"
    )
}

fn found(around: &Around) -> Vec<Owner> {
    find(&services(), "ai.openclaw", around)
}

fn one(around: &Around) -> Owner {
    let mut owners = found(around);
    assert_eq!(owners.len(), 1, "{owners:?}");
    owners.remove(0)
}

#[test]
fn other_jobs_of_launchd_are_found_by_label_and_by_what_they_run() {
    let root = tempfile::tempdir().unwrap();
    let agents = root.path().join("LaunchAgents");
    let daemons = root.path().join("LaunchDaemons");
    let ours = ["/x/supervisor", "--config", "/c", "exec", "gateway"];
    write(&agents, "ai.openclaw.gateway.plist", &plist("ai.openclaw.gateway", &ours));
    write(&agents, "other.plist", &plist("com.example.other", &["/bin/true"]));
    write(&agents, "broken.plist", "<plist><dict>");
    write(&agents, "off.plist", &plist("com.example.off", &["off", "x"]));
    let around =
        Around { agents: vec![agents.clone(), daemons.clone(), root.path().join("none")], ..Around::default() };
    assert_eq!(found(&around), []);

    // The one that the program itself installs.
    let node = ["/opt/homebrew/bin/node", "/opt/openclaw/openclaw.mjs", "gateway", "--port", "18789"];
    let file = write(&agents, "ai.openclaw.gateway.plist", &plist("ai.openclaw.gateway", &node));
    let owner = one(&around);
    assert!(owner.same_label && owner.kind == OwnerKind::Launchd && owner.service.as_str() == "gateway", "{owner:?}");
    assert_eq!(owner.file, Some(file.clone()));
    assert!(owner.stop.starts_with("launchctl bootout gui/$(id -u)/ai.openclaw.gateway; mv '"), "{owner:?}");
    std::fs::remove_file(file).unwrap();

    let shell = ["/bin/zsh", "-lc", "cd ~ &amp;&amp; exec openclaw gateway run"];
    let file = write(&agents, "mine.plist", &plist("com.me.claw", &shell));
    let owner = one(&around);
    assert!(!owner.same_label && owner.who.contains("com.me.claw") && owner.who.contains("mine.plist"), "{owner:?}");
    std::fs::remove_file(file).unwrap();

    let python = ["/w/bin/python3.12", "-m", "uvicorn", "main:app", "--port", "11435"];
    let file = write(&daemons, "homebrew.mxcl.embed.plist", &plist("homebrew.mxcl.embed", &python));
    let owner = one(&around);
    assert_eq!((owner.kind, owner.stop.as_str()), (OwnerKind::Homebrew, "sudo brew services stop embed"));
    assert_eq!(owner.service.as_str(), "embedding");
    std::fs::remove_file(file).unwrap();

    write(&daemons, "d.plist", &plist("com.me.d", &["openclaw", "gateway", "run"]));
    assert!(one(&around).stop.starts_with("sudo launchctl bootout system/com.me.d;"));
}

#[test]
fn units_of_systemd_are_found_by_name_and_by_what_they_run() {
    let root = tempfile::tempdir().unwrap();
    let units = root.path().join("systemd/user");
    let around = Around { units: vec![units.clone()], ..Around::default() };
    write(&units, "ai.openclaw.gateway.service", "[Service]\nExecStart=/x/supervisor --config /c exec gateway\n");
    write(&units, "x.service", "[Service]\nExecStart=/bin/true\n");
    assert_eq!(found(&around), []);
    write(
        &units,
        "openclaw-gateway.service",
        "[Service]\nExecStart=-/usr/bin/node \\\n  /o/openclaw.mjs gateway run\n",
    );
    let owner = one(&around);
    assert_eq!(owner.stop, "systemctl --user disable --now openclaw-gateway.service");
    assert!(!owner.same_label && owner.kind == OwnerKind::Systemd);
    write(&units, "ai.openclaw.gateway.service", "[Service]\nExecStart=/y/other\n");
    assert!(found(&around).iter().any(|owner| owner.same_label));
}

#[test]
fn apps_of_pm2_are_found_in_its_dump() {
    let root = tempfile::tempdir().unwrap();
    let around = Around { pm2: vec![root.path().into()], ..Around::default() };
    write(root.path(), "dump.pm2", "nonsense");
    assert_eq!(found(&around), []);
    let app = |name: &str, args: serde_json::Value| serde_json::json!({"name": name, "pm_exec_path": "/o/openclaw.mjs", "args": args, "exec_interpreter": "node"});
    let list =
        serde_json::json!([app("claw", serde_json::json!(["gateway", "run"])), app("other", "status".into()), 7]);
    write(root.path(), "dump.pm2", &list.to_string());
    let owner = one(&around);
    assert_eq!((owner.kind, owner.stop.as_str()), (OwnerKind::Pm2, "pm2 delete claw && pm2 save"));
    assert!(owner.who.contains("does not run now"), "{owner:?}");
    write(root.path(), "pm2.pid", &format!("{}\n", std::process::id()));
    assert!(one(&around).who.contains("PM2 runs, pid"));
}

#[test]
fn lines_of_the_crontab_and_processes_are_found() {
    let crontab = "# openclaw gateway run\nPATH=/x\n0 3 * * * /bin/true\n@reboot cd /x && /o/openclaw gateway run >> /tmp/l 2>&1\n\
                   */5 * * * * /x/supervisor run openclaw gateway run\n";
    let owner = one(&Around { crontab: crontab.into(), ..Around::default() });
    assert!(owner.kind == OwnerKind::Cron && owner.who.contains("@reboot") && owner.stop.contains("crontab -e"));

    let running = |pid, line: &str| Running { pid, argv: line.split(' ').map(str::to_owned).collect() };
    let processes = vec![running(7, "/usr/bin/node /o/openclaw gateway run"), running(8, "/bin/sleep 9")];
    let owner = one(&Around { processes, ..Around::default() });
    assert!(owner.kind == OwnerKind::Process && owner.who.starts_with("process 7: ") && owner.stop.contains("kill 7"));
}

/// What carries the mark of this installation, and what it started, is no stranger; of another installation it is.
#[test]
fn our_own_services_are_no_strangers() {
    use crate::process::testing::{Guard, sh, wait_for};
    let child = |state_dir: &str| {
        let marks: BTreeMap<_, _> =
            [("SUPERVISOR_SERVICE", "a"), ("SUPERVISOR_RUN_ID", "1"), ("SUPERVISOR_STATE_DIR", state_dir)].into();
        Guard(sh("sleep 61 & wait").envs(marks).spawn().unwrap())
    };
    let (ours, theirs) = (child("/state/ours"), child("/state/theirs"));
    let grandchild = |parent: i32| {
        wait_for("its child", || table::scan().unwrap().into_iter().find(|entry| entry.ppid == parent)).pid
    };
    let (below_ours, below_theirs) = (grandchild(ours.pid()), grandchild(theirs.pid()));
    let pids = wait_for("the marks", || {
        let pids: BTreeSet<i32> = strangers(Path::new("/state/ours")).iter().map(|process| process.pid).collect();
        (!pids.contains(&ours.pid()) && pids.contains(&theirs.pid())).then_some(pids)
    });
    assert!(!pids.contains(&below_ours) && pids.contains(&below_theirs));
    for pid in [below_ours, below_theirs] {
        crate::process::signal::process(pid, identity::start_token(pid).unwrap(), crate::model::Signal::KILL);
    }
}
