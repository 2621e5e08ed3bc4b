//! From an upload to an opened model: publishing and fetching against a real installation.

mod bundles;
mod documents;
mod fetching;
mod fixture;
mod publishing;
mod rest;
mod signatures;
