//! What `/metrics` shows: services write their numbers when asked. Knows the text format's library, no number's meaning.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::EncodeMetric;
use prometheus_client::encoding::MetricEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// A service's numbers at this moment.
pub trait Snapshot: Send + Sync {
    /// Writes every number; called for each look at `/metrics`.
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
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = BTreeMap::new();
        for source in &self.0 {
            source.write(&mut Metrics { families: &mut families });
        }
        for (name, family) in &families {
            let Some((_, first)) = family.values.first() else { continue };
            let mut metric = encoder.encode_descriptor(name, &family.help, None, first.kind())?;
            if let [(labels, number)] = family.values.as_slice()
                && labels.is_empty()
            {
                number.encode(metric)?;
                continue;
            }
            for (labels, number) in &family.values {
                let labels: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                number.encode(metric.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

/// Takes numbers for one page, and brings those of one name together.
#[derive(Debug)]
pub struct Metrics<'a> {
    families: &'a mut BTreeMap<String, Family>,
}

/// All numbers of one name.
#[derive(Debug, Default)]
struct Family {
    help: String,
    values: Vec<(Labels, Number)>,
}

type Labels = Vec<(String, String)>;

#[derive(Debug, Clone, Copy)]
enum Number {
    Counter(u64),
    Gauge(i64),
}

impl Number {
    fn kind(self) -> MetricType {
        match self {
            Number::Counter(_) => MetricType::Counter,
            Number::Gauge(_) => MetricType::Gauge,
        }
    }

    fn encode(self, encoder: MetricEncoder<'_>) -> fmt::Result {
        match self {
            Number::Counter(value) => ConstCounter::new(value).encode(encoder),
            Number::Gauge(value) => ConstGauge::new(value).encode(encoder),
        }
    }
}

impl Metrics<'_> {
    /// A number that only grows; `_total` is added to its name.
    pub fn counter(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: u64) {
        self.put(name, help, labels, Number::Counter(value));
    }

    /// A number that goes up and down.
    pub fn gauge(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: i64) {
        self.put(name, help, labels, Number::Gauge(value));
    }

    fn put(&mut self, name: &str, help: &str, labels: &[(&str, &str)], number: Number) {
        let family = self.families.entry(name.to_owned()).or_default();
        if family.help.is_empty() {
            help.clone_into(&mut family.help);
        }
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), escaped(value))).collect();
        family.values.push((labels, number));
    }
}

/// A label's value as OpenMetrics writes it; the library does not.
fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Store(&'static str, u64);

    impl Snapshot for Store {
        fn write(&self, out: &mut Metrics<'_>) {
            out.counter("kiln_hits", "Hits", &[("store", self.0)], self.1);
            out.gauge("kiln_alone", "No label", &[], -1);
        }
    }

    #[test]
    fn numbers_of_one_name_stand_together_whoever_writes_them() {
        let registry = Registry::default();
        registry.register(Arc::new(Store("blobs \"a\"", 7)));
        assert_eq!(
            registry.text(),
            "# HELP kiln_alone No label\n# TYPE kiln_alone gauge\nkiln_alone -1\n\
             # HELP kiln_hits Hits\n# TYPE kiln_hits counter\nkiln_hits_total{store=\"blobs \\\"a\\\"\"} 7\n# EOF\n"
        );
        registry.register(Arc::new(Store("results", 9)));
        assert_eq!(registry.text().matches("# TYPE kiln_hits").count(), 1);
    }
}
