//! What `/metrics` shows: services write their numbers when asked. Knows the text format's library, no number's meaning.

use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::EncodeMetric;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// A service's numbers at this moment.
pub trait Snapshot: Send + Sync {
    /// Writes every number; called for each look at `/metrics`. All values of one name follow one another.
    fn write(&self, out: &mut Metrics<'_>);
}

/// All that write to one `/metrics` page.
#[derive(Default)]
pub struct Registry {
    sources: Mutex<Vec<Arc<dyn Snapshot>>>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Registry")
    }
}

impl Registry {
    /// Adds a source.
    pub fn register(&self, source: Arc<dyn Snapshot>) {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).push(source);
    }

    /// The page, in the text format of Prometheus (OpenMetrics).
    pub fn text(&self) -> String {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut registry = prometheus_client::registry::Registry::default();
        registry.register_collector(Box::new(Sources(sources)));
        let mut text = String::new();
        match prometheus_client::encoding::text::encode(&mut text, &registry) {
            Ok(()) => text,
            Err(fmt::Error) => "# a metric could not be written\n# EOF\n".to_owned(),
        }
    }
}

struct Sources(Vec<Arc<dyn Snapshot>>);

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sources")
    }
}

impl Collector for Sources {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut metrics = Metrics { encoder, last: String::new(), outcome: Ok(()) };
        for source in &self.0 {
            source.write(&mut metrics);
        }
        metrics.outcome
    }
}

/// Takes numbers for one page.
pub struct Metrics<'a> {
    encoder: DescriptorEncoder<'a>,
    last: String,
    outcome: fmt::Result,
}

impl fmt::Debug for Metrics<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Metrics(after {:?})", self.last)
    }
}

impl Metrics<'_> {
    /// A number that only grows; `_total` is added to its name.
    pub fn counter(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: u64) {
        self.put(name, help, labels, &ConstCounter::new(value));
    }

    /// A number that goes up and down.
    pub fn gauge(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: i64) {
        self.put(name, help, labels, &ConstGauge::new(value));
    }

    fn put(&mut self, name: &str, help: &str, labels: &[(&str, &str)], metric: &dyn Put) {
        self.last = name.to_owned();
        let outcome = metric.put(&mut self.encoder, name, help, labels);
        self.outcome = self.outcome.and(outcome);
    }
}

trait Put {
    fn put(&self, encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, labels: &[(&str, &str)]) -> fmt::Result;
}

impl<M: EncodeMetric> Put for M {
    fn put(&self, encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, labels: &[(&str, &str)]) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(name, help, None, self.metric_type())?;
        if labels.is_empty() { self.encode(metric) } else { self.encode(metric.encode_family(&labels)?) }
    }
}
