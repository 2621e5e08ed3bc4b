//! Points to one line per device, slot and version. Pure.
//!
//! Quantiles come from the merged buckets, linear within a bucket, so they are as fine as the
//! bounds. Tokens per second is decoding alone: tokens after the first, over the time after the
//! first, summed over all answered requests; failed requests count as errors and in nothing else.

use std::collections::BTreeMap;

use edgeformer_proto::ids::DeviceId;
use edgeformer_proto::telemetry as names;

use super::point::{Buckets, Point};
use crate::clock::Timestamp;

/// What one version did in one slot of one device.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// The device.
    pub device_id: DeviceId,
    /// The slot.
    pub slot: String,
    /// The version.
    pub version_id: String,
    /// Requests, answered or failed.
    pub requests: u64,
    /// Requests that failed.
    pub errors: u64,
    /// Mean time to first token, seconds; none without an answer.
    pub ttft_mean_s: Option<f64>,
    /// Median of it.
    pub ttft_p50_s: Option<f64>,
    /// 95th percentile of it.
    pub ttft_p95_s: Option<f64>,
    /// Decoding speed; none if no answer had two tokens.
    pub tokens_per_second: Option<f64>,
    /// Tokens read.
    pub prompt_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
    /// Newest resident memory of the worker, bytes.
    pub memory_bytes: Option<u64>,
    /// Newest point, by the device's clock.
    pub last_at: Timestamp,
}

#[derive(Default)]
struct Totals {
    requests: u64,
    errors: u64,
    duration_s: f64,
    ttft: Option<Point>,
    prompt_tokens: f64,
    completion_tokens: f64,
    memory: Option<(Timestamp, f64)>,
    last_at: Option<Timestamp>,
}

/// One summary per device, slot and version, in that order. Points of no slot are left out.
pub fn summarise(points: impl IntoIterator<Item = Point>) -> Vec<Summary> {
    let mut totals: BTreeMap<(DeviceId, String, String), Totals> = BTreeMap::new();
    for point in points {
        if !point.slot.is_empty() {
            let key = (point.device_id, point.slot.clone(), point.version_id.clone());
            totals.entry(key).or_default().add(point);
        }
    }
    totals.into_iter().map(|(key, totals)| totals.summary(key)).collect()
}

impl Totals {
    fn add(&mut self, point: Point) {
        self.last_at = self.last_at.max(Some(point.at));
        let failed = point.attributes.contains_key(names::ATTR_ERROR);
        match point.metric.as_str() {
            names::REQUEST_DURATION => {
                self.requests += point.count;
                if failed {
                    self.errors += point.count;
                } else {
                    self.duration_s += point.sum;
                }
            }
            names::MEMORY_USAGE if self.memory.is_none_or(|(at, _)| at <= point.at) => {
                self.memory = Some((point.at, point.sum));
            }
            _ if failed => {}
            names::TIME_TO_FIRST_TOKEN => self.ttft = Some(merge(self.ttft.take(), point)),
            names::TOKEN_USAGE => {
                match point.attributes.get(names::ATTR_TOKEN_TYPE).map(String::as_str) {
                    Some(names::TOKEN_INPUT) => self.prompt_tokens += point.sum,
                    Some(names::TOKEN_OUTPUT) => self.completion_tokens += point.sum,
                    _ => {}
                }
            }
            _ => {}
        }
    }

    fn summary(self, (device_id, slot, version_id): (DeviceId, String, String)) -> Summary {
        let (answered, ttft_s) = self.ttft.as_ref().map_or((0, 0.0), |ttft| (ttft.count, ttft.sum));
        let later_tokens = self.completion_tokens - answered as f64;
        let later_s = self.duration_s - ttft_s;
        let quantile = |q| self.ttft.as_ref().and_then(|ttft| quantile(ttft, q));
        Summary {
            device_id,
            slot,
            version_id,
            requests: self.requests,
            errors: self.errors,
            ttft_mean_s: (answered > 0).then(|| ttft_s / answered as f64),
            ttft_p50_s: quantile(0.5),
            ttft_p95_s: quantile(0.95),
            tokens_per_second: (later_tokens > 0.0 && later_s > 0.0)
                .then(|| later_tokens / later_s),
            prompt_tokens: self.prompt_tokens as u64,
            completion_tokens: self.completion_tokens as u64,
            memory_bytes: self.memory.map(|(_, bytes)| bytes as u64),
            last_at: self.last_at.unwrap_or(Timestamp(0)),
        }
    }
}

