//! Measurements in, OTLP out. Pure: time is passed in, and nothing is sent from here.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use edgeformer_proto::telemetry as names;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, InstrumentationScope, KeyValue, any_value::Value,
};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, metric::Data, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;

use crate::slots::RequestMeasurement;

/// Series kept between two exports. Slots × versions × operations × errors stay far below it; past
/// it new series are dropped, so that a fault cannot grow memory.
const MAX_SERIES: usize = 512;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct SeriesKey {
    metric: &'static str,
    attributes: Vec<(&'static str, String)>,
}

#[derive(Debug, Clone)]
struct Samples {
    bounds: &'static [f64],
    counts: Vec<u64>,
    sum: f64,
    min: f64,
    max: f64,
}

impl Samples {
    fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            counts: vec![0; bounds.len() + 1],
            sum: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
        }
    }

    fn record(&mut self, value: f64) {
        // Bounds are inclusive above: the first bound that is not less takes the value.
        self.counts[self.bounds.partition_point(|bound| *bound < value)] += 1;
        self.sum += value;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }
}

/// Delta histograms and gauges since the last export.
#[derive(Debug)]
pub struct Aggregator {
    resource: Vec<(&'static str, String)>,
    since: SystemTime,
    histograms: BTreeMap<SeriesKey, Samples>,
    gauges: BTreeMap<SeriesKey, f64>,
}

impl Aggregator {
    /// Starts empty at `now`. `device_id` goes into the resource for people who read the batch; the
    /// controller takes the identity from the certificate.
    pub fn new(device_id: &str, agent_version: &str, now: SystemTime) -> Self {
        Self {
            resource: vec![
                ("service.name", "edgeformer-agent".to_owned()),
                ("service.version", agent_version.to_owned()),
                ("device.id", device_id.to_owned()),
            ],
            since: now,
            histograms: BTreeMap::new(),
            gauges: BTreeMap::new(),
        }
    }

    /// Whether there is nothing to export.
    pub fn is_empty(&self) -> bool {
        self.histograms.is_empty() && self.gauges.is_empty()
    }

    /// Adds one finished request.
    pub fn record(&mut self, request: &RequestMeasurement) {
        let slot = vec![
            (names::ATTR_SLOT, request.slot.to_string()),
            (names::ATTR_VERSION_ID, request.version_id.to_string()),
            (names::ATTR_ROLLOUT_ID, request.rollout_id.clone()),
        ];
        let mut attributes = slot.clone();
        attributes.push((names::ATTR_OPERATION, request.operation.to_owned()));
        attributes.push((names::ATTR_PROVIDER, names::PROVIDER.to_owned()));
        if let Some(error) = request.error {
            attributes.push((names::ATTR_ERROR, error.to_owned()));
        }
        let seconds = |time: Duration| time.as_secs_f64();
        let times = [
            (names::REQUEST_DURATION, Some(seconds(request.duration)), names::REQUEST_BOUNDS_S),
            (
                names::TIME_TO_FIRST_TOKEN,
                request.time_to_first_token.map(seconds),
                names::REQUEST_BOUNDS_S,
            ),
            (
                names::TIME_PER_OUTPUT_TOKEN,
                request.time_per_output_token.map(seconds),
                names::TOKEN_BOUNDS_S,
            ),
        ];
        for (metric, value, bounds) in times {
            if let Some(value) = value {
                self.sample(metric, attributes.clone(), bounds, value);
            }
        }
        for (kind, tokens) in [
            (names::TOKEN_INPUT, request.prompt_tokens),
            (names::TOKEN_OUTPUT, request.completion_tokens),
        ] {
            let mut with_kind = attributes.clone();
            with_kind.push((names::ATTR_TOKEN_TYPE, kind.to_owned()));
            let tokens = f64::from(tokens);
            self.sample(names::TOKEN_USAGE, with_kind, names::TOKEN_COUNT_BOUNDS, tokens);
        }
        if request.worker_rss_bytes > 0 {
            self.gauge(names::MEMORY_USAGE, slot, request.worker_rss_bytes as f64);
        }
    }

    /// Sets how many batches the spool dropped since the start.
    pub fn record_dropped(&mut self, batches: u64) {
        self.gauge(names::SPOOL_DROPPED, Vec::new(), batches as f64);
    }

    fn sample(
        &mut self,
        metric: &'static str,
        attributes: Vec<(&'static str, String)>,
        bounds: &'static [f64],
        value: f64,
    ) {
        let key = SeriesKey { metric, attributes };
        if self.histograms.len() >= MAX_SERIES && !self.histograms.contains_key(&key) {
            return;
        }
        self.histograms.entry(key).or_insert_with(|| Samples::new(bounds)).record(value);
    }

    fn gauge(&mut self, metric: &'static str, attributes: Vec<(&'static str, String)>, value: f64) {
        let key = SeriesKey { metric, attributes };
        if self.gauges.len() < MAX_SERIES || self.gauges.contains_key(&key) {
            self.gauges.insert(key, value);
        }
    }

