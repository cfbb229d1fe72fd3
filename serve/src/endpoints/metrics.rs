//! `GET /metrics`, in Prometheus' text format: the server's counters and the engines' status.

use crate::error::ApiError;
use crate::metrics::PREFIX;
use crate::model_table::ModelTable;
use crate::state::ServerState;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use engine::Status;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::prometheus_text::{CONTENT_TYPE, encode};
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::Arc;

/// Writes all metrics.
pub(crate) async fn metrics(State(state): State<Arc<ServerState>>) -> Result<Response, ApiError> {
    let text =
        text(&state).map_err(|error| ApiError::internal(format!("cannot write the metrics: {error}")))?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}

fn text(state: &ServerState) -> Result<String, fmt::Error> {
    let models = state.models().map(ModelTable::loaded_now).unwrap_or_default();
    let mut engines: Vec<(String, Status)> = Vec::new();
    for model in &models {
        // Adapters are counted with their base model, whose engine they share.
        let name = model.parent.as_ref().unwrap_or(&model.name);
        if !engines.iter().any(|(other, _)| other == name) {
            engines.push((name.clone(), model.engine.status()));
        }
    }
    let mut now = Registry::with_prefix(PREFIX);
    now.register_collector(Box::new(Now { engines, uptime: state.started.elapsed().as_secs_f64() }));
    let mut text = String::new();
    encode(&mut text, state.metrics.registry())?;
    encode(&mut text, &now)?;
    Ok(text)
}

/// What is measured when the metrics are read.
#[derive(Debug)]
struct Now {
    /// Of each engine, by the name of its model.
    engines: Vec<(String, Status)>,
    /// In seconds.
    uptime: f64,
}

impl Now {
    /// One metric with a line per model.
    fn per_model(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        kind: MetricType,
        name: &str,
        help: &str,
        value: fn(&Status) -> u64,
    ) -> fmt::Result {
        let mut family = encoder.encode_descriptor(name, help, None, kind)?;
        for (model, status) in &self.engines {
            let labels = [("model_name", model.as_str())];
            let metric = family.encode_family(&labels)?;
            match kind {
                MetricType::Counter => ConstCounter::new(value(status)).encode(metric)?,
                _ => ConstGauge::new(value(status)).encode(metric)?,
            }
        }
        Ok(())
    }
}

impl Collector for Now {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (gauge, counter) = (MetricType::Gauge, MetricType::Counter);
        let encoder = &mut encoder;
        self.per_model(encoder, gauge, "waiting", "Requests in the queue.", |now| now.waiting as u64)?;
        self.per_model(encoder, gauge, "running", "Requests in the batch.", |now| now.running as u64)?;
        let help = "Bytes of keys and values of running requests.";
        self.per_model(encoder, gauge, "cache_bytes", help, |now| now.cache_bytes as u64)?;
        let help = "Bytes of keys and values that are kept for later requests.";
        self.per_model(encoder, gauge, "reusable_bytes", help, |now| now.reusable_bytes as u64)?;
        let help = "Requests whose client closed the connection before the end.";
        self.per_model(encoder, counter, "cancelled", help, |now| now.cancelled)?;
        let help = "Tokens that were guessed for answers that have ended.";
        self.per_model(encoder, counter, "guessed_tokens", help, |now| now.guessed[0])?;
        let help = "Guessed tokens that were right.";
        self.per_model(encoder, counter, "guessed_right_tokens", help, |now| now.guessed[1])?;
        let uptime = encoder.encode_descriptor("uptime_seconds", "Seconds since the start.", None, gauge)?;
        ConstGauge::new(self.uptime).encode(uptime)
    }
}
