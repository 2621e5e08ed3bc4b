//! What devices measured: OTLP in, points in the store, summaries for people.
//!
//! The device of a point is the one whose certificate carried it, whatever the batch says.

pub mod otlp;
pub mod point;
pub mod service;
pub mod summary;

pub use point::{Buckets, Point};
pub use summary::{Summary, summarise};
