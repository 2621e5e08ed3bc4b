//! One measured point, as stored.

use std::collections::BTreeMap;

use edgeformer_proto::ids::DeviceId;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// Counts per bucket: `counts[i]` samples in (`bounds[i-1]`, `bounds[i]`], the last one above all.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Buckets {
    /// Upper bounds, ascending.
    pub bounds: Vec<f64>,
    /// One more than bounds.
    pub counts: Vec<u64>,
}

/// A histogram over an interval, or a single value.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// UUID, made by the receiver; sorts by arrival.
    pub id: String,
    /// Whose certificate carried it.
    pub device_id: DeviceId,
    /// Metric name.
    pub metric: String,
    /// Slot that it is about, or empty.
    pub slot: String,
    /// Version that it is about, or empty.
    pub version_id: String,
    /// Rollout that assigned the version, or empty.
    pub rollout_id: String,
    /// End of the interval by the device's clock.
    pub at: Timestamp,
    /// By the controller's clock.
    pub received_at: Timestamp,
    /// Samples; 1 for a single value.
    pub count: u64,
    /// Sum of the samples, or the value.
    pub sum: f64,
    /// Smallest sample, where it was sent.
    pub min: Option<f64>,
    /// Largest sample, where it was sent.
    pub max: Option<f64>,
    /// None for a single value.
    pub buckets: Option<Buckets>,
    /// The other attributes, as text.
    pub attributes: BTreeMap<String, String>,
}
