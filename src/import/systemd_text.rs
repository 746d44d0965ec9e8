//! The text of systemd's command lines and assignments: quotes, escapes, `%` and `$`.

use std::collections::BTreeMap;

use super::unit::Place;

/// A word, and whether quotes or escapes had a part in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) quoted: bool,
}

/// The words of a line. `None`: a quote is not closed, or an escape is none.
pub(super) fn words(text: &str) -> Option<Vec<Word>> {
    let mut words = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        if chars.peek().is_none() {
            return Some(words);
        }
        let mut word = Word { text: String::new(), quoted: false };
        let mut quote = None;
        while let Some(c) = chars.next_if(|c| quote.is_some() || !c.is_whitespace()) {
            match (quote, c) {
                (Some(open), c) if c == open => quote = None,
                (None, '"' | '\'') => {
                    word.quoted = true;
                    quote = Some(c);
                }
                (_, '\\') => {
                    word.quoted = true;
                    word.text.push(escape(&mut chars)?);
                }
                (_, c) => word.text.push(c),
            }
        }
        if quote.is_some() {
            return None;
        }
        words.push(word);
    }
}

/// What stands after a `\`.
fn escape(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<char> {
    let (digits, radix, start) = match chars.next()? {
        'a' => return Some('\u{7}'),
        'b' => return Some('\u{8}'),
        'f' => return Some('\u{c}'),
        'n' => return Some('\n'),
        'r' => return Some('\r'),
        's' => return Some(' '),
        't' => return Some('\t'),
        'v' => return Some('\u{b}'),
        'x' => (2, 16, 0),
        'u' => (4, 16, 0),
        'U' => (8, 16, 0),
        c @ '0'..='7' => (2, 8, c.to_digit(8)?),
        // What is no escape stands for itself: systemd warns of it, and goes on.
        c => return Some(c),
    };
    let mut value: u32 = start;
    for _ in 0..digits {
        value = value.checked_mul(radix)?.checked_add(chars.next()?.to_digit(radix)?)?;
    }
    char::from_u32(value)
}

/// `text` with its `%` specifiers replaced; the error is one that nothing is known of here.
pub(super) fn specifiers(text: &str, place: &Place<'_>) -> Result<String, String> {
    let name = place.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let stem = name.rsplit_once('.').map_or(name.as_str(), |(stem, _)| stem);
    let (prefix, instance) = stem.split_once('@').unwrap_or((stem, ""));
    let home = place.home();
    let var = |name: &str, below: &str| match place.around.vars.get(name).filter(|dir| dir.starts_with('/')) {
        Some(dir) => dir.clone(),
        None => format!("{home}/{below}"),
    };
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('%') | None => out.push('%'),
            Some('h') => out.push_str(home),
            Some('n') => out.push_str(&name),
            Some('N') => out.push_str(stem),
            Some('p') => out.push_str(prefix),
            Some('i' | 'I') if !instance.is_empty() => out.push_str(instance),
            Some('E') => out.push_str(&var("XDG_CONFIG_HOME", ".config")),
            Some('S') => out.push_str(&var("XDG_STATE_HOME", ".local/state")),
            Some('C') => out.push_str(&var("XDG_CACHE_HOME", ".cache")),
            Some('T') => out.push_str("/tmp"),
            Some('V') => out.push_str("/var/tmp"),
            Some(other) => return Err(format!("%{other}")),
        }
    }
    Ok(out)
}

/// `word` with its variables replaced by what is known of them; the error is the name of one that is not.
pub(super) fn variables(word: &Word, known: &BTreeMap<String, String>) -> Result<Vec<String>, String> {
    let text = word.text.as_str();
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    // A whole word `$NAME` falls into as many as its value has.
    if let Some(name) = text.strip_prefix('$').filter(|name| is_name(name) && !word.quoted) {
        let value = known.get(name).ok_or_else(|| name.to_owned())?;
        return Ok(value.split_whitespace().map(str::to_owned).collect());
    }
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = after.strip_prefix('{').and_then(|after| after.split_once('}')) {
            out.push_str(known.get(name).ok_or_else(|| name.to_owned())?);
            rest = after;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    Ok(vec![out])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Option<Vec<String>> {
        Some(words(text)?.into_iter().map(|word| word.text).collect())
    }

    #[test]
    fn words_are_read_as_systemd_reads_them() {
        assert_eq!(
            texts(r#" /bin/x "a b" 'c d' e\x20f \tg --k="v w" \u00e9 \101 ; "" "#).unwrap(),
            ["/bin/x", "a b", "c d", "e f", "\tg", "--k=v w", "é", "A", ";", ""]
        );
        assert_eq!(texts("\\"), None);
        assert_eq!(texts("\\x1"), None);
        assert_eq!(texts("'a"), None);
    }

    #[test]
    fn variables_are_replaced_where_they_are_known() {
        let known = BTreeMap::from([("A".to_owned(), "x y".to_owned())]);
        let read = |text: &str| variables(&Word { text: text.into(), quoted: false }, &known);
        assert_eq!(read("$A").unwrap(), ["x", "y"]);
        assert_eq!(read("${A}").unwrap(), ["x y"]);
        assert_eq!(read("a${A}b$$c$").unwrap(), ["ax yb$c$"]);
        assert_eq!(read("$B"), Err("B".into()));
        assert_eq!(read("-${B}"), Err("B".into()));
        assert_eq!(variables(&Word { text: "$A".into(), quoted: true }, &known).unwrap(), ["$A"]);
    }
}
