//! Secrets: read each time they are needed, held for one delivery, and shown to nobody.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use crate::model::SecretSpec;
use crate::policy::redact;
use crate::process::command;

/// The largest file that is taken for a secret, bytes.
const MOST: u64 = 64 << 10;

/// Reads it, without the line end that an editor leaves. The keychain, which may ask the person at the screen first, has until
/// `limit`. The error names the place, and what to do.
pub(super) fn read(spec: &SecretSpec, limit: Duration) -> Result<String, String> {
    let place = place(spec);
    let text = match spec {
        SecretSpec::File(path) => file(path)?,
        SecretSpec::Env(name) => std::env::var(name).map_err(|_| {
            format!("{place} is not set in the environment of the daemon: set it in the daemon's job, or use a file")
        })?,
        SecretSpec::Keychain(name) => keychain(name, limit)?,
    };
    let text = text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
    if text.trim().is_empty() {
        return Err(format!("{place} is empty: put the secret into it"));
    }
    if text.chars().any(char::is_control) {
        return Err(format!("{place} holds more than one line: leave only the secret in it"));
    }
    Ok(text.to_owned())
}

/// Reads one that is kept in a file, for who serves: without the line end that an editor leaves.
///
/// # Errors
/// In words: the place, and what to do.
pub fn read_file(path: &Path) -> Result<String, String> {
    read(&SecretSpec::File(path.to_owned()), Duration::ZERO)
}

/// Where it is kept, in words.
fn place(spec: &SecretSpec) -> String {
    match spec {
        SecretSpec::File(path) => format!("the secret file {}", path.display()),
        SecretSpec::Env(name) => format!("the variable {name}"),
        SecretSpec::Keychain(name) => format!("the keychain's entry {name:?}"),
    }
}

fn file(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let data = std::fs::metadata(path).map_err(|e| format!("the secret file {shown} cannot be read: {e}"))?;
    if !data.is_file() {
        return Err(format!("the secret file {shown} is not a regular file: write one"));
    }
    if data.uid() != nix::unistd::geteuid().as_raw() {
        return Err(format!("the secret file {shown} belongs to another user: make one of your own"));
    }
    if data.mode() & 0o077 != 0 {
        return Err(format!("the secret file {shown} can be read by others: run: chmod 600 {shown}"));
    }
    if data.len() > MOST {
        return Err(format!("the secret file {shown} is {} bytes long, and no secret is: name another", data.len()));
    }
    std::fs::read_to_string(path).map_err(|e| format!("the secret file {shown} cannot be read: {e}"))
}

fn keychain(name: &str, limit: Duration) -> Result<String, String> {
    if !cfg!(target_os = "macos") {
        return Err(format!("the keychain's entry {name:?} is only there on macOS: use a file or a variable"));
    }
    let arguments = ["find-generic-password", "-s", name, "-w"];
    match command::run(Path::new("/usr/bin/security"), &arguments, &[], limit) {
        Ok(done) if done.is_good() => Ok(done.stdout),
        // It answers 44 when there is no such entry; what it says then has no secret in it.
        Ok(done) => Err(format!(
            "the keychain's entry {name:?} cannot be read ({}): add it with: security add-generic-password -s NAME -a USER -w",
            redact(done.stderr.trim())
        )),
        // What it had said by then may be the secret.
        Err(e) if e.is_missing() => Err("/usr/bin/security is not there, and reads the keychain".to_owned()),
        Err(_) => Err(format!(
            "the keychain's entry {name:?} was not read within {} s: unlock the keychain, and allow `security` to read it",
            limit.as_secs_f64()
        )),
    }
}

/// `text` as it may be shown: bounded, on one line, and without any of these secrets.
pub(super) fn shut(text: &str, secrets: &[&str]) -> String {
    let mut shut = text.to_owned();
    // The shortest would be found in ordinary words.
    for secret in secrets.iter().filter(|secret| secret.len() >= 4) {
        shut = shut.replace(secret, "[redacted]");
    }
    let shut = redact(&shut);
    match shut.char_indices().nth(500) {
        Some((end, _)) => format!("{}...", &shut[..end]),
        None => shut,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn a_file_is_read_when_it_is_ours_and_for_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let spec = SecretSpec::File(path.clone());
        let read_as = |text: &str, mode: u32| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            read(&spec, LONG)
        };
        assert!(read(&spec, LONG).unwrap_err().contains("cannot be read"));
        assert_eq!(read_as("hunter2\r\n", 0o600).unwrap(), "hunter2");
        assert_eq!(read_as(" hunter2 ", 0o400).unwrap(), " hunter2 ");
        for (text, mode, why) in [
            ("hunter2", 0o644, "run: chmod 600 /"),
            ("hunter2", 0o620, "run: chmod 600 /"),
            ("\n", 0o600, "is empty"),
            ("hunter2\n\n", 0o600, "more than one line"),
            (&"x".repeat(100_000), 0o600, "100000 bytes"),
        ] {
            let error = read_as(text, mode).unwrap_err();
            assert!(error.contains(why) && error.contains(path.to_str().unwrap()), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        let error = read(&SecretSpec::File(folder.path().to_owned()), LONG).unwrap_err();
        assert!(error.contains("not a regular file"), "{error}");
    }

    #[test]
    fn variables_and_the_keychain() {
        // Cargo sets it for tests.
        assert_eq!(read(&SecretSpec::Env("CARGO_PKG_NAME".into()), LONG).unwrap(), "supervisor");
        let error = read(&SecretSpec::Env("NO_SUCH_VARIABLE".into()), LONG).unwrap_err();
        assert!(error.contains("NO_SUCH_VARIABLE is not set"), "{error}");
        let error = read(&SecretSpec::Keychain("no such entry".into()), LONG).unwrap_err();
        assert!(error.contains("no such entry"), "{error}");
    }

    #[test]
    fn a_text_is_shut() {
        assert_eq!(shut("it said hunter2\nand hunter2", &["hunter2"]), "it said [redacted] and [redacted]");
        assert!(shut(&"word ".repeat(1000), &[]).len() < 600);
    }
}
