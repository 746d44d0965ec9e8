//! A text of a bounded size, made of sections.

/// Kept free for the words that say what is left out.
const WORDS: usize = 80;

/// The text so far.
#[derive(Debug)]
pub(super) struct Page {
    text: String,
    most: usize,
    left_out: Vec<String>,
}

impl Page {
    /// One of at most `most` bytes that begins with these lines.
    pub(super) fn new(most: usize, heading: Vec<String>) -> Self {
        let mut page = Self { text: String::new(), most, left_out: Vec::new() };
        page.add("the heading", most, heading);
        page
    }

    /// How many bytes of lines still fit into a section.
    pub(super) fn room(&self) -> usize {
        self.most.saturating_sub(self.text.len() + 2 * WORDS)
    }

    /// Adds a section of at most `cap` bytes, or why there is none.
    pub(super) fn section(&mut self, title: &str, cap: usize, lines: Result<Vec<String>, String>) {
        let cap = cap.min(self.room());
        if self.text.len() + title.len() + 2 * WORDS > self.most {
            self.left_out.push(format!("{title}: the file is full"));
            return;
        }
        self.text.push_str(&format!("\n== {title}\n"));
        match lines {
            Ok(lines) if lines.is_empty() => self.text.push_str("none\n"),
            Ok(lines) => self.add(title, cap, lines),
            Err(why) => {
                self.add(title, cap, vec![format!("not to be had: {why}")]);
                self.left_out.push(format!("{title}: {why}"));
            }
        }
    }

    /// Something that has no section at all.
    pub(super) fn leave_out(&mut self, what: &str) {
        self.add(what, self.room(), vec![String::new(), format!("left out: {what}")]);
        self.left_out.push(what.to_owned());
    }

    fn add(&mut self, title: &str, cap: usize, lines: Vec<String>) {
        let end = self.text.len() + cap;
        let count = lines.len();
        for (at, line) in lines.into_iter().enumerate() {
            if self.text.len() + line.len() + 1 > end {
                let rest = format!("({} more lines do not fit)\n", count - at);
                self.text.push_str(&rest);
                self.left_out.push(format!("{title}: {} lines do not fit", count - at));
                return;
            }
            self.text.push_str(&line);
            self.text.push('\n');
        }
    }

    /// The text, and what is not in it.
    pub(super) fn finish(mut self) -> (String, Vec<String>) {
        let end = (0..=self.most.min(self.text.len())).rev().find(|at| self.text.is_char_boundary(*at));
        self.text.truncate(end.unwrap_or(0));
        (self.text, self.left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn many(count: usize) -> Vec<String> {
        (0..count).map(|n| format!("line {n} \u{e4}\u{f6}\u{fc}")).collect()
    }

    #[test]
    fn sections_stand_below_each_other() {
        let mut page = Page::new(1000, vec!["head".into()]);
        page.section("a", 500, Ok(many(1)));
        page.section("b", 500, Ok(vec![]));
        page.section("c", 500, Err("nobody knows".into()));
        page.leave_out("d: no memory");
        let (text, left_out) = page.finish();
        let all = "head\n\n== a\nline 0 \u{e4}\u{f6}\u{fc}\n\n== b\nnone\n\n== c\nnot to be had: nobody knows\n\nleft out: d: no memory\n";
        assert_eq!(text, all);
        assert_eq!(left_out, ["c: nobody knows", "d: no memory"]);
    }

    #[test]
    fn it_is_never_larger_than_it_may_be() {
        for most in [0, 1, 20, 100, 200, 321, 1000, 5000] {
            let mut page = Page::new(most, many(3));
            for title in ["a", "b", "c"] {
                page.section(title, 400, Ok(many(100)));
            }
            let (text, left_out) = page.finish();
            assert!(text.len() <= most, "{most}: {}", text.len());
            assert!(left_out.len() >= 3, "{most}: {left_out:?}");
        }
    }

    #[test]
    fn a_long_section_leaves_room_for_the_next() {
        let mut page = Page::new(2000, vec![]);
        page.section("a", 400, Ok(many(100)));
        page.section("b", 400, Ok(many(1)));
        let (text, left_out) = page.finish();
        assert!(text.contains("== b\nline 0"), "{text}");
        assert!(left_out[0].starts_with("a: ") && left_out.len() == 1, "{left_out:?}");
        let rest: usize = left_out[0].split(' ').nth(1).unwrap().parse().unwrap();
        assert_eq!(text.matches("line ").count(), 100 - rest + 1);
        assert!(text.contains(&format!("({rest} more lines do not fit)")));
    }
}
