//! How endpoints are used.

use crate::api_keys::ApiKeys;
use std::time::Duration;

/// The settings of all endpoints of a run.
#[derive(Debug, Clone)]
pub(crate) struct EndpointSettings {
    pub(crate) keys: ApiKeys,
    /// Maximum number of concurrent calls, per endpoint and model.
    pub(crate) in_flight: usize,
    /// Maximum time of one call.
    pub(crate) timeout: Duration,
    /// How long no endpoint may give a successful response before the run stops.
    pub(crate) patience: Duration,
    /// With provider batches: the pause between two looks at a batch.
    pub(crate) batch_poll: Option<Duration>,
}
