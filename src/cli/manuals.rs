//! `schema`, `completions` and `man`: what is generated from the program itself.

use super::args::{Completions, Man, grammar};
use super::{Context, Output, Stop};
use crate::error::Error;

pub(super) fn schema(context: &Context<'_>, output: &mut Output<'_>) -> Result<u8, Stop> {
    writeln!(output.out, "{}", context.sources.schema().trim_end())?;
    Ok(0)
}

pub(super) fn completions(args: &Completions, output: &mut Output<'_>) -> Result<u8, Stop> {
    // The generator panics when a write fails; memory does not fail it.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut grammar(), "supervisor", &mut script);
    output.out.write_all(&script)?;
    Ok(0)
}

pub(super) fn man(args: &Man, output: &mut Output<'_>) -> Result<u8, Stop> {
    let Some(dir) = &args.dir else {
        clap_mangen::Man::new(grammar()).render(output.out)?;
        return Ok(0);
    };
    let written = std::fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(grammar(), dir));
    written.map_err(|error| Error::io("cannot write the manual pages to", dir, &error))?;
    writeln!(output.out, "the manual pages are in {}: see `man {}/supervisor.1`", dir.display(), dir.display())?;
    Ok(0)
}
