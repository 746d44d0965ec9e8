use super::*;
use crate::model::{RestartMode, Signal};

#[test]
fn procfiles() {
    let text = "# a comment\nweb: PORT=80 bundle exec puma -C 'config/puma.rb'\n\nworker: bin/work >> log 2>&1\n\
                queue: a | b\nrelease: rake db:migrate\nport: node x $PORT\nnonsense\n";
    let (imported, fleet) = read(&[file("Procfile", text)]);
    assert_eq!(command(named(&fleet, "web")), ["bundle", "exec", "puma", "-C", "config/puma.rb"]);
    assert_eq!(named(&fleet, "web").env["PORT"], "80");
    assert_eq!(named(&fleet, "web").cwd.to_str(), Some("/Users/u/files"));
    assert_eq!(command(named(&fleet, "worker")), ["/Users/u/files/bin/work"]);
    assert_eq!(command(named(&fleet, "queue")), ["/bin/sh", "-c", "a | b"]);
    assert_eq!((named(&fleet, "release").restart, named(&fleet, "release").enabled), (RestartMode::Never, false));
    assert!(!named(&fleet, "port").enabled && is_told(&imported, "set PORT"));
    assert_eq!(imported.faults[0].line, Some(8));
}

const SUPERVISORD: &str = r#"
[unix_http_server]
file=/tmp/supervisor.sock   ; the socket

[supervisord]
logfile=/tmp/x.log

[program:api]
command=%(here)s/bin/api --name "%(program_name)s" 100%%
directory=/srv/api
environment=PATH="/opt/bin:%(ENV_PATH)s", A='x,y',
    SECRET_KEY="hunter2",
    D=%(ENV_NOWHERE)s
autostart=true
autorestart=unexpected
exitcodes=0,2
startsecs=5
startretries=3
stopsignal=QUIT
stopwaitsecs=20
numprocs=2
user=www
priority=10
redirect_stderr=true
stdout_logfile=/var/log/api.log
stdout_logfile_maxbytes=1MB
serverurl=AUTO

[program:off]
command=sleep 10 ; a comment
autostart=false
autorestart=true
stopsignal=USR9

[program:bad]
command=a "b

[group:all]
programs=api,off

