//! Requests of people, who try one out: served like those inside a tunnel, by whom is known already.

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite};

use super::client_auth::Caller;
use super::context::Door;
use super::service::{self, Place};
use crate::origin::Origin;
use crate::secret::{OrganizationName, RunnerName};

impl Door {
    /// Serves one connection whose requests are all for `origin`, on behalf of `runner`, or of one of the
    /// `organization` without limits of its own. Whoever calls this has made sure that they may.
    /// `false` if there is no such runner.
    pub async fn welcome_errand<S>(
        self,
        stream: S,
        origin: Origin,
        organization: &OrganizationName,
        runner: Option<&RunnerName>,
    ) -> bool
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let _busy = self.shared.drain.busy();
        let Some(caller) = Caller::vouched_for(&self.shared, organization, runner) else { return false };
        let place = Place::Inside { origin, caller: Box::new(caller), misdirected: None };
        service::serve(self, stream, BytesMut::new(), place).await;
        true
    }
}
