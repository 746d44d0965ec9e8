//! Traces as files that other programs can score: `t_seconds,rss_bytes,pid`, and a manifest with the labels.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::trace::{Group, MIB, Trace};

/// Writes one trace, compressed where the system can; the answer is its entry in the manifest.
pub fn write(out: &Path, trace: &Trace) -> Result<Value, String> {
    let mut text = String::from("t_seconds,rss_bytes,pid\n");
    for sample in &trace.samples {
        let _ = writeln!(text, "{},{},{}", sample.t, sample.bytes, sample.pid);
    }
    let plain = format!("{}.csv", trace.name);
    let path = out.join(&plain);
    std::fs::write(&path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    let file = if gzip(&path) { format!("{plain}.gz") } else { plain };
    Ok(entry(trace, file))
}

#[expect(clippy::disallowed_methods, reason = "a test that hands its data on, on request")]
fn gzip(path: &Path) -> bool {
    let done = Command::new("gzip").arg("-nf").arg(path).stderr(Stdio::null()).status();
    done.is_ok_and(|status| status.success())
}

fn entry(trace: &Trace, file: String) -> Value {
    let rounded = |x: f64| (x * 100.0).round() / 100.0;
    let mut entry = json!({
        "file": file,
        "cls": trace.class,
        "group": trace.group.to_string(),
        "service": trace.service,
        "threshold_class": trace.threshold_class(),
        "leak": trace.leak.is_some(),
        "base_mb": rounded(trace.base),
        "samples": trace.samples.len(),
        "hours": trace.hours,
        "sigma_nuisance_mb": rounded(trace.sigma),
        "restarts": trace.restarts,
        "time_scale": 1,
        "source": "synthetic",
        "ambiguous": trace.group == Group::Ambiguous,
        "mb_bytes": MIB,
    });
    if let Some(leak) = trace.leak {
        entry["onset_s"] = json!(leak.onset);
        entry["slope_mb_h"] = json!(rounded(leak.slope));
        entry["ideal_delay_h"] = json!(rounded(leak.ideal));
    }
    entry
}

/// Writes the labels of all.
pub fn manifest(out: &Path, entries: &[Value]) -> Result<(), String> {
    let path = out.join("manifest.json");
    let text = serde_json::to_string_pretty(entries).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    std::fs::write(&path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))
}
