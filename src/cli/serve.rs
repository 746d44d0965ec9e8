//! `serve`: a service that is part of this binary. Its runner starts it.

use clap::Args;

use super::{Context, Output, Stop, error_text, names};
use crate::error::{Error, ErrorKind};
use crate::model::{Builtin, Program};
use crate::{emit, watch};

/// `serve`
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Serve {
    /// Which service
    #[arg(value_name = "NAME")]
    pub name: String,
}

/// A runner holds a service that ends so, and starts it again when something has changed (sysexits.h: EX_CONFIG).
const HOLD: u8 = 78;

pub(super) fn run(args: &Serve, context: &Context<'_>, output: &mut Output<'_>) -> Result<u8, Stop> {
    let place = context.place();
    if let Some(fault) = place.fault() {
        return Err(fault.into());
    }
    let Some(fleet) = place.fleet() else { return Ok(ErrorKind::Config.exit_code()) };
    let name = names::one(&args.name)?;
    let wrong = |message: String| Error::new(ErrorKind::Usage, message);
    let spec = fleet.service(&name).ok_or_else(|| wrong(format!("services.toml has no service called {name}")))?;
    let Program::Builtin(builtin) = spec.program else {
        let message = format!("service {name} is no program that is part of this one");
        return Err(wrong(message).hint(format!("`supervisor start {name}` has it started")).into());
    };
    let serve = match builtin {
        Builtin::EmitServer => emit::serve,
        Builtin::FileWatcher => watch::serve,
    };
    match serve(spec, &place.paths) {
        Ok(()) => Ok(0),
        Err(error) if error.kind == ErrorKind::Refused => {
            output.notes.write_all(error_text(&error, context.json).as_bytes())?;
            Ok(HOLD)
        }
        Err(error) => Err(error.into()),
    }
}
