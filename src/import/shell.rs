//! Which shell text is just a program and its arguments. Nothing is expanded here but HOME and `~`, which are known;
//! whatever else a shell would do something with makes the text one that needs the shell.

use std::path::{Component, Path};

/// What a simple text says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Simple {
    /// Of `cd DIR &&` before it; may be relative.
    pub(super) cwd: Option<String>,
    /// Of `VAR=value` before it.
    pub(super) env: Vec<(String, String)>,
    pub(super) argv: Vec<String>,
    /// Redirections, as they stand there; `< /dev/null` is what every service has.
    pub(super) redirected: Vec<String>,
}

/// A shell with a text to execute.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrapper<'a> {
    /// Whether it reads the profile of a login first.
    pub(super) login: bool,
    pub(super) text: &'a str,
    /// Which argument that is.
    pub(super) at: usize,
}

const SHELLS: [&str; 6] = ["sh", "bash", "zsh", "dash", "ksh", "ash"];

/// Words that mean something else than a program of that name. `cd` and `export` are looked at before.
const NOT_PROGRAMS: [&str; 42] = [
    ".", ":", "[[", "alias", "bg", "break", "builtin", "case", "cd", "command", "continue", "coproc", "declare", "do",
    "done", "esac", "eval", "exec", "exit", "export", "fg", "for", "function", "if", "local", "read", "readonly",
    "return", "select", "set", "setopt", "shift", "shopt", "source", "time", "trap", "typeset", "ulimit", "umask",
    "unset", "until", "while",
];

/// `sh -c TEXT`, `bash -lc TEXT`, `env bash -c TEXT`, ...: with nothing after the text.
pub(super) fn wrapper(argv: &[String]) -> Option<Wrapper<'_>> {
    let base = |word: &String| word.rsplit('/').next().unwrap_or_default().to_owned();
    let first = usize::from(argv.first().map(base).as_deref() == Some("env"));
    if !SHELLS.contains(&argv.get(first).map(base)?.as_str()) {
        return None;
    }
    let mut login = false;
    for (at, arg) in argv.iter().enumerate().skip(first + 1) {
        if arg == "--login" {
            login = true;
            continue;
        }
        // `e` and `u` matter to several commands only, and `x` to nobody.
        let letters = arg.strip_prefix('-').filter(|letters| letters.chars().all(|c| "celux".contains(c)))?;
        login |= letters.contains('l');
        if letters.contains('c') {
            let text = argv.get(at + 1).filter(|_| argv.len() == at + 2)?;
            return Some(Wrapper { login, text, at: at + 1 });
        }
    }
    None
}

enum Token {
    /// `assigns` is where the `=` of `NAME=value` is.
    Word {
        text: String,
        assigns: Option<usize>,
    },
    And,
    /// As it stands there, and what it writes to; `None` is `&1` and the like.
    Redirect {
        shown: String,
        target: Option<String>,
    },
}

