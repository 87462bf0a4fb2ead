//! `subrosa demo`: see it at work.

use super::error::CliError;

/// Not built yet.
pub(super) async fn run() -> Result<(), CliError> {
    Err(CliError::failed("the demo is not built yet"))
}
