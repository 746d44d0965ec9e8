use proptest::prelude::*;

use super::*;
use crate::alert::testing::{digest, notice};
use crate::model::NoticeKind;

/// The longest that Slack could take a text to be.
fn counted(text: &str) -> usize {
    text.chars().map(length).sum()
}

/// Holds a payload against what Slack documents of webhooks and Block Kit, and against nothing being read as a mark.
fn check(payload: &Value) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{what}: {payload}"));
    let text = payload["text"].as_str().unwrap_or_default();
    if text.trim().is_empty() || text.len() > 40_000 {
        return wrong("no text, or too long");
    }
    // Whatever begins a mark or an entity is one of the three entities.
    let entities = ["&amp;", "&lt;", "&gt;"];
    let marks = entities.iter().fold(text.to_owned(), |text, entity| text.replace(entity, ""));
    if marks.contains(['<', '>', '&']) || payload["mrkdwn"] != json!(false) {
        return wrong("the text has marks");
    }
    let Some(blocks) = payload.get("blocks") else { return Ok(()) };
    let blocks = blocks.as_array().unwrap();
    if blocks.is_empty() || blocks.len() > 50 || payload["blocks"].to_string().len() > 100_000 {
        return wrong("blocks");
    }
    let plain = |object: &Value, most: usize| {
        let text = object["text"].as_str().unwrap_or_default();
        object["type"] == "plain_text" && object["emoji"] == json!(false) && !text.is_empty() && counted(text) <= most
    };
    for block in blocks {
        let well = match block["type"].as_str().unwrap() {
            "header" => plain(&block["text"], 150),
            "section" => plain(&block["text"], 3000),
            "context" => {
                let elements = block["elements"].as_array().unwrap();
                (1..=10).contains(&elements.len()) && elements.iter().all(|element| plain(element, 3000))
            }
            "rich_text" => block["elements"].as_array().unwrap().iter().all(|element| {
                let texts = element["elements"].as_array().unwrap();
                element["type"] == "rich_text_preformatted"
                    && texts.iter().all(|text| {
                        text["type"] == "text"
                            && text["text"].as_str().is_some_and(|t| !t.trim().is_empty() && counted(t) <= 3000)
                    })
            }),
            _ => false,
        };
        if !well {
            return wrong(&format!("block {block}"));
        }
    }
    let sum: usize = blocks.iter().map(|block| counted(&block.to_string())).sum();
    if sum > 20_000 { wrong("all blocks together") } else { Ok(()) }
}

fn both(message: &Message) -> Result<(Value, Value), String> {
    let both = (rich(message, "mac"), plain(message, "mac"));
    check(&both.0).and_then(|()| check(&both.1)).map(|()| both)
}

#[test]
fn an_alert_has_its_parts() {
    let (rich, plain) = both(&Message::One(Box::new(notice(NoticeKind::Fired)))).unwrap();
    let blocks = rich["blocks"].as_array().unwrap();
    let kinds: Vec<&str> = blocks.iter().map(|block| block["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["header", "section", "rich_text", "context"]);
    assert!(blocks[2].to_string().contains("listen EADDRINUSE"));
    assert!(
        blocks[3].to_string().contains("0123456789ab.0") && plain["text"].as_str().unwrap().contains("0123456789ab.0")
    );
    let resolved = both(&Message::One(Box::new(notice(NoticeKind::Resolved)))).unwrap().0;
    assert!(resolved["text"].as_str().unwrap().starts_with("Resolved: "), "{resolved}");
}

#[test]
fn a_digest_has_a_line_and_the_key_of_each() {
    for count in [2, 40, 200] {
        let message = digest(count);
        let (rich, plain) = both(&message).unwrap();
        let blocks = rich["blocks"].as_array().unwrap().iter();
        let texts: String = blocks.filter_map(|block| block["text"]["text"].as_str()).flat_map(|t| [t, "\n"]).collect();
        for text in [texts.as_str(), plain["text"].as_str().unwrap()] {
            let words: std::collections::BTreeSet<&str> = text.split_whitespace().collect();
            assert!(message.notices().iter().all(|notice| words.contains(notice.key.as_str())), "{text}");
            assert_eq!(text.matches('\u{2022}').count(), count);
        }
    }
}

#[test]
fn marks_are_words() {
    let mut bad = notice(NoticeKind::Fired);
    bad.alert.title = "<!channel> @here <https://x|y> *b* :tada: &lt;".into();
    bad.alert.tail = vec!["```".into(), "<!here>".into(), "<@U1> & co".into()];
    bad.alert.facts = vec!["_i_ ~s~ `c` <#C1>".into()];
    let (rich, plain) = both(&Message::One(Box::new(bad))).unwrap();
    assert!(rich["text"].as_str().unwrap().starts_with("&lt;!channel&gt; @here"));
    assert!(plain["text"].as_str().unwrap().contains("&lt;@U1&gt; &amp; co"));
    assert_eq!(rich["blocks"][2]["elements"][0]["elements"][0]["text"], "```\n<!here>\n<@U1> & co");
}

fn nasty() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        proptest::sample::select(vec![
            "<!channel>",
            "<",
            ">",
            "&",
            "&amp;",
            "```",
            "`",
            "*",
            "_",
            "~",
            "@here",
            ":tada:",
            "<https://a|b>",
            "\u{202e}",
            "😀",
            "👩\u{200d}🚀",
            "日本語",
            "\0",
            "\x1b[31m",
            "\n",
            " ",
            "\\",
            "\"",
            "\u{feff}",
        ])
        .prop_map(str::to_owned),
        "[a-z ]{0,40}",
        "\\PC{0,20}",
    ];
    (proptest::collection::vec(piece, 0..12), 1..120_usize).prop_map(|(pieces, times)| pieces.concat().repeat(times))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_a_service_says_it_fits(
        title in nasty(), tail in proptest::collection::vec(nasty(), 0..20), facts in proptest::collection::vec(nasty(), 0..5),
        kind in proptest::sample::select(vec![NoticeKind::Fired, NoticeKind::Reminder, NoticeKind::Resolved]),
    ) {
        let mut notice = notice(kind);
        (notice.alert.title, notice.alert.tail, notice.alert.facts) = (title, tail, facts);
        let one = both(&Message::One(Box::new(notice.clone())));
        prop_assert!(one.is_ok(), "{:?}", one);
        let many = both(&Message::Digest { key: "d".into(), notices: vec![notice; 30] });
        prop_assert!(many.is_ok(), "{:?}", many);
    }
}
