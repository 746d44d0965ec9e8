//! Values in the forms that services.toml has for them, typed on the command line.

use std::time::Duration;

use super::units::{self, Wrong};
use crate::error::{Error, ErrorKind};

/// `10MB/h`, as bytes per hour; `option` is named in the error.
pub fn typed_rate(option: &str, text: &str) -> Result<u64, Error> {
    units::rate(text).map_err(|wrong| told(option, wrong))
}

/// `3GiB`, as bytes; `option` is named in the error.
pub fn typed_size(option: &str, text: &str) -> Result<u64, Error> {
    units::size(text).map_err(|wrong| told(option, wrong))
}

/// `24h`; `option` is named in the error.
pub fn typed_duration(option: &str, text: &str) -> Result<Duration, Error> {
    units::duration(text).map_err(|wrong| told(option, wrong))
}

fn told(option: &str, wrong: Wrong) -> Error {
    let error = Error::new(ErrorKind::Usage, format!("{option}: {}", wrong.message));
    match wrong.help {
        Some(help) => error.hint(help),
        None => error,
    }
}
