use std::os::unix::fs::PermissionsExt;

use super::*;

const PROCFILE: &str = "web: node server.js --port 8080\n";

fn file(facts: &Facts, name: &str, text: &str) -> String {
    let path = facts.dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn the_text_goes_to_stdout_and_what_to_look_at_to_stderr() {
    let facts = Facts::new(&[]);
    let path = file(&facts, "Procfile", "web: node server.js --port $PORT\n");
    let ran = facts.run(&format!("import {path}"));
    assert_eq!(ran.code, Ok(0));
    assert!(ran.out.contains("[service.web]\n") && ran.out.contains("enabled = false\n"), "{}", ran.out);
    assert!(ran.notes.contains("note: web: enabled: it is switched off: PORT is not set"), "{}", ran.notes);
    assert!(
        ran.notes.ends_with("in the text\n") && ran.notes.contains("imported 1 service and 0 tasks"),
        "{}",
        ran.notes
    );
}

#[test]
fn a_new_file_is_private_and_one_that_is_there_stays() {
    let facts = Facts::new(&[]);
    let path = file(&facts, "Procfile", PROCFILE);
    let wanted = facts.dir.path().join("new.toml");
    let line = format!("import {path} --output {}", wanted.display());
    let ran = facts.run(&line);
    assert_eq!((ran.code, ran.out.as_str()), (Ok(0), ""));
    assert!(ran.notes.contains(&format!("imported 1 service and 0 tasks in {}", wanted.display())), "{}", ran.notes);
    assert_eq!(std::fs::metadata(&wanted).unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&wanted).unwrap();
    assert!(text.contains("[service.web]"));

    std::fs::write(&wanted, "mine").unwrap();
    let ran = facts.run(&line);
    let error = ran.code.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Refused);
    assert!(error.message.contains("new.toml") && error.hint.is_some());
    assert_eq!(std::fs::read_to_string(&wanted).unwrap(), "mine");
}

#[test]
fn what_cannot_be_read_is_told_and_the_rest_is_imported() {
    let facts = Facts::new(&[]);
    let good = file(&facts, "Procfile", PROCFILE);
    let bad = file(&facts, "x.plist", "<plist>\n<dict>\n<key>Label</key\n");
    let gone = facts.dir.path().join("gone.plist").display().to_string();
    let folder = facts.dir.path().display().to_string();
    let ran = facts.run(&format!("import {gone} {good} {bad} {folder}"));
    assert_eq!(ran.code, Ok(5));
    assert!(ran.out.contains("[service.web]"), "{}", ran.out);
    for part in [&gone, &format!("{bad}:"), &format!("{folder}: it cannot be read"), "hint: name the files in it"] {
        assert!(ran.notes.contains(part), "{part}: {}", ran.notes);
    }
    // Nothing at all: no text, and no file.
    let wanted = facts.dir.path().join("new.toml");
    let ran = facts.run(&format!("import {bad} -o {}", wanted.display()));
    assert_eq!((ran.code, ran.out.as_str(), wanted.exists()), (Ok(5), "", false));
}

#[test]
fn json_has_notes_faults_and_the_text() {
    let facts = Facts::new(&[]);
    let good = file(&facts, "Procfile", PROCFILE);
    let bad = file(&facts, "ecosystem.config.js", "module.exports = {}");
    let ran = facts.run(&format!("--json import {good} {bad}"));
    assert_eq!((ran.code, ran.notes.as_str()), (Ok(5), ""));
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&json["ok"], &json["services"], &json["output"]), (&json!(false), &json!(1), &Value::Null));
    assert!(json["text"].as_str().unwrap().contains("[service.web]"));
    assert_eq!(json["notes"][0]["unit"], "web");
    assert!(json["faults"][0]["hint"].as_str().unwrap().contains("node -e"));
    // A wrong --format is seen by what is in the file.
    let ran = facts.run(&format!("--json import --format pm2 {good}"));
    assert_eq!(ran.code, Ok(5));
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["faults"][0]["line"], 1);
}
