//! Numbers that grow, numbers that rise and fall, and numbers that are looked up when asked for.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::Label;

/// A number that only grows. Clones count together; one that was never registered counts unseen.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds `amount`.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that rises and falls. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicI64>);

impl Gauge {
    /// Adds `amount`, which may be negative.
    pub fn add(&self, amount: i64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// Counts one more until what this answers is dropped.
    #[must_use]
    pub fn hold(&self) -> Held {
        self.add(1);
        Held(self.clone())
    }

    /// What it is now.
    pub fn value(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One that is counted in a [`Gauge`] as long as it lives.
#[derive(Debug)]
pub struct Held(Gauge);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}

impl EncodeMetric for Counter {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_counter::<NoLabelSet, u64, f64>(&self.value(), None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

impl EncodeMetric for Gauge {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_gauge(&self.value())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}

/// Counters of one name, told apart by labels that are known from the start.
#[derive(Debug)]
pub(super) struct Labelled(pub(super) Vec<(Vec<Label>, Counter)>);

impl EncodeMetric for Labelled {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(labels, counter)| counter.encode(encoder.encode_family(labels)?))
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

/// What somebody else knows, read when it is asked for.
pub(super) struct Observed {
    read: Box<dyn Fn() -> f64 + Send + Sync>,
    grows: bool,
}

impl Observed {
    pub(super) fn gauge(read: impl Fn() -> f64 + Send + Sync + 'static) -> Self {
        Self { read: Box::new(read), grows: false }
    }

    pub(super) fn counter(read: impl Fn() -> f64 + Send + Sync + 'static) -> Self {
        Self { read: Box::new(read), grows: true }
    }
}

impl fmt::Debug for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observed").field("grows", &self.grows).finish_non_exhaustive()
    }
}

impl EncodeMetric for Observed {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let now = (self.read)();
        if self.grows { encoder.encode_counter::<NoLabelSet, f64, f64>(&now, None) } else { encoder.encode_gauge(&now) }
    }

    fn metric_type(&self) -> MetricType {
        if self.grows { MetricType::Counter } else { MetricType::Gauge }
    }
}
