//! What a look at a file means, beside what is known of it. Pure.

use crate::model::WatchOn;

/// What tells one file from another, and one state of it from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Stat {
    /// Its volume.
    pub(super) dev: u64,
    /// Its number there.
    pub(super) ino: u64,
    /// When it was made, nanoseconds since 1970; 0 where the volume does not tell.
    pub(super) born: i64,
    /// Bytes.
    pub(super) size: u64,
    /// When its content was changed last, nanoseconds since 1970.
    pub(super) modified: i64,
    /// When anything of it was changed last, its names among them, nanoseconds since 1970.
    pub(super) changed: i64,
    /// How many names it has.
    pub(super) links: u64,
}

impl Stat {
    /// Whether it is the same file as `other`, whatever is in it. A volume that is mounted again may have another number, and its
    /// files too: then it is the same file when its content seems to be.
    pub(super) fn is_file(&self, other: &Self) -> bool {
        if self.dev != other.dev {
            return self.has_content_of(other);
        }
        self.ino == other.ino && (self.born == other.born || self.born == 0 || other.born == 0)
    }

    /// Whether size and time are those of `other`.
    pub(super) fn has_content_of(&self, other: &Self) -> bool {
        (self.size, self.modified) == (other.size, other.modified)
    }
}

/// What a watch set reacts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct On {
    pub(super) created: bool,
    pub(super) modified: bool,
    pub(super) removed: bool,
    pub(super) renamed: bool,
}

impl On {
    pub(super) fn of(words: &[WatchOn]) -> Self {
        let has = |word| words.contains(&word);
        Self {
            created: has(WatchOn::Created),
            modified: has(WatchOn::Modified),
            removed: has(WatchOn::Removed),
            renamed: has(WatchOn::Renamed),
        }
    }
}

/// What a look at a file that is there means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing has happened to it.
    Known,
    /// Something that nobody wants to hear of: it is as it is now from then on.
    Refresh,
    /// It has another name now.
    Moved,
    /// It is to be handled.
    Handle(WatchOn),
}

/// What a look means at a file that is there as `now`, and is known by its name as `known`; `elsewhere`: a file that is no longer there
/// under the name it is known by, and is this one.
pub(super) fn judge(on: On, now: &Stat, known: Option<&Stat>, elsewhere: bool) -> Verdict {
    match known {
        Some(known) if now.is_file(known) => match now.has_content_of(known) {
            true if now.dev == known.dev => Verdict::Known,
            true => Verdict::Refresh,
            false if on.modified => Verdict::Handle(WatchOn::Modified),
            false => Verdict::Refresh,
        },
        _ if elsewhere => Verdict::Moved,
        // Another file under the name: to who waits for new content it is that, to who waits for new files it is one.
        Some(_) if on.created => Verdict::Handle(WatchOn::Created),
        Some(_) if on.modified => Verdict::Handle(WatchOn::Modified),
        None if on.created => Verdict::Handle(WatchOn::Created),
        _ => Verdict::Refresh,
    }
}

/// Whether a file that nobody has seen was there already when watching began at `since`, nanoseconds since 1970: nothing of it has been
/// changed since then, not even its name. A kernel's clock for files is up to 10 ms behind.
pub(super) fn was_there(now: &Stat, since: i64) -> bool {
    now.changed < since.saturating_sub(20_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: On = On { created: true, modified: true, removed: true, renamed: true };
    const NEW: On = On { created: true, modified: false, removed: false, renamed: false };

    fn stat(ino: u64, size: u64) -> Stat {
        Stat { dev: 1, ino, born: 5, size, modified: 7, changed: 9, links: 1 }
    }

    #[test]
    fn a_file_is_new_once() {
        let file = stat(10, 3);
        assert_eq!(judge(NEW, &file, None, false), Verdict::Handle(WatchOn::Created));
        assert_eq!(judge(NEW, &file, Some(&file), false), Verdict::Known);
        // Its number is used again for another one.
        let again = Stat { born: 6, ..file };
        assert_eq!(judge(NEW, &again, Some(&file), false), Verdict::Handle(WatchOn::Created));
        // Where the volume does not tell when a file was made, the same number is the same file.
        assert_eq!(judge(NEW, &Stat { born: 0, ..file }, Some(&file), false), Verdict::Known);
    }

    #[test]
    fn content_counts_for_who_asks_for_it() {
        let (before, after) = (stat(10, 3), stat(10, 4));
        assert_eq!(judge(NEW, &after, Some(&before), false), Verdict::Refresh);
        assert_eq!(judge(ALL, &after, Some(&before), false), Verdict::Handle(WatchOn::Modified));
        let changes = On { modified: true, ..On::default() };
        assert_eq!(judge(changes, &stat(11, 4), Some(&before), false), Verdict::Handle(WatchOn::Modified), "replaced");
        assert_eq!(judge(changes, &after, None, false), Verdict::Refresh);
    }

    #[test]
    fn a_new_name_is_no_new_file() {
        assert_eq!(judge(ALL, &stat(10, 3), None, true), Verdict::Moved);
        assert_eq!(judge(NEW, &stat(10, 3), Some(&stat(11, 8)), true), Verdict::Moved, "over another one");
    }

    #[test]
    fn a_volume_that_comes_back_under_another_number_has_the_same_files() {
        let known = stat(10, 3);
        let back = Stat { dev: 2, ino: 99, born: 0, ..known };
        assert_eq!(judge(ALL, &back, Some(&known), false), Verdict::Refresh);
        let other = Stat { dev: 2, size: 4, ..known };
        assert_eq!(judge(ALL, &other, Some(&known), false), Verdict::Handle(WatchOn::Created));
    }

    #[test]
    fn who_was_there_before_is_known_by_the_last_change_of_anything() {
        let since = 1_000_000_000;
        assert!(was_there(&Stat { changed: 900_000_000, ..stat(1, 1) }, since));
        assert!(!was_there(&Stat { changed: 990_000_000, ..stat(1, 1) }, since), "the kernel's clock is behind");
        assert!(!was_there(&Stat { changed: since, modified: 3, born: 2, ..stat(1, 1) }, since), "moved here just now");
    }
}