/// The text as a program and its arguments; else why it needs a shell.
pub(super) fn simple(text: &str, home: &str) -> Result<Simple, String> {
    let mut found = Simple::default();
    let tokens = Lexer { chars: text.trim().chars().collect(), at: 0, home }.tokens()?;
    let mut commands: Vec<Vec<(String, Option<usize>)>> = vec![Vec::new()];
    for token in tokens {
        match token {
            Token::And => commands.push(Vec::new()),
            Token::Redirect { target: Some(target), shown } if shown.starts_with('<') => {
                if target != "/dev/null" {
                    return Err("it reads a file as its input".into());
                }
            }
            Token::Redirect { shown, .. } => found.redirected.push(shown),
            Token::Word { text, assigns } => commands.last_mut().map_or((), |words| words.push((text, assigns))),
        }
    }
    let last = commands.pop().unwrap_or_default();
    for words in commands {
        let mut words = words.into_iter();
        match (words.next().map(|(word, _)| word).as_deref(), words.as_slice()) {
            (Some("cd"), [(dir, _)]) if !dir.starts_with('-') && !dir.is_empty() => {
                found.cwd = Some(match found.cwd.take() {
                    Some(before) => Path::new(&before).join(dir).to_string_lossy().into_owned(),
                    None => dir.clone(),
                });
            }
            (Some("cd"), []) => found.cwd = Some(home.to_owned()),
            (Some("export"), assignments) if assignments.iter().all(|(_, assigns)| assigns.is_some()) => {
                found.env.extend(assignments.iter().filter_map(|(word, at)| split(word, *at)));
            }
            _ => return Err("it is more than one command".into()),
        }
    }
    let mut words = last.into_iter().peekable();
    while let Some(pair) = words.peek().and_then(|(word, at)| split(word, *at)) {
        found.env.push(pair);
        words.next();
    }
    words.next_if(|(word, _)| word == "exec");
    match words.peek() {
        None => return Err("it starts no program".into()),
        Some((word, assigns))
            if assigns.is_some() || word.starts_with('-') || NOT_PROGRAMS.contains(&word.as_str()) =>
        {
            return Err(format!("`{word}` is a word of the shell"));
        }
        Some(_) => {}
    }
    found.argv = words.map(|(word, _)| word).collect();
    // `cd ..` through a symbolic link leads elsewhere than the words say.
    if found.cwd.as_ref().is_some_and(|cwd| Path::new(cwd).components().any(|c| c == Component::ParentDir)) {
        return Err("its `cd` goes up".into());
    }
    Ok(found)
}

/// The words of `text` as a shell would have them, for formats that have no shell but its quotes. `None`: a quote is not
/// closed.
pub(super) fn words(text: &str) -> Option<Vec<String>> {
    let (mut words, mut word): (Vec<String>, Option<String>) = (Vec::new(), None);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            c if c.is_whitespace() => words.extend(word.take()),
            '\\' => word.get_or_insert_default().push(chars.next()?),
            quote @ ('"' | '\'') => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        c if c == quote => break,
                        '\\' if quote == '"' => match chars.next()? {
                            c @ ('"' | '\\') => word.push(c),
                            c => word.extend(['\\', c]),
                        },
                        c => word.push(c),
                    }
                }
            }
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Some(words)
}

fn split(word: &str, assigns: Option<usize>) -> Option<(String, String)> {
    let at = assigns?;
    Some((word.get(..at)?.to_owned(), word.get(at + 1..)?.to_owned()))
}