/// Adds two histograms. With other bounds the newer one's buckets are kept: an update changed them.
fn merge(left: Option<Point>, mut right: Point) -> Point {
    let Some(left) = left else { return right };
    right.count += left.count;
    right.sum += left.sum;
    let least = |a: Option<f64>, b: Option<f64>| a.into_iter().chain(b).reduce(f64::min);
    let most = |a: Option<f64>, b: Option<f64>| a.into_iter().chain(b).reduce(f64::max);
    right.min = least(left.min, right.min);
    right.max = most(left.max, right.max);
    if let (Some(old), Some(new)) = (&left.buckets, &mut right.buckets)
        && old.bounds == new.bounds
    {
        for (count, more) in new.counts.iter_mut().zip(&old.counts) {
            *count += more;
        }
    }
    right
}

/// The value below which a share `q` of the samples lies.
fn quantile(point: &Point, q: f64) -> Option<f64> {
    let Buckets { bounds, counts } = point.buckets.as_ref()?;
    let total: u64 = counts.iter().sum();
    if total == 0 {
        return None;
    }
    let rank = q * total as f64;
    let mut below = 0.0;
    for (bucket, count) in counts.iter().enumerate() {
        let count = *count as f64;
        if count > 0.0 && below + count >= rank {
            let low = if bucket == 0 { point.min.unwrap_or(0.0) } else { bounds[bucket - 1] };
            let high = bounds.get(bucket).copied().or(point.max).unwrap_or(low);
            let value = low + (high - low) * ((rank - below) / count);
            let value = point.max.map_or(value, |max| value.min(max));
            return Some(point.min.map_or(value, |min| value.max(min)));
        }
        below += count;
    }
    point.max
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(metric: &str, count: u64, sum: f64, attributes: &[(&str, &str)]) -> Point {
        Point {
            id: String::new(),
            device_id: DeviceId::from_bytes([1; 16]),
            metric: metric.to_owned(),
            slot: "assistant".to_owned(),
            version_id: "v".to_owned(),
            rollout_id: String::new(),
            at: Timestamp(5),
            received_at: Timestamp(6),
            count,
            sum,
            min: None,
            max: None,
            buckets: None,
            attributes: attributes
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        }
    }

    fn ttft(bounds: &[f64], counts: &[u64], sum: f64) -> Point {
        let buckets = Buckets { bounds: bounds.to_vec(), counts: counts.to_vec() };
        let count = counts.iter().sum();
        Point { buckets: Some(buckets), ..point(names::TIME_TO_FIRST_TOKEN, count, sum, &[]) }
    }

    #[test]
    fn speed_is_decoding_alone_and_failures_are_only_counted() {
        let error = [(names::ATTR_ERROR, "worker_died")];
        let output = [(names::ATTR_TOKEN_TYPE, names::TOKEN_OUTPUT)];
        let summaries = summarise([
            point(names::REQUEST_DURATION, 2, 5.0, &[]),
            point(names::REQUEST_DURATION, 1, 99.0, &error),
            ttft(&[1.0], &[2, 0], 1.0),
            point(names::TOKEN_USAGE, 2, 82.0, &output),
            Point { at: Timestamp(9), ..point(names::MEMORY_USAGE, 1, 300.0, &[]) },
            point(names::MEMORY_USAGE, 1, 200.0, &[]),
        ]);
        assert_eq!(summaries.len(), 1);
        let summary = &summaries[0];
        assert_eq!((summary.requests, summary.errors), (3, 1));
        assert_eq!(summary.ttft_mean_s, Some(0.5));
        assert_eq!(summary.tokens_per_second, Some(20.0), "80 tokens in 4 s");
        assert_eq!(summary.memory_bytes, Some(300), "the newest, not the last to arrive");
        assert_eq!(summary.last_at, Timestamp(9));
    }

    #[test]
    fn quantiles_are_linear_within_a_bucket_of_the_merged_histogram() {
        let merged =
            merge(Some(ttft(&[1.0, 2.0], &[0, 4, 0], 6.0)), ttft(&[1.0, 2.0], &[4, 0, 2], 9.0));
        assert_eq!(quantile(&merged, 0.2), Some(0.5));
        assert_eq!(quantile(&merged, 0.6), Some(1.5));
        assert_eq!(quantile(&Point { max: Some(4.0), ..merged }, 1.0), Some(4.0));
        assert_eq!(quantile(&ttft(&[1.0], &[0, 0], 0.0), 0.5), None);
    }

    #[test]
    fn nothing_in_nothing_out() {
        assert!(summarise([]).is_empty());
        let of_no_slot = Point { slot: String::new(), ..ttft(&[1.0], &[1, 0], 1.0) };
        assert!(summarise([of_no_slot]).is_empty());
    }
}
