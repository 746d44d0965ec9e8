//! On Linux with glibc the unwinder is linked in rather than loaded: every command line would load libgcc_s.so.1 otherwise,
//! whose first act asks the processor what it is, which a virtual machine answers slowly. It cost 0.2 ms of the 1.65 ms of
//! `status` (2 cores, virtual machine, 300 calls each). Where the compiler has no static unwinder, all stays as usual.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let is = |key: &str, value: &str| std::env::var(key).is_ok_and(|found| found == value);
    let native = std::env::var("HOST").ok() == std::env::var("TARGET").ok();
    if !native || !is("CARGO_CFG_TARGET_OS", "linux") || !is("CARGO_CFG_TARGET_ENV", "gnu") || !has_static_unwinder() {
        return;
    }
    let Some(out) = std::env::var_os("OUT_DIR").map(PathBuf::from) else { return };
    // std asks for `gcc_s`; a linker script of that name stands in for it (ld, "Implicit Linker Scripts").
    if std::fs::write(out.join("libgcc_s.so"), "INPUT(-lgcc_eh -lgcc)\n").is_ok() {
        println!("cargo:rustc-link-search=native={}", out.display());
    }
}

#[expect(clippy::disallowed_methods, reason = "asks the compiler that links us")]
fn has_static_unwinder() -> bool {
    let found = Command::new("cc").arg("-print-file-name=libgcc_eh.a").output();
    // The name alone comes back where there is none.
    found.is_ok_and(|found| Path::new(String::from_utf8_lossy(&found.stdout).trim()).is_absolute())
}
