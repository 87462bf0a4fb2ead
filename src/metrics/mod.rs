//! Counting what happens, for Prometheus: an explicit registry, and handles that cost an atomic add.
//!
//! A room says once what it counts and keeps the handles; whoever counts takes no lock, allocates
//! nothing and looks nothing up. What is known anyway (bytes held, certificates cached) is
//! [observed](Registry::observe) when somebody asks instead of counted twice. This room never names
//! what it measures, and labels are words of the program's own (`&'static str`): no name of a
//! secret, host, runner or organization can become one.

mod counter;
mod durations;
mod process;

use std::sync::{Mutex, PoisonError};

pub use counter::{Counter, Gauge, Held};
pub use durations::Durations;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry as Exposition, Unit};

use self::counter::{Labelled, Observed};

/// The media type of [`Registry::text`].
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// One label: its name, and its value.
pub type Label = (&'static str, &'static str);

/// Everything that is counted in one process.
pub struct Registry {
    /// Locked when a room registers, and when somebody asks for the text.
    exposition: Mutex<Exposition>,
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl Registry {
    /// A registry that knows what it runs in: version, start, memory, processor time.
    pub fn new() -> Self {
        let mut exposition = Exposition::default();
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        exposition.register("subrosa_build", "The version that runs", build);
        let registry = Self { exposition: Mutex::new(exposition) };
        process::register(&registry);
        registry
    }

    /// Registers a counter. `name` goes without `_total`, which every counter gets.
    pub fn counter(&self, name: &str, help: &str) -> Counter {
        let counter = Counter::default();
        self.register(name, help, counter.clone());
        counter
    }

    /// Registers one counter for each set of labels, in their order.
    pub fn counters(&self, name: &str, help: &str, labels: impl IntoIterator<Item = Vec<Label>>) -> Vec<Counter> {
        let rows: Vec<_> = labels.into_iter().map(|labels| (labels, Counter::default())).collect();
        let counters = rows.iter().map(|(_, counter)| counter.clone()).collect();
        self.register(name, help, Labelled(rows));
        counters
    }

    /// Registers a number that rises and falls.
    pub fn gauge(&self, name: &str, help: &str) -> Gauge {
        let gauge = Gauge::default();
        self.register(name, help, gauge.clone());
        gauge
    }

    /// Registers a histogram of durations. `name` goes without `_seconds`, which it gets.
    pub fn durations(&self, name: &str, help: &str) -> Durations {
        let durations = Durations::default();
        let mut exposition = self.exposition.lock().unwrap_or_else(PoisonError::into_inner);
        exposition.register_with_unit(name, help, Unit::Seconds, durations.clone());
        durations
    }

    /// Registers what `read` says whenever somebody asks. It must be brief.
    pub fn observe(&self, name: &str, help: &str, read: impl Fn() -> f64 + Send + Sync + 'static) {
        self.register(name, help, Observed::gauge(read));
    }

    /// The same for a number that only grows; `name` goes without `_total`.
    pub fn observe_counter(&self, name: &str, help: &str, read: impl Fn() -> f64 + Send + Sync + 'static) {
        self.register(name, help, Observed::counter(read));
    }

    /// Everything in the `OpenMetrics` text form, which Prometheus reads.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let exposition = self.exposition.lock().unwrap_or_else(PoisonError::into_inner);
        encode(&mut text, &exposition).expect("a string takes what is written to it");
        text
    }

    fn register(&self, name: &str, help: &str, metric: impl prometheus_client::registry::Metric) {
        self.exposition.lock().unwrap_or_else(PoisonError::into_inner).register(name, help, metric);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_text_says_what_was_counted() {
        let registry = Registry::new();
        let counter = registry.counter("one", "A counter");
        let rows = registry.counters("many", "Counters", [vec![("how", "a")], vec![("how", "b")]]);
        let gauge = registry.gauge("level", "A level");
        let durations = registry.durations("wait", "A wait");
        registry.observe("seen", "What is seen", || 1.5);
        registry.observe_counter("grown", "What grew", || 7.0);
        counter.add(2);
        rows[1].add(1);
        gauge.add(3);
        gauge.add(-1);
        for millis in [0, 3, 3, 90_000] {
            durations.record(Duration::from_millis(millis));
        }
        let text = registry.text();
        for line in [
            concat!("subrosa_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
            "one_total 2",
            "many_total{how=\"a\"} 0",
            "many_total{how=\"b\"} 1",
            "level 2",
            "seen 1.5",
            "grown_total 7.0",
            "wait_seconds_count 4",
            "wait_seconds_sum 90.006",
            "wait_seconds_bucket{le=\"0.0025\"} 1",
            "wait_seconds_bucket{le=\"0.005\"} 3",
            "wait_seconds_bucket{le=\"60.0\"} 3",
            "wait_seconds_bucket{le=\"+Inf\"} 4",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn counting_allocates_nothing() {
        let registry = Registry::new();
        let (counter, durations) = (registry.counter("one", "A counter"), registry.durations("wait", "A wait"));
        let allocations = allocation_counter::measure(|| {
            counter.add(1);
            durations.record(Duration::from_micros(70));
        });
        assert_eq!(allocations.count_total, 0);
    }
}
