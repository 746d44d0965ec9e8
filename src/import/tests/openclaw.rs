//! The six agents of somebody who has run OpenClaw for a while, with the mistakes that such agents have.

use super::*;

/// Text of a plist with these contents.
pub(super) fn plist(body: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \
         \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n<plist version=\"1.0\">\n<dict>\n{body}</dict>\n</plist>\n"
    )
}

const GATEWAY: &str = "
<key>Label</key><string>ai.openclaw.gateway</string>
<key>ProgramArguments</key>
<array>
  <string>/opt/homebrew/bin/openclaw</string><string>gateway</string><string>run</string>
  <string>--port</string><string>18789</string>
</array>
<key>EnvironmentVariables</key>
<dict>
  <key>PATH</key><string>/opt/homebrew/bin:/usr/local/bin:/usr/bin:/bin</string>
  <key>NODE_ENV</key><string>production</string>
  <key>OPENCLAW_GATEWAY_TOKEN</key><string>hunter2-hunter2</string>
</dict>
<key>KeepAlive</key><dict><key>SuccessfulExit</key><false/></dict>
<key>RunAtLoad</key><true/>
<key>ThrottleInterval</key><integer>5</integer>
<key>ExitTimeout</key><integer>60</integer>
<key>ProcessType</key><string>Background</string>
<key>StandardOutPath</key><string>/Users/u/.openclaw/logs/gateway.log</string>
<key>StandardErrorPath</key><string>/Users/u/.openclaw/logs/gateway.err.log</string>
";

const EMBEDDINGS: &str = "
<key>Label</key><string>ai.openclaw.embedding-server</string>
<key>ProgramArguments</key>
<array>
  <string>/bin/sh</string><string>-c</string>
  <string>cd $HOME/.openclaw/projects/embedding-server &amp;&amp; TOKENIZERS_PARALLELISM=false exec .venv/bin/python -m uvicorn main:app --host 127.0.0.1 --port 11435 &gt;&gt; /tmp/embedding.log 2&gt;&amp;1</string>
</array>
<key>KeepAlive</key><true/>
<key>RunAtLoad</key><true/>
<key>ThrotleInterval</key><integer>30</integer>
<key>SoftResourceLimits</key><dict><key>NumberOfFiles</key><integer>4096</integer></dict>
";

const WATCHER: &str = "
<key>Label</key><string>ai.openclaw.file-watcher</string>
<key>ProgramArguments</key>
<array>
  <string>/bin/bash</string><string>-lc</string>
  <string>fswatch -0 ~/Downloads | while read -r -d '' f; do ~/.openclaw/bin/handle \"$f\"; done</string>
</array>
<key>KeepAlive</key><true/>
";

const EMIT: &str = "
<key>Label</key><string>ai.openclaw.emit-server</string>
<key>ProgramArguments</key>
<array><string>/bin/zsh</string><string>-c</string><string>exec node /Users/u/.openclaw/emit/server.js</string></array>
<key>WorkingDirectory</key><string>/Users/u/.openclaw/emit</string>
<key>KeepAlive</key><dict><key>SuccessfulExit</key><false/><key>NetworkState</key><true/></dict>
";

const DAILY: &str = "
<key>Label</key><string>ai.openclaw.daily-tasks</string>
<key>Program</key><string>/Users/u/.openclaw/scripts/daily.sh</string>
<key>StartCalendarInterval</key><dict><key>Hour</key><integer>7</integer><key>Minute</key><integer>55</integer></dict>
<key>StandardOutPath</key><string>/tmp/daily.log</string>
<key>StandardErrorPath</key><string>/tmp/daily.log</string>
";

const WEEKLY: &str = "
<key>Label</key><string>ai.openclaw.weekly-tasks</string>
<key>ProgramArguments</key><array><string>/Users/u/.openclaw/scripts/weekly.sh</string><string>--all</string></array>
<key>StartCalendarInterval</key><dict><key>Hour</key><integer>3</integer><key>Minute</key><integer>0</integer></dict>
<key>KeepAlive</key><true/>
";

fn six() -> Vec<File> {
    let agents = [
        ("gateway", GATEWAY),
        ("embedding-server", EMBEDDINGS),
        ("file-watcher", WATCHER),
        ("emit-server", EMIT),
        ("daily-tasks", DAILY),
        ("weekly-tasks", WEEKLY),
    ];
    agents.map(|(name, body)| file(&format!("ai.openclaw.{name}.plist"), plist(body))).to_vec()
}

/// Set UPDATE_GOLDEN to write the file anew, then read the difference.
#[test]
fn the_six_become_the_golden_file() {
    let (imported, fleet) = read(&six());
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/import/tests/openclaw.toml");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &imported.text).unwrap();
    }
    assert_eq!(imported.text, std::fs::read_to_string(path).unwrap());
    assert_eq!(fleet.label_prefix, "ai.openclaw");
    assert_eq!((imported.services, imported.tasks, imported.faults.len()), (4, 2, 0));
}

#[test]
fn no_secret_is_printed_anywhere() {
    let (imported, _) = read(&six());
    assert!(!format!("{imported:?}").contains("hunter2"));
    assert!(is_told(&imported, "OPENCLAW_GATEWAY_TOKEN looks like a secret"));
}

#[test]
fn what_people_mistake_is_pointed_out() {
    let (imported, fleet) = read(&six());
    for words in [
        "The key ExitTimeout is misspelt, it is ExitTimeOut",
        "did you mean ThrottleInterval?",
        "Background: macOS holds back",
        "exits with 0 in order to be started again",
        "it runs DAILY",
        "KeepAlive made launchd start it at once",
        "builtin = \"file-watcher\" does that",
    ] {
        assert!(is_told(&imported, words), "{words}\n{}", imported.text);
    }
    assert_eq!(named(&fleet, "gateway").stop_timeout.as_secs(), 60);
    let server = named(&fleet, "embedding-server");
    assert_eq!(server.cwd, std::path::Path::new("/Users/u/.openclaw/projects/embedding-server"));
    assert_eq!(command(server)[0], "/Users/u/.openclaw/projects/embedding-server/.venv/bin/python");
    assert_eq!(server.env["TOKENIZERS_PARALLELISM"], "false");
    // No shell is left but the one that has something to do.
    assert_eq!(command(named(&fleet, "emit-server"))[0], "node");
    assert_eq!(command(named(&fleet, "file-watcher"))[..2], ["/bin/bash", "-lc"]);
}

/// The order of the files is the order of the text, and nothing else decides.
#[test]
fn the_same_files_give_the_same_text() {
    assert_eq!(read(&six()).0, read(&six()).0);
}
