//! An application on the device: asks the agent's local API and reads the streamed answer.

use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// The longest that one answer may take, a cold model on a loaded machine included.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);
/// Bytes of an error answer that are read.
const ERROR_BYTES: u64 = 64 * 1024;

/// A client of one agent.
#[derive(Debug, Clone)]
pub struct Chat {
    base: String,
    http: ureq::Agent,
}

/// One answer and what it cost.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The text of all deltas.
    pub text: String,
    /// Why the model stopped: `stop`, `length`; empty when the stream was cut.
    pub finish_reason: String,
    /// Version that served, as the agent names it in its headers or answer; empty if it does not.
    pub served_by: String,
    /// Until the first piece of text.
    pub first_token: Duration,
    /// Until the end of the stream.
    pub total: Duration,
}

impl Chat {
    /// A client of the agent at `base` (`http://127.0.0.1:P`).
    pub fn new(base: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(ANSWER_LIMIT))
            .http_status_as_error(false)
            .build();
        Self { base: base.to_string(), http: config.new_agent() }
    }

    /// Asks `model` and hands out each piece of the answer as it arrives.
    pub fn ask(
        &self,
        model: &str,
        question: &str,
        max_tokens: u32,
        mut on_text: impl FnMut(&str),
    ) -> Result<Answer> {
        let started = Instant::now();
        let body = json!({
            "model": model,
            "messages": [{"role": "user", "content": question}],
            "max_tokens": max_tokens,
            "temperature": 0,
            "stream": true,
        });
        let url = format!("{}/v1/chat/completions", self.base);
        let mut response = self
            .http
            .post(&url)
            .header("content-type", "application/json")
            .send(body.to_string())
            .with_context(|| format!("no answer from {url}"))?;
        let status = response.status();
        if !status.is_success() {
            let body = response.body_mut().with_config().limit(ERROR_BYTES).read_to_string()?;
            bail!("{url} answered {status}: {}", body.trim());
        }
        let mut answer = Answer {
            text: String::new(),
            finish_reason: String::new(),
            served_by: String::new(),
            first_token: Duration::ZERO,
            total: Duration::ZERO,
        };
        let reader = BufReader::new(response.body_mut().as_reader());
        let finished = read_events(reader, &mut answer, started, &mut on_text)
            .with_context(|| format!("the answer of {url} broke off"))?;
        answer.total = started.elapsed();
        if !finished {
            bail!("the answer of {url} broke off after {:?} without [DONE]", answer.text);
        }
        Ok(answer)
    }

    /// As [`Chat::ask`], without watching the pieces.
    pub fn answer(&self, model: &str, question: &str, max_tokens: u32) -> Result<Answer> {
        self.ask(model, question, max_tokens, |_| {})
    }

    /// `GET path`, as JSON, whatever the status.
    pub fn get(&self, path: &str) -> Result<(u16, Value)> {
        let url = format!("{}{path}", self.base);
        let mut response =
            self.http.get(&url).call().with_context(|| format!("no answer from {url}"))?;
        let status = response.status().as_u16();
        let text = response.body_mut().with_config().limit(ERROR_BYTES).read_to_string()?;
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }
}

/// Reads server-sent events until `[DONE]`; false when the stream ended without it.
fn read_events(
    reader: impl BufRead,
    answer: &mut Answer,
    started: Instant,
    on_text: &mut impl FnMut(&str),
) -> Result<bool> {
    for line in reader.lines() {
        let line = line?;
        let Some(data) = line.strip_prefix("data:").map(str::trim) else { continue };
        if data == "[DONE]" {
            return Ok(true);
        }
        let event: Value =
            serde_json::from_str(data).with_context(|| format!("an event is not JSON: {data}"))?;
        if let Some(error) = event.get("error") {
            bail!("the stream ended with an error: {error}");
        }
        let choice = &event["choices"][0];
        if let Some(text) = choice["delta"]["content"].as_str().filter(|t| !t.is_empty()) {
            if answer.text.is_empty() {
                answer.first_token = started.elapsed();
            }
            answer.text.push_str(text);
            on_text(text);
        }
        if let Some(reason) = choice["finish_reason"].as_str() {
            answer.finish_reason = reason.to_string();
        }
        if let Some(version) = event["system_fingerprint"].as_str() {
            answer.served_by = version.to_string();
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(events: &str) -> (Result<bool>, Answer) {
        let mut answer = Answer {
            text: String::new(),
            finish_reason: String::new(),
            served_by: String::new(),
            first_token: Duration::ZERO,
            total: Duration::ZERO,
        };
        let done = read_events(events.as_bytes(), &mut answer, Instant::now(), &mut |_| {});
        (done, answer)
    }

    #[test]
    fn pieces_make_the_answer() {
        let (done, answer) = read(concat!(
            "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\n",
            "data: {\"choices\":[{\"delta\":{\"content\":\"Par\"}}]}\n\n",
            ": keep-alive\n\n",
            "data: {\"choices\":[{\"delta\":{\"content\":\"is\"},\"finish_reason\":\"stop\"}]}\n\n",
            "data: [DONE]\n\n",
        ));
        assert!(done.unwrap());
        assert_eq!((answer.text.as_str(), answer.finish_reason.as_str()), ("Paris", "stop"));
    }

    #[test]
    fn a_cut_stream_is_not_finished() {
        let (done, answer) = read("data: {\"choices\":[{\"delta\":{\"content\":\"Par\"}}]}\n\n");
        assert!(!done.unwrap());
        assert_eq!(answer.text, "Par");
    }

    #[test]
    fn an_error_event_is_an_error() {
        let (done, _) = read("data: {\"error\":{\"message\":\"worker died\"}}\n\n");
        assert!(done.unwrap_err().to_string().contains("worker died"));
    }
}
