use super::*;
use crate::model::testing::Numbers;

#[test]
fn forms_that_are_taken() {
    for good in [
        "daily 07:55",
        "Mon..Fri 22:00",
        "Fri..Mon 00:00",
        "Mon,Wed,Fri 08:00",
        "Sun 23:59",
        "mon..tue,sat 01:02",
        "weekly Sun 03:00",
        "monthly 31 09:00",
        "every 6h",
        "every 1h30m",
        "55 7 * * *",
        "*/15 0-6/2 1,15 jan-MAR sun",
        "0 0 29 2 *",
        "0 0 31 2 mon",
        "5/10 * * * 7",
    ] {
        assert!(words(good).is_ok(), "{good}");
    }
}

#[test]
fn what_they_say_as_tables() {
    // hour, minute, day, weekday, month; None is 99.
    let said = |text: &str| -> Vec<[u8; 5]> {
        let tables = words(text).unwrap().1.unwrap_or_default();
        let or = |number: Option<u8>| number.unwrap_or(99);
        tables.iter().map(|t| [or(t.hour), or(t.minute), or(t.day), or(t.weekday), or(t.month)]).collect()
    };
    assert_eq!(said("daily 07:55"), [[7, 55, 99, 99, 99]]);
    assert_eq!(said("weekly Sun 03:00"), [[3, 0, 99, 0, 99]]);
    assert_eq!(said("monthly 31 09:00"), [[9, 0, 31, 99, 99]]);
    assert_eq!(said("Fri..Mon 00:00").iter().map(|t| t[3]).collect::<Vec<_>>(), [0, 1, 5, 6]);
    assert_eq!(said("mon..tue,sat 01:02"), [[1, 2, 99, 1, 99], [1, 2, 99, 2, 99], [1, 2, 99, 6, 99]]);
    assert_eq!(said("Mon..Sun 01:02"), said("daily 01:02"));
    assert_eq!(said("every 6h").iter().map(|t| t[0]).collect::<Vec<_>>(), [0, 6, 12, 18]);
    assert_eq!(said("every 20m"), [[99, 0, 99, 99, 99], [99, 20, 99, 99, 99], [99, 40, 99, 99, 99]]);
    assert_eq!(said("every 1h30m").last(), Some(&[22, 30, 99, 99, 99]));
    assert_eq!(said("every 24h"), [[0, 0, 99, 99, 99]]);
    assert_eq!(words("every 7h").unwrap().1, None, "it would begin anew each midnight");
    assert_eq!(said("55 7 * * *"), said("daily 07:55"));
    assert_eq!(said("0 3 * * 7"), said("weekly Sun 03:00"));
    assert_eq!(said("0 0 31 2 mon"), [[0, 0, 31, 1, 2]]);
    assert_eq!(said("*/30 1-2 1 * *").len(), 4);
    assert_eq!(words("0-58 0-22 1-30 * *").unwrap().1, None, "more than anybody reads");
}

#[test]
fn forms_that_are_not_and_why() {
    for (bad, word) in [
        ("", "not understood"),
        ("daily", "not complete"),
        ("daily 7:55", "\"7:55\" is no time"),
        ("daily 24:00", "no time of day"),
        ("daily 07:60", "no time of day"),
        ("daily 07:55 08:55", "more than belongs"),
        ("hourly 00:05", "no day of the week"),
        ("sunday 03:00", "no day of the week"),
        ("Mon..Fry 03:00", "\"Fry\""),
        ("Mon, 03:00", "no day of the week"),
        ("weekly 03:00", "not complete"),
        ("monthly 0 09:00", "no day of a month"),
        ("monthly 32 09:00", "no day of a month"),
        ("monthly +1 09:00", "no day of a month"),
        ("every 90s", "whole minutes"),
        ("every 25h", "1m to 24h"),
        ("every 6", "has no unit"),
        ("every 0m", "1m to 24h"),
        ("60 * * * *", "cron minute"),
        ("* 24 * * *", "cron hour"),
        ("* * 0 * *", "cron day"),
        ("* * * 13 *", "cron month"),
        ("* * * * 8", "cron weekday"),
        ("*/0 * * * *", "cron minute"),
        ("9-3 * * * *", "ends before"),
        ("1,,2 * * * *", "cron minute"),
        ("0 0 31 2 *", "never run"),
        ("0 0 31 4,6 *", "never run"),
        ("* * * *", "not understood"),
        ("* * * * * *", "not understood"),
    ] {
        let found = words(bad).unwrap_err();
        assert!(found.wrong.message.contains(word), "{bad}: {}", found.wrong.message);
        assert!(bad.get(found.part.clone()).is_some(), "{bad}: {:?}", found.part);
    }
}

