//! Telemetry on its way out: metrics and attributes by name, values by form. What OTLP can carry
//! beside them (exemplars, descriptions, links) has no declaration and never leaves.

use edgeformer_proto::privacy::{Place, find};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, InstrumentationScope, KeyValue, any_value::Value,
};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics,
    metric::Data,
};
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::gate::Pass;
use super::{Consent, Gate};

impl Gate {
    /// What is left of a batch; none if nothing is.
    pub fn metrics(
        &self,
        batch: ExportMetricsServiceRequest,
    ) -> Option<ExportMetricsServiceRequest> {
        batch_under(&self.consent(), batch)
    }
}

fn batch_under(
    consent: &Consent,
    batch: ExportMetricsServiceRequest,
) -> Option<ExportMetricsServiceRequest> {
    let pass = Pass { consent };
    let resource_metrics: Vec<ResourceMetrics> =
        batch.resource_metrics.into_iter().filter_map(|one| pass.resource(one)).collect();
    (!resource_metrics.is_empty()).then_some(ExportMetricsServiceRequest { resource_metrics })
}

impl Pass<'_> {
    fn resource(&self, one: ResourceMetrics) -> Option<ResourceMetrics> {
        let scope_metrics: Vec<ScopeMetrics> = one
            .scope_metrics
            .into_iter()
            .map(|scope| ScopeMetrics {
                scope: Some(InstrumentationScope {
                    name: "edgeformer".to_owned(),
                    ..Default::default()
                }),
                metrics: scope.metrics.into_iter().filter_map(|m| self.metric(m)).collect(),
                ..Default::default()
            })
            .filter(|scope| !scope.metrics.is_empty())
            .collect();
        let attributes = one.resource.map(|resource| resource.attributes).unwrap_or_default();
        (!scope_metrics.is_empty()).then(|| ResourceMetrics {
            resource: Some(Resource {
                attributes: self.attributes(Place::Resource, attributes),
                ..Default::default()
            }),
            scope_metrics,
            ..Default::default()
        })
    }

    fn metric(&self, metric: Metric) -> Option<Metric> {
        let item = find(Place::Metric, &metric.name)?;
        if !self.consent.allows(item.group) {
            return None;
        }
        let data = match metric.data? {
            Data::Gauge(gauge) => Data::Gauge(Gauge {
                data_points: gauge.data_points.into_iter().map(|p| self.number(p)).collect(),
            }),
            Data::Histogram(histogram) => Data::Histogram(Histogram {
                data_points: histogram.data_points.into_iter().map(|p| self.histogram(p)).collect(),
                aggregation_temporality: histogram.aggregation_temporality,
            }),
            // The agent makes no others.
            _ => return None,
        };
        Some(Metric {
            name: metric.name,
            unit: metric.unit,
            data: Some(data),
            ..Default::default()
        })
    }

    fn number(&self, point: NumberDataPoint) -> NumberDataPoint {
        NumberDataPoint {
            attributes: self.attributes(Place::Attribute, point.attributes),
            start_time_unix_nano: point.start_time_unix_nano,
            time_unix_nano: point.time_unix_nano,
            value: point.value,
            ..Default::default()
        }
    }

    fn histogram(&self, point: HistogramDataPoint) -> HistogramDataPoint {
        HistogramDataPoint {
            attributes: self.attributes(Place::Attribute, point.attributes),
            start_time_unix_nano: point.start_time_unix_nano,
            time_unix_nano: point.time_unix_nano,
            count: point.count,
            sum: point.sum,
            bucket_counts: point.bucket_counts,
            explicit_bounds: point.explicit_bounds,
            min: point.min,
            max: point.max,
            ..Default::default()
        }
    }

    fn attributes(&self, place: Place, attributes: Vec<KeyValue>) -> Vec<KeyValue> {
        let one = |attribute: KeyValue| {
            let item = find(place, &attribute.key)?;
            let Value::StringValue(text) = attribute.value?.value? else { return None };
            self.consent.allows(item.group).then(|| KeyValue {
                value: Some(AnyValue {
                    value: Some(Value::StringValue(item.value(&text).into_owned())),
                }),
                key: attribute.key,
                ..Default::default()
            })
        };
        attributes.into_iter().filter_map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgeformer_proto::telemetry as names;
    use opentelemetry_proto::tonic::metrics::v1::Exemplar;

    fn pair(key: &str, value: &str) -> KeyValue {
        let value = Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) });
        KeyValue { key: key.to_owned(), value, ..Default::default() }
    }

    fn batch(name: &str) -> ExportMetricsServiceRequest {
        let point = HistogramDataPoint {
            count: 1,
            bucket_counts: vec![1],
            attributes: vec![
                pair(names::ATTR_OPERATION, "tell me a secret"),
                pair(names::ATTR_ERROR, "worker_died"),
                pair("gen_ai.prompt", "tell me a secret"),
            ],
            exemplars: vec![Exemplar {
                filtered_attributes: vec![pair("gen_ai.prompt", "tell me a secret")],
                ..Default::default()
            }],
            ..Default::default()
        };
        let data =
            Data::Histogram(Histogram { data_points: vec![point], aggregation_temporality: 1 });
        let metric = Metric {
            name: name.to_owned(),
            description: "tell me a secret".to_owned(),
            data: Some(data),
            ..Default::default()
        };
        let resource = Resource {
            attributes: vec![
                pair("service.name", "edgeformer-agent"),
                pair("user.name", "Lovelace"),
            ],
            ..Default::default()
        };
        ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(resource),
                scope_metrics: vec![ScopeMetrics { metrics: vec![metric], ..Default::default() }],
                ..Default::default()
            }],
        }
    }

    #[test]
    fn what_is_not_declared_stays_here_and_wrong_values_are_redacted() {
        let left = batch_under(&Consent::default(), batch(names::REQUEST_DURATION)).unwrap();
        let text = format!("{left:?}");
        for gone in ["secret", "gen_ai.prompt", "user.name", "Lovelace"] {
            assert!(!text.contains(gone), "{gone}: {text}");
        }
        for kept in [names::ATTR_OPERATION, "redacted", "worker_died", "edgeformer-agent"] {
            assert!(text.contains(kept), "{kept}: {text}");
        }
    }

    #[test]
    fn an_undeclared_metric_and_metrics_without_consent_are_no_batch_at_all() {
        assert_eq!(batch_under(&Consent::default(), batch("made.up")), None);
        assert_eq!(batch_under(&Consent::least(), batch(names::REQUEST_DURATION)), None);
    }
}
