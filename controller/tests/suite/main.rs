//! Tests that need a database or the whole REST API. The store's run on SQLite and on PostgreSQL.
#![forbid(unsafe_code)]

mod installation;
mod rest;
mod store;
mod support;