/// What stands in quotes in a help text.
fn examples(help: &str) -> Vec<&str> {
    help.split('"').skip(1).step_by(2).collect()
}

#[test]
fn each_malformed_form_is_answered_with_one_near_it_that_works_and_a_caret_at_the_part() {
    for (bad, part, wanted) in [
        ("daily 7:55", "7:55", "daily 07:55"),
        ("daily 24:00", "24:00", "daily 00:00"),
        ("daily 07:60", "07:60", "daily 07:00"),
        ("daily 07:55:00", "07:55:00", "daily 07:55"),
        ("daily 0755", "0755", "daily 07:55"),
        ("daily at 7pm", "daily at 7pm", "daily 19:00"),
        ("daily", "daily", "daily 00:00"),
        ("DAILY 7", "7", "daily 07:00"),
        ("sunday 03:00", "sunday", "weekly Sun 03:00"),
        ("weekly Sunday 3am", "Sunday", "weekly Sun 03:00"),
        ("weekly 03:00", "weekly 03:00", "weekly Sun 03:00"),
        ("Mon-Fri 22:00", "Mon-Fri", "Mon..Fri 22:00"),
        ("Mon..Fry 22:00", "Fry", "Mon..Fri 22:00"),
        ("Mon, Wed 22:00", "Mon, Wed 22:00", "Mon,Wed 22:00"),
        ("Mon to Fri 22:00", "Mon to Fri 22:00", "Mon..Fri 22:00"),
        ("weekdays 09:00", "weekdays", "Mon..Fri 09:00"),
        ("weekends 9:00", "weekends", "Sat,Sun 09:00"),
        ("every monday 7:00", "every monday 7:00", "weekly Mon 07:00"),
        ("every day at 7", "every day at 7", "daily 07:00"),
        ("monthly 1st 9:00", "1st", "monthly 1 09:00"),
        ("monthly 32 09:00", "32", "monthly 31 09:00"),
        ("monthly 09:00", "monthly 09:00", "monthly 1 09:00"),
        ("every 90s", "90s", "every 2m"),
        ("every 25h", "25h", "every 24h"),
        ("every 6", "6", "every 6h"),
        ("every 0m", "0m", "every 1m"),
        ("every 30 minutes", "every 30 minutes", "every 30m"),
        ("every hour", "hour", "every 1h"),
        ("hourly", "hourly", "every 1h"),
        ("@daily", "@daily", "daily 00:00"),
        ("@monthly", "@monthly", "monthly 1 00:00"),
        ("noon", "noon", "daily 12:00"),
        ("at 7", "at", "daily 07:00"),
        ("7am", "7am", "daily 07:00"),
        ("07:55", "07:55", "daily 07:55"),
        ("0 55 7 * * *", "0 55 7 * * *", "55 7 * * *"),
        ("55 7 * * * 2027", "55 7 * * * 2027", "55 7 * * *"),
        ("0 55 7 ? * mon 2027", "0 55 7 ? * mon 2027", "55 7 * * mon"),
        ("55 7 * *", "55 7 * *", "55 7 * * *"),
        ("55 7 ? * mon", "?", "55 7 * * mon"),
        ("0 0 31 2 *", "31 2", "0 0 28 2 *"),
        ("0  0 31 4,jun *", "31 4,jun", "0 0 30 4,jun *"),
        ("60 24 0 13 8", "60", "0 0 1 12 7"),
        ("0 22-6 * * *", "22-6", "0 22-23,0-6 * * *"),
        ("*/0 * * * *", "*/0", "* * * * *"),
        ("1,,2 * * * *", "1,,2", "1,2 * * * *"),
        ("0 7 * * monday", "monday", "0 7 * * mon"),
        ("dayly 07:55", "dayly", "daily 07:55"),
        ("dayly", "dayly", "daily 00:00"),
        ("evry 6h", "evry", "every 6h"),
        ("Weeky Sun 3am", "Weeky Sun 3am", "weekly Sun 03:00"),
        ("montly 1 09:00", "montly 1 09:00", "monthly 1 09:00"),
    ] {
        let found = words(bad).unwrap_err();
        let help = found.wrong.help.unwrap();
        assert_eq!((bad, &bad[found.part], examples(&help).as_slice()), (bad, part, [wanted].as_slice()));
        assert!(words(wanted).is_ok(), "{wanted}");
    }
    // Several times are several entries.
    for (bad, wanted) in [
        ("daily 07:55, 12:00", ["daily 07:55", "daily 12:00"].as_slice()),
        ("daily 07:55 08:55", &["daily 07:55", "daily 08:55"]),
        ("7:55,12:00,19:00", &["daily 07:55", "daily 12:00", "daily 19:00"]),
        ("Mon..Fri 9am and 5pm", &["Mon..Fri 09:00", "Mon..Fri 17:00"]),
    ] {
        let help = words(bad).unwrap_err().wrong.help.unwrap();
        assert_eq!(examples(&help), wanted, "{bad}: {help}");
    }
    // Where nothing is near, all forms are shown, and each can be typed.
    for bad in ["", "soon", "@reboot", "L", "\u{e9}\u{e9} \u{e9}", "every \u{2665}", "* * * * q"] {
        let help = words(bad).unwrap_err().wrong.help.unwrap();
        assert!(!examples(&help).is_empty(), "{bad}: {help}");
        for example in examples(&help) {
            assert!(words(example).is_ok(), "{bad}: {example}");
        }
    }
}

