//! OTLP metrics to points. Pure; everything a device sends is capped here before it is stored.

use std::collections::BTreeMap;

use edgeformer_proto::ids::{AuditId, DeviceId};
use edgeformer_proto::telemetry as names;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::{
    HistogramDataPoint, Metric, NumberDataPoint, metric::Data, number_data_point,
};

use super::point::{Buckets, Point};
use crate::clock::Timestamp;
use crate::privacy::Settings;

/// Points of one batch: an agent keeps at most 512 series of each kind.
pub const MAX_POINTS: usize = 2_048;
/// Attributes of one point; agents send six.
pub const MAX_ATTRIBUTES: usize = 32;
/// Length of a metric name, an attribute's key or its value, bytes.
pub const MAX_TEXT_BYTES: usize = 256;
/// Buckets of one histogram; the conventions have at most 17.
pub const MAX_BUCKETS: usize = 128;

/// A batch that will never be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// More than [`MAX_POINTS`].
    #[error("the batch has more than {MAX_POINTS} data points")]
    Points,
    /// A name, key or value is too long.
    #[error("{what} is longer than {MAX_TEXT_BYTES} bytes")]
    Text {
        /// What kind of text.
        what: &'static str,
    },
    /// More than [`MAX_ATTRIBUTES`].
    #[error("a point of {metric} has more than {MAX_ATTRIBUTES} attributes")]
    Attributes {
        /// The metric.
        metric: String,
    },
    /// A histogram that contradicts itself, or a number that is none.
    #[error("a point of {metric} is not valid: {why}")]
    Point {
        /// The metric.
        metric: String,
        /// What is wrong.
        why: &'static str,
    },
}

/// What of a batch is kept.
#[derive(Debug, Default, PartialEq)]
pub struct Taken {
    /// The points.
    pub points: Vec<Point>,
    /// Points of kinds other than gauge, sum and explicit histogram.
    pub unknown: usize,
    /// Points of metrics that are neither declared nor allowed by the tenant.
    pub undeclared: usize,
}

/// What a batch holds that this controller keeps. Attributes that are neither declared nor allowed by
/// the tenant are dropped, whatever sent them.
pub fn points(
    batch: ExportMetricsServiceRequest,
    device_id: DeviceId,
    received_at: Timestamp,
    settings: &Settings,
) -> Result<Taken, Refused> {
    let mut taken = Taken::default();
    let metrics = batch
        .resource_metrics
        .into_iter()
        .flat_map(|resource| resource.scope_metrics)
        .flat_map(|scope| scope.metrics);
    for metric in metrics {
        check_text("a metric name", &metric.name)?;
        if !settings.takes_metric(&metric.name) {
            taken.undeclared += count(&metric);
            continue;
        }
        let of = Of { name: &metric.name, device_id, received_at, settings };
        match &metric.data {
            Some(Data::Histogram(histogram)) => {
                for point in &histogram.data_points {
                    push(&mut taken.points, of.histogram(point)?)?;
                }
            }
            Some(Data::Gauge(gauge)) => {
                for point in &gauge.data_points {
                    push(&mut taken.points, of.number(point)?)?;
                }
            }
            Some(Data::Sum(sum)) => {
                for point in &sum.data_points {
                    push(&mut taken.points, of.number(point)?)?;
                }
            }
            _ => taken.unknown += count(&metric),
        }
    }
    Ok(taken)
}

fn push(points: &mut Vec<Point>, point: Point) -> Result<(), Refused> {
    if points.len() >= MAX_POINTS {
        return Err(Refused::Points);
    }
    points.push(point);
    Ok(())
}

fn count(metric: &Metric) -> usize {
    match &metric.data {
        Some(Data::Histogram(histogram)) => histogram.data_points.len(),
        Some(Data::Gauge(gauge)) => gauge.data_points.len(),
        Some(Data::Sum(sum)) => sum.data_points.len(),
        Some(Data::ExponentialHistogram(histogram)) => histogram.data_points.len(),
        Some(Data::Summary(summary)) => summary.data_points.len(),
        _ => 0,
    }
}

struct Of<'a> {
    name: &'a str,
    device_id: DeviceId,
    received_at: Timestamp,
    settings: &'a Settings,
}