[include]
files = conf.d/*.conf
"#;

#[test]
fn supervisord_programs() {
    let (imported, fleet) = read(&[file("supervisord.conf", SUPERVISORD)]);
    let api = named(&fleet, "api");
    assert_eq!(command(api), ["/Users/u/files/bin/api", "--name", "api", "100%"]);
    assert_eq!((api.env["PATH"].as_str(), api.env["A"].as_str()), ("/opt/bin:/usr/bin:/bin", "x,y"));
    assert_eq!((api.restart, api.success_exit_codes.as_slice()), (RestartMode::OnFailure, &[0, 2][..]));
    assert_eq!((api.min_uptime.as_secs(), api.stop_timeout.as_secs()), (5, 20));
    assert_eq!(api.stop_signal, Signal::parse("QUIT").unwrap());
    assert!(!api.enabled, "one of its variables is not known");
    let off = named(&fleet, "off");
    assert_eq!((off.enabled, off.restart, command(off)), (false, RestartMode::Always, vec!["sleep", "10"]));
    assert_eq!(off.stop_signal, Signal::TERM);
    assert!(!format!("{imported:?}").contains("hunter2"));
    for words in [
        "SECRET_KEY looks",
        "%(ENV_NOWHERE)s",
        "numprocs 2",
        "user www",
        "USR9",
        "[group:all]",
        "conf.d/*.conf",
        "not closed",
    ] {
        assert!(is_told(&imported, words), "{words}\n{}", imported.text);
    }
    assert!(is_said(&imported, "left out: serverurl"), "{}", imported.text);
}

const PM2: &str = r#"{"apps": [
  {"name": "api", "script": "./server.js", "args": "--port 80 'a b'", "node_args": ["--max-old-space-size=512"],
   "cwd": "/srv/api", "env": {"NODE_ENV": "production", "PORT": 80, "API_KEY": "hunter2"}, "env_production": {},
   "max_memory_restart": "300M", "kill_timeout": 5000, "restart_delay": 4000, "exp_backoff_restart_delay": 100,
   "instances": 4, "exec_mode": "cluster", "cron_restart": "0 3 * * *", "watch": true, "max_restarts": 5,
   "out_file": "/tmp/o.log", "wait_ready": true, "min_uptime": "5s", "increment_var": "PORT"},
  {"name": "py", "script": "main.py", "interpreter": "/srv/venv/bin/python", "autorestart": false, "exp_backoff_restart_delay": 100},
  {"script": "npm start", "stop_exit_codes": [0, 78]},
  {"script": "bin/x", "interpreter": "none", "args": ["a", 1, true]},
  {"name": "nothing"}
]}"#;

#[test]
fn pm2_apps() {
    let (imported, fleet) = read(&[file("ecosystem.json", PM2)]);
    let api = named(&fleet, "api");
    assert_eq!(command(api), ["node", "--max-old-space-size=512", "./server.js", "--port", "80", "a b"]);
    assert_eq!((api.env["PORT"].as_str(), api.env.get("API_KEY")), ("80", None));
    assert_eq!(api.memory.as_ref().unwrap().limit, Some(300 << 20));
    assert_eq!((api.stop_timeout.as_secs(), api.throttle.as_secs(), api.min_uptime.as_secs()), (5, 4, 5));
    assert_eq!(api.stop_signal, Signal::parse("INT").unwrap());
    assert_eq!(command(named(&fleet, "py")), ["/srv/venv/bin/python", "main.py"]);
    assert_eq!((named(&fleet, "py").restart, named(&fleet, "py").backoff_max.as_secs()), (RestartMode::Never, 15));
    let npm = named(&fleet, "npm-start");
    assert_eq!((command(npm), npm.restart), (vec!["npm", "start"], RestartMode::OnFailure));
    assert_eq!(npm.success_exit_codes, [0, 78]);
    assert_eq!(command(named(&fleet, "x")), ["/Users/u/files/bin/x", "a", "1", "true"]);
    assert!(!format!("{imported:?}").contains("hunter2"));
    for words in ["API_KEY looks", "instances 4", "\"0 3 * * *\"", "(watch)", "process.send", "env_production"] {
        assert!(is_told(&imported, words), "{words}\n{}", imported.text);
    }
    assert!(is_said(&imported, "left out: increment_var"), "{}", imported.text);
    assert!(imported.faults[0].message.contains("app 5 has no script"));
}

#[test]
fn javascript_is_not_executed() {
    let files = [
        file("ecosystem.config.js", "module.exports = {apps: []}"),
        file("odd 'name'.cjs", ""),
        file("ecosystem", "// x\nmodule.exports = {}"),
    ];
    let imported = import(&files, None, &around());
    assert_eq!(imported.faults.len(), 3);
    assert!(
        imported.faults[0]
            .hint
            .contains("node -e 'console.log(JSON.stringify(require(\"/Users/u/files/ecosystem.config.js\")))'")
    );
    assert!(imported.faults[1].hint.contains("odd '\\''name'\\''.cjs"));
}

#[test]
fn kinds_are_recognised_by_name_and_content() {
    for (name, text, wanted) in [
        ("x", "[program:a]\ncommand=b\n", "a"),
        ("x.ini", "[supervisord]\n\n[program:a]\ncommand=b\n", "a"),
        ("x.conf", "[Unit]\n[Service]\nExecStart=/b\n", "x"),
        ("x", "{\"apps\": [{\"script\": \"a.js\"}]}", "a"),
        ("x.json", "[{\"script\": \"a.js\"}]", "a"),
        ("Procfile.dev", "a: b", "a"),
        ("x", "\u{feff}a: b\n# c\n", "a"),
        (
            "x",
            "<plist><dict><key>Label</key><string>a</string><key>Program</key><string>/b</string></dict></plist>",
            "a",
        ),
    ] {
        let (imported, fleet) = read(&[file(name, text)]);
        assert!(imported.faults.is_empty(), "{:?}", imported.faults);
        assert_eq!(fleet.services[0].name.as_str(), wanted, "{name}");
    }
    for text in ["", "hello\n", "a: b\nhello\n", "- x: y\n"] {
        let imported = import(&[file("x", text)], None, &around());
        assert!(imported.faults[0].hint.contains("--format"), "{text}: {:?}", imported.faults);
    }
    for (format, words) in [
        (Format::Launchd, "property list"),
        (Format::Systemd, "neither [SECTION]"),
        (Format::Supervisord, "neither [SECTION]"),
        (Format::Procfile, "NAME: COMMAND"),
        (Format::Pm2, "not JSON"),
    ] {
        let imported = import(&[file("x", "hello\n")], Some(format), &around());
        assert!(imported.faults[0].message.contains(words), "{format:?}: {:?}", imported.faults);
    }
    let imported = import(
        &[file("Procfile", b"a: \xff".to_vec()), file("big", vec![b'a'; super::super::LARGEST + 1])],
        None,
        &around(),
    );
    assert!(imported.faults[0].message.contains("UTF-8") && imported.faults[1].message.contains("1 MiB"));
}

/// A file that was named by mistake may hold anything.
#[test]
fn faults_do_not_show_lines() {
    for format in [Format::Launchd, Format::Systemd, Format::Procfile, Format::Supervisord, Format::Pm2] {
        let files = [
            file("x", "hunter2\n"),
            file("y", "[Service]\nExecStart=\"hunter2\n"),
            file("z", "[program:a]\ncommand=\"hunter2\n"),
        ];
        let imported = import(&files, Some(format), &around());
        assert!(!imported.faults.is_empty());
        let notes = format!("{:?} {:?}", imported.faults, imported.notes);
        assert!(!notes.contains("hunter2"), "{format:?} {notes}");
    }
}

/// What others wrote cannot become a line of its own, nor reach the terminal.
#[test]
fn comments_cannot_be_broken_out_of() {
    let name = "a.plist\n[service.evil]\ncommand = [\"x\"]\u{1b}[31m\u{202e}";
    let text = super::openclaw::plist(
        "<key>Label</key><string>a.b</string><key>Program</key><string>/b</string><key>KeepAlive</key><true/>\
         <key>StandardOutPath</key><string>/x\n[service.evil]\n</string><key>Odd\nkey = 1</key><true/>",
    );
    let (imported, fleet) = read(&[file(name, text)]);
    assert_eq!(fleet.services.len(), 1);
    let odd = |text: &str| text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}');
    assert!(!odd(&imported.text), "{}", imported.text);
    assert!(imported.notes.iter().all(|note| !note.text.contains('\n') && !odd(&note.text)));
}
use super::super::Format;
