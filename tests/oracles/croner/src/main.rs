//! What croner says to cron lines: `LINE<TAB>ZONE<TAB>START` on standard input, START in minutes since 1970; the minutes to the next
//! start and from each to the one after on standard output, or why there are none.

use std::io::{BufRead, Write};

use croner::Cron;
use jiff::{Timestamp, tz::TimeZone};

fn answer(request: &str) -> Result<String, String> {
    let mut parts = request.split('\t');
    let (Some(line), Some(zone), Some(start)) = (parts.next(), parts.next(), parts.next()) else {
        return Err("no request".into());
    };
    let cron: Cron = line.parse().map_err(|e| format!("{e:?}"))?;
    let zone = TimeZone::get(zone).map_err(|e| e.to_string())?;
    let mut last: i64 = start.parse().map_err(|_| "no start")?;
    let mut steps = Vec::new();
    for _ in 0..3 {
        let from = Timestamp::from_second(last * 60).map_err(|e| e.to_string())?.to_zoned(zone.clone());
        let next = cron.find_next_occurrence(&from, false).map_err(|e| format!("{e:?}"))?.timestamp().as_second() / 60;
        steps.push((next - last).to_string());
        last = next;
    }
    Ok(steps.join(","))
}

fn main() {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for request in std::io::stdin().lock().lines() {
        let answer = answer(&request.expect("text")).unwrap_or_else(|why| format!("error {why}"));
        writeln!(out, "{answer}").expect("a pipe that is read");
    }
}
