//! What clap has instead of an invocation, in our words.

use clap::error::ErrorKind as ClapKind;

use super::args::Early;
use crate::error::{Error, ErrorKind};

pub(super) fn early(error: &clap::Error, json: bool) -> Early {
    let rendered = error.render();
    match error.kind() {
        ClapKind::DisplayHelp | ClapKind::DisplayVersion => {
            Early::Text { plain: rendered.to_string(), coloured: rendered.ansi().to_string() }
        }
        ClapKind::MissingSubcommand | ClapKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let text = rendered.to_string();
            let usage = text.lines().find_map(|line| line.trim().strip_prefix("Usage: supervisor "));
            // Of `watch` and the like it is the command below them that is missing.
            let above = usage.and_then(|usage| usage.split(' ').next()).filter(|word| !word.starts_with(['[', '<']));
            let hint = match above {
                Some(word) => format!("`supervisor {word} --help` tells what can be typed after it"),
                None => "try `supervisor status`, or `supervisor --help` for all commands".to_owned(),
            };
            Early::Wrong { error: Error::new(ErrorKind::Usage, "no command was given").hint(hint), json }
        }
        _ => Early::Wrong { error: usage_error(&rendered.to_string()), json },
    }
}

/// clap's text (an `error:` paragraph, `tip:` lines, a `Usage:` line) as our sentence and hint.
fn usage_error(rendered: &str) -> Error {
    let mut paragraphs = rendered.split("\n\n");
    let first = paragraphs.next().unwrap_or_default();
    let message = first.strip_prefix("error: ").unwrap_or(first).lines().map(str::trim).collect::<Vec<_>>().join(" ");
    let lines = || rendered.lines().map(str::trim);
    // 'to pass ... as a value, use `-- ...`' is true, but never what was meant here.
    let tips = lines().filter_map(|line| line.strip_prefix("tip: ")).filter(|tip| !tip.starts_with("to pass "));
    let tips: Vec<&str> = tips.collect();
    let usage = lines().find_map(|line| line.strip_prefix("Usage: "));
    let hint = match (tips.is_empty(), usage) {
        (false, _) => tips.join("; "),
        (true, Some(usage)) => format!("type `{usage}`, or `--help` with it"),
        (true, None) => "`supervisor --help` tells what can be typed".to_owned(),
    };
    Error::new(ErrorKind::Usage, message).hint(hint)
}