impl Of<'_> {
    fn wrong(&self, why: &'static str) -> Refused {
        Refused::Point { metric: self.name.to_owned(), why }
    }

    fn base(&self, attributes: &[KeyValue], time_unix_nano: u64) -> Result<Point, Refused> {
        if attributes.len() > MAX_ATTRIBUTES {
            return Err(Refused::Attributes { metric: self.name.to_owned() });
        }
        let mut texts = BTreeMap::new();
        for attribute in attributes {
            let value = text_of(attribute);
            check_text("an attribute's key", &attribute.key)?;
            check_text("an attribute's value", &value)?;
            if let Some(value) = self.settings.take_attribute(&attribute.key, &value) {
                texts.insert(attribute.key.clone(), value);
            }
        }
        let mut take = |key| texts.remove(key).unwrap_or_default();
        let (slot, version_id, rollout_id) =
            (take(names::ATTR_SLOT), take(names::ATTR_VERSION_ID), take(names::ATTR_ROLLOUT_ID));
        Ok(Point {
            id: AuditId::new().to_string(),
            device_id: self.device_id,
            metric: self.name.to_owned(),
            slot,
            version_id,
            rollout_id,
            at: Timestamp(i64::try_from(time_unix_nano / 1000).unwrap_or(i64::MAX)),
            received_at: self.received_at,
            count: 1,
            sum: 0.0,
            min: None,
            max: None,
            buckets: None,
            attributes: texts,
        })
    }

    fn histogram(&self, wire: &HistogramDataPoint) -> Result<Point, Refused> {
        let counts = wire.bucket_counts.len();
        if counts > MAX_BUCKETS {
            return Err(self.wrong("too many buckets"));
        }
        if counts != wire.explicit_bounds.len() + 1 {
            return Err(self.wrong("bounds and counts do not fit together"));
        }
        let total = wire.bucket_counts.iter().try_fold(0_u64, |sum, n| sum.checked_add(*n));
        if total != Some(wire.count) || i64::try_from(wire.count).is_err() {
            return Err(self.wrong("the counts do not add up to the total"));
        }
        let ascending = wire.explicit_bounds.windows(2).all(|pair| pair[0] < pair[1]);
        let sum = wire.sum.unwrap_or_default();
        let numbers = wire.explicit_bounds.iter().copied().chain([sum]).chain(wire.min);
        if !ascending || !numbers.chain(wire.max).all(f64::is_finite) {
            return Err(self.wrong("bounds must ascend and numbers be finite"));
        }
        Ok(Point {
            count: wire.count,
            sum,
            min: wire.min,
            max: wire.max,
            buckets: Some(Buckets {
                bounds: wire.explicit_bounds.clone(),
                counts: wire.bucket_counts.clone(),
            }),
            ..self.base(&wire.attributes, wire.time_unix_nano)?
        })
    }

    fn number(&self, wire: &NumberDataPoint) -> Result<Point, Refused> {
        let value = match wire.value {
            Some(number_data_point::Value::AsDouble(value)) => value,
            Some(number_data_point::Value::AsInt(value)) => value as f64,
            None => return Err(self.wrong("it has no value")),
        };
        if !value.is_finite() {
            return Err(self.wrong("the value is not finite"));
        }
        Ok(Point { sum: value, ..self.base(&wire.attributes, wire.time_unix_nano)? })
    }
}

fn check_text(what: &'static str, text: &str) -> Result<(), Refused> {
    if text.len() > MAX_TEXT_BYTES { Err(Refused::Text { what }) } else { Ok(()) }
}

