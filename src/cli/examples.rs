//! What stands below the help of each command.

pub(super) const EXIT_CODES: &str = "\
Exit codes:
  0   all is well
  2   the command line is wrong
  3   a service is not up
  4   the daemon does not answer
  5   services.toml has faults
  6   refused
  70  something that should not happen";

pub(super) const STATUS_EXAMPLES: &str = "\
Examples:
  supervisor status
  supervisor status gateway
  supervisor --json status | jq '.services[] | select(.status != \"up\")'

RESTARTS counts the automatic restarts of the ledger's lifetime. Exits 3 when an enabled service is in none of up, \
degraded, scheduled, running, done. --json prints the report as it is, on one line.";

pub(super) const INSTALL_EXAMPLES: &str = "\
Examples:
  supervisor install --dry-run
  supervisor install
  supervisor install --manager launchd --plist-dir ./plists --no-load

Writes one job for the daemon and one for each enabled service and calendar job, loads them, and waits until they run. \
Again, it changes only what differs; a running service is handed over and not restarted. What it replaces is kept in \
supervisor/backups of the state directory. Exits 6 when something else is in the way, 3 when a service is not up.";

pub(super) const UNINSTALL_EXAMPLES: &str = "\
Stops the services, in order, and has undone what was made to hold (`undo`). Logs, database and services.toml stay.";

pub(super) const ORDER_EXAMPLES: &str = "\
Waits until it is done; Ctrl-C ends the waiting, not the order. Exits 3 when it did not come to that for a service, \
6 when a calendar job cannot be told that.";

pub(super) const UPGRADE_EXAMPLES: &str = "\
Call the new program after it was installed: it is the one that they become. Each keeps its pid, its services, sockets and \
logs; orders under way are waited for. A services.toml that was edited and not reloaded stays so.

Exits 6 when one of them could not become it; that one goes on as it was.";

pub(super) const EVENTS_EXAMPLES: &str = "\
Examples:
  supervisor events --since 24h --type service_crash
  supervisor events --service gateway -n 20
  supervisor --json events --since 2026-11-22 | jq .metadata

Times are local (TZ is honoured); the oldest comes first. --json prints one object a line. Without a database nothing \
is printed, a note goes to stderr, and the exit code is 0.";

pub(super) const ALERTS_EXAMPLES: &str = "\
Examples:
  supervisor alerts
  supervisor alerts show 5f21c0
  supervisor alerts ack 5f21c0
  supervisor alerts silence gateway 2h
  supervisor alerts test slack
  supervisor --json alerts | jq '.alerts[] | select(.state == \"open\")'

Open ones come first, then the newest past ones; below them what waits or went wrong on its way out in the last week, and \
silences in force. --json prints {schema, alerts, sinks, silences, outbox: {pending, refused, expired}}. Works without the \
daemon, from the database. Exits 0 whatever is open.";

pub(super) const TASKS_EXAMPLES: &str = "\
Examples:
  supervisor tasks
  supervisor tasks backup --since 7d
  supervisor tasks run backup
  supervisor tasks run backup --resume
  supervisor tasks stop backup
  supervisor --json tasks | jq '.jobs[] | {name, next_ms, last: .last.state}'

Each time that a job was due ends as one of ran, failed, late, too-long, too-short, skipped-overlap, missed-asleep, missed-off, \
caught-up, cancelled. Works without the daemon, from the database and the slots' own files. A job that is called run or stop: \
`supervisor tasks -- run`. --json prints {schema, jobs: [{name, enabled, calendar, timezone, started_by, next_ms, last, running, counts}]}, with NAME \
also history.";

pub(super) const TASKS_RUN_EXAMPLES: &str = "\
Runs it whatever its calendar says, and waits for its end; Ctrl-C ends the waiting, not the run. Exits 3 when it failed, 6 when \
it runs already, or with --resume when its last run did not fail. Without the daemon it is started from here, and goes on by itself.";

pub(super) const MEMORY_EXAMPLES: &str = "\
Examples:
  supervisor memory
  supervisor memory gateway
  supervisor memory gateway --since 10d --svg gateway.svg
  supervisor memory gateway --snapshot
  supervisor memory replay --growth 10MB/h recorded.csv

