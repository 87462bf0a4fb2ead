//! (room under construction)

use crate::config::Config;

/// Why the server does not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum AppError {}

/// Serves until told to stop.
pub async fn serve(_config: Config) -> Result<(), AppError> {
    Ok(())
}
