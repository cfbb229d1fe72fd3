//! What the server has done, in Prometheus' text format.
//!
//! Counters are atomics beside the work; nothing here waits for an engine.

use crate::server::Server;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use engine::Event;
use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Upper bounds in seconds: a decode step of a small model is milliseconds, a long answer minutes.
const BUCKETS: [f64; 16] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// Everything that is counted.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    requests: Mutex<BTreeMap<(String, u16), u64>>,
    prompt_tokens: AtomicU64,
    completion_tokens: AtomicU64,
    time_to_first_token: Histogram,
    inter_token: Histogram,
    request: Histogram,
}

#[derive(Debug, Default)]
struct Histogram {
    buckets: [AtomicU64; BUCKETS.len()],
    count: AtomicU64,
    microseconds: AtomicU64,
}

impl Histogram {
    fn observe(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        if let Some(bucket) = BUCKETS.iter().position(|bound| seconds <= *bound) {
            self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.microseconds.fetch_add(duration.as_micros() as u64, Ordering::Relaxed);
    }
}

impl Metrics {
    /// Counts a response; a client that went away before it counts as 499.
    pub(crate) fn answered(&self, endpoint: &str, status: u16) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry((endpoint.to_owned(), status)).or_default() += 1;
    }

    /// Begins to measure a request of several answers.
    pub(crate) fn stopwatch(self: &Arc<Self>, answers: usize) -> Stopwatch {
        Stopwatch {
            metrics: Arc::clone(self),
            began: Instant::now(),
            accepted: false,
            last: vec![None; answers],
        }
    }
}

/// Measures one request while it runs.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    metrics: Arc<Metrics>,
    began: Instant,
    accepted: bool,
    /// When each answer's last token came.
    last: Vec<Option<Instant>>,
}

impl Stopwatch {
    /// Counts the tokens of the prompts; what is refused before is not measured.
    pub(crate) fn accepted(&mut self, tokens: usize) {
        self.accepted = true;
        self.metrics.prompt_tokens.fetch_add(tokens as u64, Ordering::Relaxed);
    }

    /// Takes note of an answer's event.
    pub(crate) fn event(&mut self, answer: usize, event: &Event) {
        let tokens = match event {
            Event::Token(_) => 1,
            Event::Tokens(tokens) => tokens.len() as u64,
            _ => return,
        };
        self.metrics.completion_tokens.fetch_add(tokens, Ordering::Relaxed);
        let now = Instant::now();
        match self.last[answer].replace(now) {
            None => self.metrics.time_to_first_token.observe(now - self.began),
            Some(last) => self.metrics.inter_token.observe(now - last),
        }
    }
}

impl Drop for Stopwatch {
    /// Also when the client goes away.
    fn drop(&mut self) {
        if self.accepted {
            self.metrics.request.observe(self.began.elapsed());
        }
    }
}

/// `GET /metrics`.
pub(crate) async fn metrics(State(server): State<Arc<Server>>) -> Response {
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], page(&server)).into_response()
}

fn page(server: &Server) -> String {
    let metrics = &server.metrics;
    let mut page = Page::default();
    page.family("requests_total", "counter", "Responses by endpoint and status; 499: the client went away.");
    for ((endpoint, status), count) in metrics.requests.lock().unwrap_or_else(PoisonError::into_inner).iter()
    {
        page.line("requests_total", &[("endpoint", endpoint), ("status", &status.to_string())], count);
    }
    engines(&mut page, server);
    for (name, help, counter) in [
        ("prompt_tokens_total", "Tokens of accepted prompts.", &metrics.prompt_tokens),
        ("completion_tokens_total", "Tokens generated.", &metrics.completion_tokens),
    ] {
        page.family(name, "counter", help);
        page.line(name, &[], counter.load(Ordering::Relaxed));
    }
    for (name, help, histogram) in [
        (
            "time_to_first_token_seconds",
            "From a prompt's acceptance to its first token.",
            &metrics.time_to_first_token,
        ),
        ("inter_token_seconds", "Between two tokens of one answer.", &metrics.inter_token),
        ("request_seconds", "From a prompt's acceptance to the end of its answers.", &metrics.request),
    ] {
        page.histogram(name, help, histogram);
    }
    page.family("uptime_seconds", "gauge", "Since the server started.");
    page.line("uptime_seconds", &[], server.started.elapsed().as_secs_f64());
    page.text
}

/// What the engines are doing now, a line a model.
fn engines(page: &mut Page, server: &Server) {
    let models = server.models().unwrap_or_default();
    let statuses: Vec<_> = models.iter().map(|model| (model.name.as_str(), model.engine.status())).collect();
    let mut family = |name, kind, help, value: fn(&engine::Status) -> u64| {
        page.family(name, kind, help);
        for (model, status) in &statuses {
            page.line(name, &[("model", model)], value(status));
        }
    };
    family("waiting", "gauge", "Requests in the queue.", |status| status.waiting as u64);
    family("running", "gauge", "Requests that have their place in the batch.", |status| {
        status.running as u64
    });
    family("cache_bytes", "gauge", "Keys and values that running requests hold.", |status| {
        status.cache_bytes as u64
    });
    family("reusable_bytes", "gauge", "Keys and values kept for requests to come.", |status| {
        status.reusable_bytes as u64
    });
    family("cancelled_total", "counter", "Requests whose client went away before the end.", |status| {
        status.cancelled
    });
}

/// Text in the making.
#[derive(Debug, Default)]
struct Page {
    text: String,
}

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.text, "# HELP smolserve_{name} {help}\n# TYPE smolserve_{name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let escape = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let labels: Vec<String> =
            labels.iter().map(|(label, text)| format!("{label}=\"{}\"", escape(text))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.text, "smolserve_{name}{labels} {value}");
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.family(name, "histogram", help);
        let mut total = 0;
        for (bound, bucket) in BUCKETS.iter().zip(&histogram.buckets) {
            total += bucket.load(Ordering::Relaxed);
            self.line(&format!("{name}_bucket"), &[("le", &bound.to_string())], total);
        }
        let count = histogram.count.load(Ordering::Relaxed).max(total);
        self.line(&format!("{name}_bucket"), &[("le", "+Inf")], count);
        let seconds = histogram.microseconds.load(Ordering::Relaxed) as f64 / 1e6;
        self.line(&format!("{name}_sum"), &[], seconds);
        self.line(&format!("{name}_count"), &[], count);
    }
}
