//! The programs that are measured, built as they are shipped.

use std::path::{Path, PathBuf};
use std::process::Command;

pub struct Programs {
    pub ours: PathBuf,
    pub floor: PathBuf,
    pub svc: PathBuf,
}

impl Programs {
    /// Builds them with the profile that this harness was built with. Ours too, over the one that came with the harness: what
    /// `cargo bench` builds unwinds, what is shipped aborts.
    pub fn build() -> Self {
        Self { ours: ours(), floor: example("floor"), svc: example("svc") }
    }
}

/// The supervisor.
pub fn ours() -> PathBuf {
    cargo(&["build", "--bin", "supervisor"], &[]).expect("supervisor does not build");
    PathBuf::from(env!("CARGO_BIN_EXE_supervisor"))
}

/// One of the examples.
pub fn example(name: &str) -> PathBuf {
    build_example(name);
    Path::new(env!("CARGO_BIN_EXE_supervisor")).with_file_name("examples").join(name)
}

/// Statically where that can be: the dynamic loader takes about as long as the whole rest of so small a program's start.
fn build_example(name: &str) {
    let build = ["rustc", "--example", name];
    let fixed = ["-C", "target-feature=+crt-static", "-C", "relocation-model=static"];
    if cfg!(target_os = "linux") {
        let Err(why) = cargo(&build, &fixed) else { return };
        eprintln!("{why}\n{name} cannot be linked statically here (is there no libc.a?): its starts take longer");
    }
    cargo(&build, &[]).expect("an example does not build");
}

#[expect(clippy::disallowed_methods, reason = "a benchmark starts programs")]
fn cargo(words: &[&str], rustc: &[&str]) -> Result<(), String> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Where this harness was built, wherever it is run.
    let folder = Path::new(env!("CARGO_BIN_EXE_supervisor")).parent().expect("the profile's folder");
    let profile = match folder.file_name().and_then(|name| name.to_str()).expect("the profile's name") {
        "debug" => "dev",
        name => name,
    };
    command
        .args(words)
        .args(["--quiet", "--profile", profile, "--target-dir"])
        .arg(folder.parent().expect("the target folder"));
    command.arg("--manifest-path").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
    if !rustc.is_empty() {
        command.arg("--").args(rustc);
    }
    let output = command.output().map_err(|e| e.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}
