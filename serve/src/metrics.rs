//! What the server has done: counters and histograms of responses and tokens.
//!
//! They are updated beside the work; nothing here waits for an engine.

use engine::Event;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::time::Instant;
use tracing::Span;

/// What the names of all metrics begin with.
pub(crate) const PREFIX: &str = "smolserve";

/// Upper bounds in seconds: a decode step of a small model takes milliseconds, a long answer minutes.
const BUCKETS: [f64; 16] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// The status that counts a client which closed its connection before the response.
pub(crate) const CLIENT_CLOSED: u16 = 499;

/// All counters and histograms.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    responses: Family<ResponseLabels, Counter>,
    failed_keys: Counter,
    prompt_tokens: Counter,
    completion_tokens: Counter,
    time_to_first_token: Histogram,
    inter_token: Histogram,
    request: Histogram,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResponseLabels {
    endpoint: String,
    status: u16,
}

impl Default for Metrics {
    fn default() -> Self {
        let histogram = || Histogram::new(BUCKETS);
        let mut metrics = Self {
            registry: Registry::with_prefix(PREFIX),
            responses: Family::default(),
            failed_keys: Counter::default(),
            prompt_tokens: Counter::default(),
            completion_tokens: Counter::default(),
            time_to_first_token: histogram(),
            inter_token: histogram(),
            request: histogram(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    /// The registry ends each help text with a period and each counter's name with `_total`.
    fn register(&mut self) {
        let registry = &mut self.registry;
        let help = "Responses by endpoint and status; 499: the client closed the connection";
        registry.register("requests", help, self.responses.clone());
        registry.register("failed_keys", "Requests with a wrong API key", self.failed_keys.clone());
        registry.register("prompt_tokens", "Tokens of accepted prompts", self.prompt_tokens.clone());
        registry.register("completion_tokens", "Generated tokens", self.completion_tokens.clone());
        let help = "From a prompt's acceptance to its first token";
        registry.register("time_to_first_token_seconds", help, self.time_to_first_token.clone());
        registry.register(
            "inter_token_seconds",
            "Between two tokens of one answer",
            self.inter_token.clone(),
        );
        let help = "From a prompt's acceptance to the end of its answers";
        registry.register("request_seconds", help, self.request.clone());
    }

    /// The registered metrics, to be encoded.
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Counts a response.
    pub(crate) fn count_response(&self, endpoint: &str, status: u16) {
        let labels = ResponseLabels { endpoint: endpoint.to_owned(), status };
        self.responses.get_or_create(&labels).inc();
    }

    /// Counts a request with a wrong API key.
    pub(crate) fn count_failed_key(&self) {
        self.failed_keys.inc();
    }

    /// Starts to measure a request with this number of answers.
    pub(crate) fn stopwatch(self: &Arc<Self>, answers: usize) -> Stopwatch {
        Stopwatch {
            metrics: Arc::clone(self),
            span: Span::current(),
            began: Instant::now(),
            prompt_tokens: None,
            completion_tokens: 0,
            last: vec![None; answers],
        }
    }
}

/// Measures one request while it runs.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    metrics: Arc<Metrics>,
    /// The request's span in the log.
    span: Span,
    began: Instant,
    /// Of all prompts, once they are accepted.
    prompt_tokens: Option<u64>,
    completion_tokens: u64,
    /// When each answer's last token came.
    last: Vec<Option<Instant>>,
}

impl Stopwatch {
    /// Counts the tokens of the prompts. Requests that are refused before are not measured.
    pub(crate) fn accept(&mut self, tokens: u64) {
        self.prompt_tokens = Some(tokens);
        self.metrics.prompt_tokens.inc_by(tokens);
    }

    /// Measures an event of an answer.
    pub(crate) fn record(&mut self, answer: usize, event: &Event) {
        let tokens = match event {
            Event::Token(_) => 1,
            Event::Tokens(tokens) => tokens.len() as u64,
            _ => return,
        };
        self.completion_tokens += tokens;
        self.metrics.completion_tokens.inc_by(tokens);
        let now = Instant::now();
        match self.last[answer].replace(now) {
            None => self.metrics.time_to_first_token.observe((now - self.began).as_secs_f64()),
            Some(last) => self.metrics.inter_token.observe((now - last).as_secs_f64()),
        }
    }
}

impl Drop for Stopwatch {
    /// Also runs when the client closes the connection.
    fn drop(&mut self) {
        let Some(prompt_tokens) = self.prompt_tokens else { return };
        let (completion_tokens, seconds) = (self.completion_tokens, self.began.elapsed().as_secs_f64());
        self.metrics.request.observe(seconds);
        let seconds = (seconds * 1e4).round() / 1e4;
        tracing::debug!(parent: &self.span, prompt_tokens, completion_tokens, seconds, "answers ended");
    }
}