fn text_of(attribute: &KeyValue) -> String {
    match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::BoolValue(value)) => value.to_string(),
        Some(Value::IntValue(value)) => value.to_string(),
        Some(Value::DoubleValue(value)) => value.to_string(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::common::v1::AnyValue;
    use opentelemetry_proto::tonic::metrics::v1::{
        Gauge, Histogram, ResourceMetrics, ScopeMetrics,
    };

    fn batch(name: &str, data: Data) -> ExportMetricsServiceRequest {
        let metric = Metric { name: name.to_owned(), data: Some(data), ..Default::default() };
        let scope = ScopeMetrics { metrics: vec![metric], ..Default::default() };
        let resource = ResourceMetrics { scope_metrics: vec![scope], ..Default::default() };
        ExportMetricsServiceRequest { resource_metrics: vec![resource] }
    }

    fn histogram(counts: Vec<u64>, bounds: Vec<f64>, count: u64) -> Data {
        let value = AnyValue { value: Some(Value::StringValue("assistant".to_owned())) };
        let slot =
            KeyValue { key: names::ATTR_SLOT.to_owned(), value: Some(value), ..Default::default() };
        Data::Histogram(Histogram {
            data_points: vec![HistogramDataPoint {
                attributes: vec![slot],
                count,
                sum: Some(1.5),
                bucket_counts: counts,
                explicit_bounds: bounds,
                time_unix_nano: 7_000,
                ..Default::default()
            }],
            aggregation_temporality: 1,
        })
    }

    fn take(name: &str, data: Data) -> Result<Taken, Refused> {
        points(batch(name, data), DeviceId::new(), Timestamp(9), &Settings::default())
    }

    fn check(data: Data, expected: Result<u64, &str>) {
        let got = take("process.memory.usage", data);
        let got = got.map(|taken| taken.points[0].count).map_err(|refused| refused.to_string());
        match expected {
            Ok(count) => assert_eq!(got, Ok(count)),
            Err(part) => assert!(got.clone().unwrap_err().contains(part), "{got:?}"),
        }
    }

    #[test]
    fn a_histogram_keeps_what_was_sent_and_its_slot_is_a_column() {
        let device = DeviceId::new();
        let data = histogram(vec![1, 2], vec![0.5], 3);
        let batch = batch(names::REQUEST_DURATION, data);
        let taken = points(batch, device, Timestamp(9), &Settings::default()).unwrap();
        let got = taken.points;
        assert_eq!((taken.unknown, taken.undeclared), (0, 0));
        assert_eq!((got[0].device_id, got[0].slot.as_str()), (device, "assistant"));
        assert_eq!((got[0].at, got[0].received_at), (Timestamp(7), Timestamp(9)));
        assert!(got[0].attributes.is_empty());
    }

    #[test]
    fn what_is_not_declared_is_dropped_unless_the_tenant_allows_it_by_name() {
        let application = || {
            let mut data = histogram(vec![1], vec![], 1);
            if let Data::Histogram(histogram) = &mut data {
                let value =
                    Some(AnyValue { value: Some(Value::StringValue("Lovelace".to_owned())) });
                let key = "app.user".to_owned();
                let attribute = KeyValue { key, value, ..Default::default() };
                histogram.data_points[0].attributes.push(attribute);
            }
            data
        };
        let taken = take("app.answers", application()).unwrap();
        assert_eq!((taken.points.len(), taken.undeclared), (0, 1));
        let taken = take(names::REQUEST_DURATION, application()).unwrap();
        assert!(taken.points[0].attributes.is_empty(), "{:?}", taken.points);
        let names = ["app.answers".to_owned(), "app.user".to_owned()].into();
        let settings = Settings { telemetry_names: names, ..Settings::default() };
        let batch = batch("app.answers", application());
        let taken = points(batch, DeviceId::new(), Timestamp(9), &settings).unwrap();
        assert_eq!(taken.points[0].attributes["app.user"], "Lovelace");
    }

    #[test]
    fn points_that_contradict_themselves_are_refused() {
        check(histogram(vec![1, 2], vec![0.5], 3), Ok(3));
        check(histogram(vec![1, 2, 3], vec![0.5], 6), Err("do not fit together"));
        check(histogram(vec![1, 2], vec![0.5], 4), Err("add up"));
        check(histogram(vec![u64::MAX, 2], vec![0.5], 1), Err("add up"));
        check(histogram(vec![1, 1, 1], vec![2.0, 1.0], 3), Err("ascend"));
        check(histogram(vec![1, 2], vec![f64::NAN], 3), Err("finite"));
        check(histogram(vec![0; 129], vec![0.0; 128], 0), Err("too many buckets"));
        let nothing = NumberDataPoint::default();
        check(Data::Gauge(Gauge { data_points: vec![nothing] }), Err("no value"));
    }

    #[test]
    fn a_batch_is_bounded() {
        let value = Some(number_data_point::Value::AsInt(1));
        let point = NumberDataPoint { value, ..Default::default() };
        let data = Data::Gauge(Gauge { data_points: vec![point; MAX_POINTS + 1] });
        let refused = take("process.memory.usage", data);
        assert_eq!(refused.unwrap_err(), Refused::Points);
        let long = "x".repeat(MAX_TEXT_BYTES + 1);
        let data = histogram(vec![1], vec![], 1);
        let refused = take(&long, data);
        assert_eq!(refused.unwrap_err(), Refused::Text { what: "a metric name" });
    }
}
