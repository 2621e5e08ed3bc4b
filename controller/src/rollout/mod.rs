//! Rollouts: bringing one version to many devices, and knowing at any time what each of them is
//! waiting for.
//!
//! The planner decides and touches nothing; the reconciler carries its actions out, on a timer and on
//! a nudge. What a device is to run changes only by compare-and-set on its generation.

pub mod operate;
pub mod planner;
pub mod preview;
pub mod reconciler;
pub mod types;
pub mod waiting;
