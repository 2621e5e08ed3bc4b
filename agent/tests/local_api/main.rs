//! The local API with real worker processes: answers, isolation, switches of versions and who is let
//! in. The models are tiny and random: their text means nothing, but is the same each time.

mod access;
mod answers;
mod isolation;
mod support;
mod switching;
