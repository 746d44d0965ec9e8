//! Values in the forms and bounds that a memory table has for them, typed on the command line.

use std::time::Duration;

use super::units::{self, Wrong};
use super::{bounds, memory};
use crate::error::{Error, ErrorKind};

/// `10MB/h`, as bytes per hour, within the bounds of `growth`; `option` is named in the error.
pub fn typed_rate(option: &str, text: &str) -> Result<u64, Error> {
    units::growth(text).map_err(|wrong| told(option, wrong))
}

/// `3GiB`, as bytes, within the bounds of `limit` and `plateau`; `option` is named in the error.
pub fn typed_size(option: &str, text: &str) -> Result<u64, Error> {
    units::size_within(text, memory::SIZES).map_err(|wrong| told(option, wrong))
}

/// `24h`, within the bounds of `recycle`; `option` is named in the error.
pub fn typed_duration(option: &str, text: &str) -> Result<Duration, Error> {
    units::duration_within(text, &bounds::RECYCLE).map_err(|wrong| told(option, wrong))
}

fn told(option: &str, wrong: Wrong) -> Error {
    let error = Error::new(ErrorKind::Usage, format!("{option}: {}", wrong.message));
    match wrong.help {
        Some(help) => error.hint(help),
        None => error,
    }
}
