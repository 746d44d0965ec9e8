//! What looks like a secret is not printed. Rather too much is taken for one than too little: what is left out by
//! mistake costs a line, what is printed by mistake a password.

/// Parts of names of secrets, in capitals.
const WORDS: [&str; 7] = ["TOKEN", "KEY", "SECRET", "PASSWORD", "PASSWD", "PASSPHRASE", "CREDENTIAL"];

/// What keys of well-known services begin with.
const BEGINNINGS: [&str; 11] =
    ["sk-", "sk_live_", "ghp_", "gho_", "ghs_", "github_pat_", "glpat-", "xoxb-", "xoxp-", "AKIA", "eyJhbGci"];

/// What stands in place of a secret.
pub(super) const HIDDEN: &str = "***";

/// Whether a variable is one, by name or by value; says why.
pub(super) fn is_one(name: &str, value: &str) -> Option<&'static str> {
    if is_name(name) {
        return Some("looks like a secret");
    }
    is_value(value).then_some("holds what looks like a secret")
}

/// Whether a variable of this name holds one.
fn is_name(name: &str) -> bool {
    // Hugging Face's TOKENIZERS_PARALLELISM is in everybody's embedding server.
    let name = name.to_uppercase().replace("TOKENIZER", "");
    WORDS.iter().any(|word| name.contains(word))
}

/// Whether it is one by its looks: a known beginning, or a URL with a password.
fn is_value(value: &str) -> bool {
    let begins = |word: &str| BEGINNINGS.iter().any(|beginning| word.starts_with(beginning) && word.len() > 12);
    value.split([' ', '=', ',', '"', '\'']).any(begins) || password_of_url(value).is_some()
}

/// Where the password in `scheme://user:password@host` is.
fn password_of_url(text: &str) -> Option<std::ops::Range<usize>> {
    let start = text.find("://")? + 3;
    let rest = &text[start..];
    let end = rest.find(['/', '?', '#', ' ', '"', '\'']).unwrap_or(rest.len());
    let at = rest[..end].rfind('@')?;
    let colon = rest[..at].find(':')?;
    (colon + 1 < at).then_some(start + colon + 1..start + at)
}

/// Whether the argument after this option is one.
fn is_option(option: &str) -> bool {
    let name = option.trim_start_matches('-').to_ascii_lowercase().replace('_', "-");
    if !option.starts_with("--") || name.is_empty() {
        return false;
    }
    let last = name.rsplit('-').next().unwrap_or_default();
    let before = name.strip_suffix("-key").and_then(|before| before.rsplit('-').next());
    matches!(last, "token" | "secret" | "password" | "passwd" | "passphrase" | "apikey")
        || matches!(before, Some("api" | "access" | "secret" | "auth" | "encryption" | "signing"))
}

/// A file's name, a variable or nothing is no secret.
fn is_reference(value: &str) -> bool {
    value.is_empty() || value.starts_with(['/', '~', '.', '$', '%', '-'])
}

/// Hides the secrets in a command line, each argument for itself; says what was hidden.
pub(super) fn hide_in_arguments(argv: &mut [String]) -> Vec<String> {
    let mut hidden = Vec::new();
    let mut is_next = None;
    for arg in argv.iter_mut() {
        if let Some(option) = is_next.take()
            && !is_reference(arg)
        {
            *arg = HIDDEN.into();
            hidden.push(option);
            continue;
        }
        match arg.split_once('=') {
            Some((option, value)) if is_option(option) && !is_reference(value) => {
                hidden.push(option.to_owned());
                *arg = format!("{option}={HIDDEN}");
            }
            _ if is_option(arg) => is_next = Some(arg.clone()),
            _ => hidden.extend(hide_in_text(arg)),
        }
    }
    hidden
}