Samples are kept for 48 h, the least of each 15 minutes for 10 days, the least of each hour for a year. Works without the \
daemon, from the database; only the daemon knows how the trend stands. A service that is called replay: `supervisor memory \
-- replay`. --json prints {schema, service, since_ms, now, limit, trend, points, marks}, without NAME {schema, services}.";

pub(super) const REPLAY_EXAMPLES: &str = "\
Examples:
  supervisor memory replay --growth 10MB/h recorded.csv
  zcat recorded.csv.gz | supervisor memory replay --growth 20MB/h --plateau 1GiB -

Reads `t_seconds,rss_bytes,pid` lines, oldest first; a header with such names is allowed. Another pid is \
another life. Prints `t_seconds verdict bytes_per_hour` for each alert, with --json one object a line. What cannot be true \
(negative bytes, a time that goes back) is left out, with a note on stderr. Exits 2 for a line that cannot be read, with its number.";

pub(super) const WATCH_STATUS_EXAMPLES: &str = "\
Examples:
  supervisor watch status
  supervisor --json watch status | jq '.sets[] | {name, known, waiting, dead}'

Asks the file-watcher itself; when that does not run, tells what it has written down, with a note on stderr, and exits 3. \
--json prints {schema, service, pid, events, canary, sets: [{name, run, folders, known, waiting, running, retrying, dead, handled, \
...}], dead}: the newest 100 files that were given up.";

pub(super) const WATCH_RETRY_EXAMPLES: &str = "\
Examples:
  supervisor watch retry 17 18
  supervisor watch retry --all --set invoices

Exits 4 when the file-watcher does not run, 6 when it has no such file or no such set.";

pub(super) const WATCH_REPLAY_EXAMPLES: &str = "\
Examples:
  supervisor watch replay --since 24h
  supervisor watch replay --since 2026-11-22T10:00 --set invoices

For when a handler did the wrong thing and did not say so. Exits 4 when the file-watcher does not run.";

pub(super) const SILENCE_EXAMPLES: &str = "\
Examples:
  supervisor alerts silence gateway 2h
  supervisor alerts silence worker 7d --rule memory-growth
  supervisor alerts silence --all 30m

What still holds when the silence ends is told then. Needs the daemon.";

pub(super) const LOGS_EXAMPLES: &str = "\
Examples:
  supervisor logs gateway -n 50
  supervisor logs gateway --stderr -f
  supervisor logs gateway --since 10m

The bytes are printed as the service wrote them. Without a log a note goes to stderr, and the exit code is 0; with -f \
the log is waited for.";

pub(super) const CHECK_EXAMPLES: &str = "\
Exits 5 when there are faults. Notes (a program that is not on its service's PATH, where alerts go) and warnings (no alert \
gets out while a service is down) do not change the exit code.

--json prints {ok, path, services, tasks, faults: [{code, unit, line, column, message, help}], notes, warnings}.";

pub(super) const IMPORT_EXAMPLES: &str = "\
Examples:
  supervisor import ~/Library/LaunchAgents/ai.openclaw.*.plist -o services.toml
  supervisor import ~/.config/systemd/user/*.service ~/.config/systemd/user/*.timer
  supervisor import --format procfile Procfile.dev
  supervisor import --format pm2 - < ecosystem.json

services.toml goes to stdout, what to look at to stderr. Nothing is executed, changed or unloaded, and values that look like \
secrets are not printed. With --json the notes go to stdout as {ok, output, services, tasks, text, notes: [{file, unit, key, \
attention, text}], faults: [{file, line, message, hint}]}.

Exits 5 when a file could not be imported (the others are), and 6 when the file of --output is there already.";

pub(super) const DOCTOR_EXAMPLES: &str = "\
Examples:
  supervisor doctor
  supervisor doctor -v
  supervisor --json doctor | jq '.findings[] | select(.level == \"bad\")'
  supervisor doctor --self-test --calendar

Changes nothing and ends nothing; each finding says what mends it. -v and --json tell of what is well, too. --self-test \
gives the service manager a job of its own, kills it, and takes it away again; what was seen is kept in the state \
directory, in supervisor/evidence.

Exits 3 when something is bad, 6 when there is no service manager to be tried.";

pub(super) const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  supervisor completions bash > ~/.local/share/bash-completion/completions/supervisor
  supervisor completions zsh > \"${fpath[1]}/_supervisor\"
  supervisor completions fish > ~/.config/fish/completions/supervisor.fish";