    /// Takes what was recorded as one OTLP request and starts over; none if nothing was.
    pub fn take(&mut self, now: SystemTime) -> Option<ExportMetricsServiceRequest> {
        if self.is_empty() {
            return None;
        }
        let times = (unix_nanos(self.since), unix_nanos(now));
        let mut metrics: BTreeMap<&'static str, Metric> = BTreeMap::new();
        for (key, samples) in std::mem::take(&mut self.histograms) {
            let metric = metrics.entry(key.metric).or_insert_with(|| empty_histogram(key.metric));
            if let Some(Data::Histogram(histogram)) = &mut metric.data {
                histogram.data_points.push(histogram_point(&key, samples, times));
            }
        }
        for (key, value) in std::mem::take(&mut self.gauges) {
            let metric = metrics.entry(key.metric).or_insert_with(|| empty_gauge(key.metric));
            if let Some(Data::Gauge(gauge)) = &mut metric.data {
                gauge.data_points.push(NumberDataPoint {
                    attributes: key_values(&key.attributes),
                    time_unix_nano: times.1,
                    value: Some(number_data_point::Value::AsDouble(value)),
                    ..Default::default()
                });
            }
        }
        self.since = now;
        Some(ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(Resource {
                    attributes: key_values(&self.resource),
                    ..Default::default()
                }),
                scope_metrics: vec![ScopeMetrics {
                    scope: Some(InstrumentationScope {
                        name: "edgeformer".to_owned(),
                        ..Default::default()
                    }),
                    metrics: metrics.into_values().collect(),
                    ..Default::default()
                }],
                ..Default::default()
            }],
        })
    }
}

fn unix_nanos(time: SystemTime) -> u64 {
    let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX)
}

fn unit_of(metric: &str) -> &'static str {
    match metric {
        names::TOKEN_USAGE => "{token}",
        names::MEMORY_USAGE => "By",
        names::SPOOL_DROPPED => "{batch}",
        _ => "s",
    }
}

fn empty_histogram(name: &'static str) -> Metric {
    Metric {
        name: name.to_owned(),
        unit: unit_of(name).to_owned(),
        data: Some(Data::Histogram(Histogram {
            data_points: Vec::new(),
            aggregation_temporality: AggregationTemporality::Delta.into(),
        })),
        ..Default::default()
    }
}

fn empty_gauge(name: &'static str) -> Metric {
    Metric {
        name: name.to_owned(),
        unit: unit_of(name).to_owned(),
        data: Some(Data::Gauge(Gauge { data_points: Vec::new() })),
        ..Default::default()
    }
}

fn histogram_point(
    key: &SeriesKey,
    samples: Samples,
    (start, end): (u64, u64),
) -> HistogramDataPoint {
    HistogramDataPoint {
        attributes: key_values(&key.attributes),
        start_time_unix_nano: start,
        time_unix_nano: end,
        count: samples.counts.iter().sum(),
        sum: Some(samples.sum),
        bucket_counts: samples.counts,
        explicit_bounds: samples.bounds.to_vec(),
        min: Some(samples.min),
        max: Some(samples.max),
        ..Default::default()
    }
}

fn key_values(pairs: &[(&'static str, String)]) -> Vec<KeyValue> {
    pairs
        .iter()
        .map(|(key, value)| KeyValue {
            key: (*key).to_owned(),
            value: Some(AnyValue { value: Some(Value::StringValue(value.clone())) }),
            ..Default::default()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgeformer_proto::ids::VersionId;

    fn measurement(first_token_ms: u64, error: Option<&'static str>) -> RequestMeasurement {
        RequestMeasurement {
            slot: "assistant".parse().unwrap(),
            version_id: VersionId::from_bytes([7; 16]),
            rollout_id: String::new(),
            operation: "chat",
            time_to_first_token: Some(Duration::from_millis(first_token_ms)),
            duration: Duration::from_millis(first_token_ms + 500),
            time_per_output_token: None,
            prompt_tokens: 12,
            completion_tokens: 30,
            error,
            worker_rss_bytes: 200 << 20,
        }
    }

    fn histogram<'a>(
        request: &'a ExportMetricsServiceRequest,
        name: &str,
    ) -> &'a [HistogramDataPoint] {
        let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
        match metrics.iter().find(|metric| metric.name == name).and_then(|m| m.data.as_ref()) {
            Some(Data::Histogram(histogram)) => &histogram.data_points,
            other => panic!("{name} is {other:?}"),
        }
    }

    #[test]
    fn requests_of_one_series_add_up_and_bounds_are_inclusive() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let mut aggregator = Aggregator::new("d", "1", start);
        for first_token_ms in [100, 101, 40] {
            aggregator.record(&measurement(first_token_ms, None));
        }
        let request = aggregator.take(start + Duration::from_secs(10)).unwrap();
        let points = histogram(&request, names::TIME_TO_FIRST_TOKEN);
        assert_eq!(points.len(), 1);
        assert_eq!(points[0].count, 3);
        assert_eq!(points[0].bucket_counts.len(), points[0].explicit_bounds.len() + 1);
        assert_eq!(points[0].bucket_counts[7], 1, "0.1 belongs to (0.08, 0.1]");
        assert_eq!(points[0].bucket_counts[8], 1, "0.101 belongs to (0.1, 0.25]");
        assert_eq!(points[0].start_time_unix_nano, 1_000_000_000_000);
        assert_eq!((points[0].min, points[0].max), (Some(0.04), Some(0.101)));
        assert!(aggregator.take(start).is_none(), "deltas: nothing is reported twice");
    }

    #[test]
    fn failures_are_a_series_of_their_own() {
        let mut aggregator = Aggregator::new("d", "1", SystemTime::UNIX_EPOCH);
        aggregator.record(&measurement(1, None));
        aggregator.record(&measurement(1, Some("worker_died")));
        let request = aggregator.take(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(histogram(&request, names::REQUEST_DURATION).len(), 2);
        assert_eq!(histogram(&request, names::TOKEN_USAGE).len(), 4);
    }

    #[test]
    fn series_are_bounded() {
        let mut aggregator = Aggregator::new("d", "1", SystemTime::UNIX_EPOCH);
        for _ in 0..2 * MAX_SERIES {
            let version_id = VersionId::new();
            aggregator.record(&RequestMeasurement { version_id, ..measurement(1, None) });
        }
        assert!(aggregator.histograms.len() <= MAX_SERIES);
        assert!(aggregator.gauges.len() <= MAX_SERIES);
    }
}