/// Hides the secrets in a text for a shell; says what was hidden.
fn hide_in_text(text: &mut String) -> Vec<String> {
    let mut hidden = Vec::new();
    let mut out = String::with_capacity(text.len());
    let mut is_next: Option<String> = None;
    // The quote that a hidden value began with: the value goes on to its end.
    let mut within: Option<char> = None;
    // Words with the blanks and operators that end them.
    for piece in text.split_inclusive([' ', '\t', '\n', ';', '&', '|', '(', ')']) {
        let word = piece.trim_end_matches([' ', '\t', '\n', ';', '&', '|', '(', ')']);
        let tail = &piece[word.len()..];
        let bare = word.trim_start_matches(['"', '\'']);
        let lead = &word[..word.len() - bare.len()];
        if let Some(quote) = within {
            if let Some((_, rest)) = piece.split_once(quote) {
                within = None;
                out.push_str(rest);
            }
            continue;
        }
        let opens = |value: &str| {
            let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
            (value.matches(quote).count() % 2 == 1).then_some(quote)
        };
        let value_of = |value: &str| value.trim_matches(['"', '\'']).to_owned();
        if let Some(option) = is_next.take_if(|_| !word.is_empty())
            && !is_reference(&value_of(word))
        {
            hidden.push(option);
            out.push_str(HIDDEN);
            within = opens(word);
        } else if let Some((name, value)) = bare.split_once('=')
            && (is_assignment(name) && is_name(name) || is_option(name))
            && !is_reference(&value_of(value))
        {
            hidden.push(name.to_owned());
            out.push_str(&format!("{lead}{name}={HIDDEN}"));
            within = opens(value);
        } else if is_value(word) {
            hidden.push("a value".to_owned());
            out.push_str(HIDDEN);
        } else {
            if is_option(bare) {
                is_next = Some(bare.to_owned());
            }
            out.push_str(word);
        }
        if within.is_none() {
            out.push_str(tail);
        }
    }
    if !hidden.is_empty() {
        *text = out;
    }
    hidden
}

fn is_assignment(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_of_secrets() {
        for (name, value) in [
            ("OPENCLAW_GATEWAY_TOKEN", "x"),
            ("apiKey", "x"),
            ("DB_PASSWORD", ""),
            ("DATABASE_URL", "postgres://u:hunter2@localhost/db"),
            ("X", "sk-ant-0123456789abcdef"),
        ] {
            assert!(is_one(name, value).is_some(), "{name}");
        }
        for (name, value) in [
            ("TOKENIZERS_PARALLELISM", "false"),
            ("NODE_ENV", "production"),
            ("URL", "http://localhost:80/a@b:c"),
            ("URL", "http://user@host/"),
            ("PATH", "/usr/bin:/bin"),
        ] {
            assert_eq!(is_one(name, value), None, "{name}");
        }
    }

    #[test]
    fn secrets_in_command_lines_are_hidden_and_nothing_else() {
        for (before, after) in [
            ("openclaw gateway --token abc --port 1", "openclaw gateway --token *** --port 1"),
            ("x --api-key=abc", "x --api-key=***"),
            ("x --ssl-key /etc/k --max-tokens 5 --key-file=/k", "x --ssl-key /etc/k --max-tokens 5 --key-file=/k"),
            ("x --token-file /t --token $T", "x --token-file /t --token $T"),
            ("x postgres://u:p@h/d", "x ***"),
        ] {
            let mut argv: Vec<String> = before.split(' ').map(str::to_owned).collect();
            let hidden = hide_in_arguments(&mut argv);
            assert_eq!(argv.join(" "), after);
            assert_eq!(hidden.is_empty(), before == after, "{before}");
        }
        for (before, after) in [
            ("A_TOKEN=abc x; B=1 y", "A_TOKEN=*** x; B=1 y"),
            ("export KEY='abc' && x", "export KEY=*** && x"),
            ("KEY='a b; c' y", "KEY=*** y"),
            ("x --secret \"a b\" c", "x --secret *** c"),
            ("x \"API_KEY=$K\" --password hunter2|y", "x \"API_KEY=$K\" --password ***|y"),
            ("fswatch -0 ~/x | while read f; do y \"$f\"; done", "fswatch -0 ~/x | while read f; do y \"$f\"; done"),
        ] {
            let mut text = before.to_owned();
            hide_in_text(&mut text);
            assert_eq!(text, after);
        }
    }
}
