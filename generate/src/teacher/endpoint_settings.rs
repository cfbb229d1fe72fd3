//! How endpoints are used.

use super::request_settings::RequestSettings;
use crate::api_keys::ApiKeys;
use std::time::Duration;

/// The settings of all endpoints of a run, and of the requests of one role of teacher.
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
    pub(crate) rates: Rates,
    pub(crate) user_turns: UserTurns,
    pub(crate) request: RequestSettings,
}

/// Maximum numbers per minute of one endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Rates {
    pub(crate) requests: Option<f64>,
    /// Tokens of prompts and the most that answers may have.
    pub(crate) tokens: Option<f64>,
}

/// How an endpoint is asked for a user's turn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum UserTurns {
    /// The teacher continues a raw prompt that ends where a user's turn begins, as Magpie does (needs /completions)
    #[default]
    Raw,
    /// The teacher is asked in a chat to write what the user says next
    Chat,
}