#[test]
fn any_text_is_read_or_answered() {
    let mut numbers = Numbers(11);
    let pieces = [
        "daily",
        "weekly",
        "every",
        "monthly",
        "mon",
        "Fri",
        "..",
        "-",
        ",",
        "/",
        "*",
        "7",
        "24",
        "0",
        "31",
        "2",
        "61",
        ":",
        "55",
        "am",
        " ",
        "\t",
        "@",
        "?",
        "\u{e9}",
        "h",
        "s",
        "\u{2026}",
        "99999999999",
        "month",
        "at",
    ];
    for _ in 0..20_000 {
        let text: String = (0..numbers.below(9)).map(|_| pieces[numbers.below(pieces.len())]).collect();
        if let Err(found) = words(&text) {
            assert!(text.get(found.part).is_some(), "{text:?}");
            let help = found.wrong.help.unwrap();
            assert!(examples(&help).iter().all(|example| words(example).is_ok()), "{text:?}: {help}");
        }
    }
}

#[test]
fn what_runs_in_both_halves_of_a_fold() {
    let fields = |text: &str| match words(text).unwrap().0 {
        CalendarRule::Fields(fields) => fields,
        CalendarRule::Every { .. } => panic!("{text}"),
    };
    for (text, stepped) in [
        ("daily 02:30", false),
        ("30 2 * * *", false),
        ("0-30/10 2 * * *", true),
        ("30 2,3 * * *", false),
        ("30 2-2 * * *", false),
        ("30 2-3 * * *", true),
        ("*/10 2 * * *", true),
        ("30 */2 * * *", true),
        ("30 * * * *", true),
        ("30 0-23 * * *", true),
    ] {
        assert_eq!(fields(text).stepped, stepped, "{text}");
    }
    // Also where there are too many tables.
    let (rule, tables) = words("0-58 0-22 1-30 * 7").unwrap();
    assert_eq!(tables, None);
    let CalendarRule::Fields(fields) = rule else { panic!("{rule:?}") };
    assert_eq!((fields.minutes, fields.hours, fields.days), ((1 << 59) - 1, 0x7f_ffff, 0x7fff_fffe));
    assert_eq!((fields.months, fields.weekdays), (0x1ffe, 1));
    assert_eq!(words("every 90m").unwrap().0, CalendarRule::Every { minutes: 90 });
    assert_eq!(words("every 7h").unwrap().0, CalendarRule::Every { minutes: 420 });
}

#[test]
fn tables_that_never_come_true() {
    let entry = |day, month, weekday| CalendarTable { day, month, weekday, ..CalendarTable::default() };
    assert!(table(&CalendarTable::default()).is_err());
    assert!(table(&entry(Some(31), Some(4), None)).is_err());
    let help = table(&entry(Some(30), Some(2), None)).unwrap_err().help.unwrap();
    assert_eq!(help, "write { day = 28, month = 2 }");
    assert_eq!(table(&entry(Some(29), Some(2), None)), Ok(()));
    assert_eq!(table(&entry(Some(31), Some(4), Some(1))), Ok(()));
}