struct Lexer<'a> {
    chars: Vec<char>,
    at: usize,
    home: &'a str,
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    /// Goes over `text`, if that is next.
    fn eat(&mut self, text: &str) -> bool {
        let is_next = text.chars().enumerate().all(|(i, c)| self.peek(i) == Some(c));
        if is_next {
            self.at += text.chars().count();
        }
        is_next
    }

    fn tokens(mut self) -> Result<Vec<Token>, String> {
        let mut tokens = Vec::new();
        loop {
            while self.eat(" ") || self.eat("\t") || self.eat("\\\n") {}
            let Some(c) = self.peek(0) else { return Ok(tokens) };
            if self.eat("&&") {
                tokens.push(Token::And);
            } else if let Some(redirect) = self.redirect()? {
                tokens.push(redirect);
            } else if c == '#' {
                return Err("it has a comment".into());
            } else {
                tokens.push(self.word()?);
            }
        }
    }

    fn redirect(&mut self) -> Result<Option<Token>, String> {
        let start = self.at;
        if self.peek(0).is_some_and(|c| c.is_ascii_digit()) && matches!(self.peek(1), Some('>' | '<')) {
            self.at += 1;
        }
        let ops = ["&>>", "&>", ">>", ">&", ">|", ">", "<<", "<&", "<"];
        let Some(op) = ops.into_iter().find(|op| self.eat(op)) else {
            self.at = start;
            return Ok(None);
        };
        if op.starts_with("<<") {
            return Err("it has a text for its input".into());
        }
        while self.eat(" ") || self.eat("\t") {}
        let Token::Word { text, .. } = self.word()? else { return Err("a redirection leads nowhere".into()) };
        let shown: String = self.chars[start..self.at].iter().collect();
        let target = (!op.ends_with('&')).then_some(text);
        Ok(Some(Token::Redirect { shown, target }))
    }

    fn word(&mut self) -> Result<Token, String> {
        let mut text = String::new();
        let mut assigns = None;
        // Whether what is there so far, all without quotes, can be the name of a variable.
        let mut is_name = true;
        let start = self.at;
        if self.tilde(&mut text)? {
            is_name = false;
        }
        while let Some(c) = self.peek(0) {
            match c {
                ' ' | '\t' => break,
                '&' if self.peek(1) == Some('&') => break,
                '>' | '<' => break,
                '&' => return Err("it puts something into the background with &".into()),
                '|' => return Err("it has a pipe".into()),
                ';' | '\n' => return Err("it is more than one command".into()),
                '(' | ')' | '{' | '}' | '`' => return Err(format!("it uses {c}")),
                '*' | '?' | '[' => return Err(format!("it has a pattern with {c}")),
                '!' if self.at == start => return Err("it uses !".into()),
                '$' => self.dollar(&mut text)?,
                '\'' | '"' => {
                    is_name = false;
                    self.at += 1;
                    self.quoted(c, &mut text)?;
                    continue;
                }
                '\\' => {
                    is_name = false;
                    match self.peek(1) {
                        Some('\n') => {}
                        Some(c) => text.push(c),
                        None => return Err("it ends with a \\".into()),
                    }
                    self.at += 2;
                    continue;
                }
                '=' if is_name && !text.is_empty() => {
                    assigns = Some(text.len());
                    is_name = false;
                    text.push('=');
                    self.at += 1;
                    self.tilde(&mut text)?;
                    continue;
                }
                c => {
                    let letter = c.is_ascii_alphabetic() || c == '_';
                    is_name &= letter || (c.is_ascii_digit() && !text.is_empty());
                    text.push(c);
                }
            }
            self.at += 1;
        }
        if self.at == start {
            return Err("a word is missing".into());
        }
        Ok(Token::Word { text, assigns })
    }

    /// `~` and `~/` at the beginning of a word.
    fn tilde(&mut self, text: &mut String) -> Result<bool, String> {
        if self.peek(0) != Some('~') {
            return Ok(false);
        }
        if !matches!(self.peek(1), None | Some('/' | ' ' | '\t')) {
            return Err("it names another person's home directory".into());
        }
        self.at += 1;
        text.push_str(self.home);
        Ok(true)
    }

    /// A `$`; leaves `at` on the last character of what it stands for.
    fn dollar(&mut self, text: &mut String) -> Result<(), String> {
        let rest: String = self.chars[self.at + 1..].iter().take(40).collect();
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        if let Some(after) = rest.strip_prefix("{HOME}") {
            text.push_str(self.home);
            self.at += rest.chars().count() - after.chars().count();
        } else if &rest[..end] == "HOME" {
            text.push_str(self.home);
            self.at += end;
        } else if rest.is_empty() || rest.starts_with([' ', '\t']) {
            text.push('$');
        } else {
            return Err(format!("it uses ${}", if end > 0 { &rest[..end] } else { "" }));
        }
        Ok(())
    }

    /// Up to the closing quote; `at` is behind the opening one, and is left behind the closing one.
    fn quoted(&mut self, quote: char, text: &mut String) -> Result<(), String> {
        while let Some(c) = self.peek(0) {
            match c {
                c if c == quote => {
                    self.at += 1;
                    return Ok(());
                }
                '$' if quote == '"' && self.peek(1) == Some('"') => text.push('$'),
                '$' if quote == '"' => self.dollar(text)?,
                '`' if quote == '"' => return Err("it uses `".into()),
                '\\' if quote == '"' => {
                    match self.peek(1) {
                        Some(c @ ('$' | '`' | '"' | '\\')) => text.push(c),
                        Some('\n') => {}
                        Some(c) => text.extend(['\\', c]),
                        None => break,
                    }
                    self.at += 1;
                }
                c => text.push(c),
            }
            self.at += 1;
        }
        Err("a quote is not closed".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Simple, String> {
        simple(text, "/home/u")
    }

    fn argv(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn simple_texts_are_arguments() {
        for (text, wanted) in [
            ("node index.js", &["node", "index.js"][..]),
            (" exec  node 'a b' \"c d\" e\\ f \"\" ", &["node", "a b", "c d", "e f", ""]),
            ("node $HOME/x \"${HOME}/y z\" ~/w a~b", &["node", "/home/u/x", "/home/u/y z", "/home/u/w", "a~b"]),
            (r#"echo "a\"b\\c\d" 'x"y' $ "5$""#, &["echo", "a\"b\\c\\d", "x\"y", "$", "5$"]),
            ("x --a=b c=d 7", &["x", "--a=b", "c=d", "7"]),
            ("x \\\n  y", &["x", "y"]),
            ("é 😀", &["é", "😀"]),
        ] {
            assert_eq!(read(text), Ok(Simple { argv: argv(wanted), ..Simple::default() }), "{text}");
        }
    }

    #[test]
    fn directories_variables_and_redirections_are_taken_apart() {
        let found =
            read("cd ~/p && export A=1 && cd q && B='x y' C=~/c exec run --now >> /tmp/l 2>&1 </dev/null").unwrap();
        assert_eq!(found.cwd.as_deref(), Some("/home/u/p/q"));
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(found.env, [pair("A", "1"), pair("B", "x y"), pair("C", "/home/u/c")]);
        assert_eq!(found.argv, ["run", "--now"]);
        assert_eq!(found.redirected, [">> /tmp/l", "2>&1"]);
        assert_eq!(read("x &> l").unwrap().redirected, ["&> l"]);
        assert_eq!(read("x>l 2>'a b'").unwrap().redirected, [">l", "2>'a b'"]);
    }

    #[test]
    fn everything_else_needs_the_shell() {
        for (text, why) in [
            ("", "no program"),
            ("a | b", "pipe"),
            ("a; b", "more than one"),
            ("a\nb", "more than one"),
            ("a && b", "more than one"),
            ("a & ", "background"),
            ("a || b", "pipe"),
            ("a $B", "$B"),
            ("a \"$(b)\"", "uses $"),
            ("a `b`", "uses `"),
            ("a *.js", "pattern"),
            ("a {b,c}", "uses {"),
            ("while true", "word of the shell"),
            ("source x && y", "more than one"),
            ("if x", "word of the shell"),
            ("A=1", "no program"),
            ("exec A=1 x", "word of the shell"),
            ("exec -a x y", "word of the shell"),
            ("a 'b", "not closed"),
            ("a \"b", "not closed"),
            ("a \\", "ends with"),
            ("a < b", "reads a file"),
            ("a << b", "text for its input"),
            ("a >", "missing"),
            ("cd .. && a", "goes up"),
            ("cd - && a", "more than one"),
            ("a ~b", "another person"),
            ("a # b", "comment"),
            ("! a", "!"),
            ("cd x", "word of the shell"),
            ("a $", ""),
        ] {
            match read(text) {
                Err(found) => assert!(!why.is_empty() && found.contains(why), "{text}: {found}"),
                Ok(_) => assert!(why.is_empty(), "{text}"),
            }
        }
    }

    #[test]
    fn wrappers_are_seen() {
        for (line, login) in [
            ("/bin/sh -c X", false),
            ("bash -lc X", true),
            ("/bin/zsh -l -c X", true),
            ("/usr/bin/env bash -euc X", false),
        ] {
            let argv = argv(&line.split(' ').collect::<Vec<_>>());
            let found = wrapper(&argv).unwrap_or_else(|| panic!("{line}"));
            assert_eq!((found.login, found.text, found.at), (login, "X", argv.len() - 1), "{line}");
        }
        for line in
            ["node -c X", "sh x.sh", "sh", "sh -c", "sh -c X y", "bash -ic X", "env X=1 sh -c X", "sh -o pipefail -c X"]
        {
            assert_eq!(wrapper(&argv(&line.split(' ').collect::<Vec<_>>())), None, "{line}");
        }
    }

    #[test]
    fn words_have_the_shells_quotes_only() {
        assert_eq!(words(r#"a 'b c' "d \" \e" f\ g ;"#).unwrap(), ["a", "b c", "d \" \\e", "f g", ";"]);
        assert_eq!(words("'a").or(words("\"a")).or(words("a\\")), None);
        assert_eq!(words("  ").unwrap(), [""; 0]);
    }
}
