//! `subrosa serve`: start the proxy.

use super::error::CliError;
use crate::app;
use crate::config::Config;

/// Serves until told to stop.
pub(super) async fn run(config: Config) -> Result<(), CliError> {
    Ok(app::serve(config).await?)
}
