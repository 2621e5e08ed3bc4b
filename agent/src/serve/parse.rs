//! Turns the JSON of a request into what a worker runs, or says which field is wrong. Pure. A field
//! that would change the answer and is not supported is refused, never ignored.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::ApiError;
use super::wire::{
    ChatRequest, CommonRequest, CompletionRequest, Content, OneOrMany, Operation, WireMessage,
};
use crate::worker::message::{ChatTurn, Generate, Prompt, Sampling};

/// As OpenAI has it.
const MAX_STOPS: usize = 4;

/// A stop string is a delimiter, not a document; each is compared at every token.
const MAX_STOP_BYTES: usize = 256;

/// Turns of one conversation. Templates are interpreted; a context of 128 Ki tokens cannot hold more.
const MAX_MESSAGES: usize = 4096;

/// What `/v1/completions` makes when it is not told: OpenAI's default.
const DEFAULT_COMPLETION_TOKENS: u32 = 16;

/// A request that can be run.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// Which endpoint.
    pub operation: Operation,
    /// As asked for: a slot, or `slot@version`.
    pub model: String,
    /// Answer as a stream of events.
    pub stream: bool,
    /// End the stream with an event that carries the usage.
    pub include_usage: bool,
    /// For the worker; the id is not set yet.
    pub generate: Generate,
}

/// Parses a body for one of the endpoints. `fresh_seed` is used if the request brings none.
pub fn parse(operation: Operation, body: &[u8], fresh_seed: u64) -> Result<Parsed, ApiError> {
    match operation {
        Operation::Chat => chat(from_json(body)?, fresh_seed),
        Operation::Completion => completion(from_json(body)?, fresh_seed),
    }
}

fn from_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body)
        .map_err(|error| ApiError::invalid(None, format!("the body does not parse: {error}")))
}

fn chat(request: ChatRequest, fresh_seed: u64) -> Result<Parsed, ApiError> {
    let set = |list: &Option<Vec<Value>>| list.as_ref().is_some_and(|list| !list.is_empty());
    refuse("tools", set(&request.tools), "tools are not supported")?;
    refuse("functions", set(&request.functions), "functions are not supported")?;
    let format = request.response_format.as_ref().is_some_and(|format| format.kind != "text");
    refuse("response_format", format, "only the format \"text\" is supported")?;
    refuse("logprobs", request.logprobs == Some(true), "log probabilities are not supported")?;
    refuse("messages", request.messages.is_empty(), "at least one message is needed")?;
    let many = request.messages.len() > MAX_MESSAGES;
    refuse("messages", many, &format!("at most {MAX_MESSAGES} messages are accepted"))?;
    let turns = request.messages.into_iter().map(turn).collect::<Result<_, _>>()?;
    let max_tokens = match request.max_completion_tokens {
        Some(asked) => Some(positive("max_completion_tokens", asked)?),
        None => max_tokens(&request.common)?,
    };
    common(Operation::Chat, request.common, Prompt::Chat(turns), max_tokens, fresh_seed)
}

fn completion(request: CompletionRequest, fresh_seed: u64) -> Result<Parsed, ApiError> {
    refuse("best_of", request.best_of.is_some_and(|n| n != 1), "only best_of=1 is supported")?;
    refuse("echo", request.echo == Some(true), "echo is not supported")?;
    let suffix = request.suffix.as_ref().is_some_and(|suffix| !suffix.is_empty());
    refuse("suffix", suffix, "a suffix is not supported")?;
    refuse("logprobs", request.logprobs.is_some(), "log probabilities are not supported")?;
    let prompt = match request.prompt {
        Value::String(text) => text,
        Value::Array(mut list) if list.len() == 1 && list[0].is_string() => {
            list.remove(0).as_str().unwrap_or_default().to_owned()
        }
        _ => {
            let message = "the prompt must be one string; send several prompts as several requests";
            return Err(ApiError::invalid(Some("prompt"), message));
        }
    };
    let max_tokens = max_tokens(&request.common)?.unwrap_or(DEFAULT_COMPLETION_TOKENS);
    let prompt = Prompt::Text(prompt);
    common(Operation::Completion, request.common, prompt, Some(max_tokens), fresh_seed)
}

// What a request that does not say gets. Small models sampled from their whole distribution, as
// OpenAI's defaults of 1 would have it, talk nonsense; these are the values of llama.cpp's server.
const TEMPERATURE: f32 = 0.8;
const TOP_K: u32 = 40;
const TOP_P: f32 = 0.95;
const MIN_P: f32 = 0.05;

fn common(
    operation: Operation,
    request: CommonRequest,
    prompt: Prompt,
    max_tokens: Option<u32>,
    fresh_seed: u64,
) -> Result<Parsed, ApiError> {
    refuse("n", request.n.is_some_and(|n| n != 1), "only n=1 is supported")?;
    let penalty = |value: Option<f64>| value.is_some_and(|value| value != 0.0);
    let instead = "is not supported; use repetition_penalty";
    refuse("presence_penalty", penalty(request.presence_penalty), instead)?;
    refuse("frequency_penalty", penalty(request.frequency_penalty), instead)?;
    let bias = request.logit_bias.as_ref().is_some_and(|bias| !bias.is_empty());
    refuse("logit_bias", bias, "a bias is not supported")?;
    let sampling = Sampling {
        temperature: number("temperature", request.temperature, TEMPERATURE, 0.0..=2.0)?,
        top_p: number("top_p", request.top_p, TOP_P, 0.0..=1.0)?,
        top_k: match request.top_k {
            None => TOP_K,
            Some(-1) => 0,
            Some(k) => u32::try_from(k)
                .map_err(|_| ApiError::invalid(Some("top_k"), "top_k must be 0 (all) or more"))?,
        },
        min_p: number("min_p", request.min_p, MIN_P, 0.0..=1.0)?,
        repetition_penalty: number(
            "repetition_penalty",
            request.repetition_penalty,
            1.0,
            0.1..=10.0,
        )?,
        seed: request.seed.map_or(fresh_seed, |seed| seed as u64),
    };
    let options = request.stream_options;
    Ok(Parsed {
        operation,
        stream: request.stream.unwrap_or(false),
        include_usage: options.and_then(|options| options.include_usage).unwrap_or(false),
        generate: Generate { id: 0, prompt, sampling, stop: stops(request.stop)?, max_tokens },
        model: request.model,
    })
}

fn turn(message: WireMessage) -> Result<ChatTurn, ApiError> {
    let invalid = |text: String| ApiError::invalid(Some("messages"), text);
    let role = match message.role.as_str() {
        "system" | "developer" => "system",
        "user" => "user",
        "assistant" => "assistant",
        other => {
            let other: String = other.chars().take(40).collect();
            return Err(invalid(format!(
                "the role {other:?} is not supported; use system, developer, user or assistant"
            )));
        }
    };
    let content = match message.content {
        None => String::new(),
        Some(Content::Text(text)) => text,
        Some(Content::Parts(parts)) => {
            let mut text = String::new();
            for part in parts {
                match (part.kind.as_str(), part.text) {
                    ("text", Some(piece)) => text.push_str(&piece),
                    _ => return Err(invalid("content parts must be of type text".into())),
                }
            }
            text
        }
    };
    Ok(ChatTurn { role: role.to_owned(), content })
}

fn stops(stop: Option<OneOrMany>) -> Result<Vec<String>, ApiError> {
    let stops = match stop {
        None => Vec::new(),
        Some(OneOrMany::One(stop)) => vec![stop],
        Some(OneOrMany::Many(stops)) => stops,
    };
    refuse("stop", stops.len() > MAX_STOPS, &format!("at most {MAX_STOPS} are accepted"))?;
    let bad = stops.iter().any(|stop| stop.is_empty() || stop.len() > MAX_STOP_BYTES);
    refuse("stop", bad, &format!("each must have 1 to {MAX_STOP_BYTES} bytes"))?;
    Ok(stops)
}

fn max_tokens(request: &CommonRequest) -> Result<Option<u32>, ApiError> {
    request.max_tokens.map(|asked| positive("max_tokens", asked)).transpose()
}

fn positive(param: &'static str, value: i64) -> Result<u32, ApiError> {
    match u32::try_from(value) {
        Ok(0) | Err(_) => {
            let most = u32::MAX;
            Err(ApiError::invalid(Some(param), format!("{param} must be 1 to {most}")))
        }
        Ok(value) => Ok(value),
    }
}

fn number(
    param: &'static str,
    value: Option<f64>,
    default: f32,
    range: std::ops::RangeInclusive<f64>,
) -> Result<f32, ApiError> {
    match value {
        None => Ok(default),
        Some(value) if range.contains(&value) => Ok(value as f32),
        Some(value) => {
            let (from, to) = (range.start(), range.end());
            let message = format!("{param} is {value}; it must be {from} to {to}");
            Err(ApiError::invalid(Some(param), message))
        }
    }
}

fn refuse(param: &'static str, when: bool, message: &str) -> Result<(), ApiError> {
    if when { Err(ApiError::invalid(Some(param), format!("{param}: {message}"))) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(operation: Operation, body: &str) -> Result<Parsed, String> {
        parse(operation, body.as_bytes(), 7).map_err(|error| {
            serde_json::to_value(error.body()).unwrap()["error"]["message"].to_string()
        })
    }

    #[test]
    fn a_plain_chat_request_gets_the_defaults_of_the_api() {
        let body = r#"{"model":"m","messages":[{"role":"developer","content":"a"},
            {"role":"user","content":[{"type":"text","text":"b"},{"type":"text","text":"c"}]}],
            "some_future_field":1}"#;
        let parsed = check(Operation::Chat, body).unwrap();
        let turn =
            |role: &str, content: &str| ChatTurn { role: role.into(), content: content.into() };
        assert_eq!(
            parsed.generate.prompt,
            Prompt::Chat(vec![turn("system", "a"), turn("user", "bc")])
        );
        assert_eq!((parsed.stream, parsed.generate.max_tokens), (false, None));
        let expected = Sampling {
            temperature: 0.8,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            repetition_penalty: 1.0,
            seed: 7,
        };
        assert_eq!(parsed.generate.sampling, expected);
    }

    #[test]
    fn every_field_that_is_used_arrives() {
        let body = r#"{"model":"m@1","prompt":["x"],"max_tokens":3,"temperature":0,"top_p":0.5,
            "top_k":4,"min_p":0.1,"repetition_penalty":1.5,"seed":-1,"stop":["a","b"],"stream":true,
            "stream_options":{"include_usage":true},"n":1}"#;
        let parsed = check(Operation::Completion, body).unwrap();
        assert_eq!(parsed.generate.prompt, Prompt::Text("x".into()));
        assert_eq!(parsed.generate.stop, ["a", "b"]);
        let expected = Sampling {
            temperature: 0.0,
            top_p: 0.5,
            top_k: 4,
            min_p: 0.1,
            repetition_penalty: 1.5,
            seed: u64::MAX,
        };
        assert_eq!(parsed.generate.sampling, expected);
        assert!(parsed.stream && parsed.include_usage);
        let short = check(Operation::Completion, r#"{"model":"m","prompt":"x"}"#).unwrap();
        assert_eq!(short.generate.max_tokens, Some(16));
    }

    #[test]
    fn what_would_change_the_answer_is_refused_by_name() {
        for (field, value) in [
            ("n", "2"),
            ("tools", "[{}]"),
            ("response_format", r#"{"type":"json_object"}"#),
            ("logprobs", "true"),
            ("logit_bias", r#"{"1":2}"#),
            ("presence_penalty", "0.5"),
            ("max_tokens", "0"),
            ("max_completion_tokens", "-1"),
            ("temperature", "2.5"),
            ("top_p", "1.5"),
            ("min_p", "-1"),
            ("top_k", "-2"),
            ("stop", r#"["a","b","c","d","e"]"#),
            ("stop", r#""""#),
        ] {
            let body = format!(
                r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}],"{field}":{value}}}"#
            );
            let refused = check(Operation::Chat, &body).unwrap_err();
            assert!(refused.contains(field), "{field}: {refused}");
        }
        let tool = r#"{"model":"m","messages":[{"role":"tool","content":"x"}]}"#;
        assert!(check(Operation::Chat, tool).unwrap_err().contains("role"));
        let image =
            r#"{"model":"m","messages":[{"role":"user","content":[{"type":"image_url"}]}]}"#;
        assert!(check(Operation::Chat, image).unwrap_err().contains("type text"));
        assert!(check(Operation::Completion, r#"{"model":"m","prompt":[1,2]}"#).is_err());
        assert!(check(Operation::Chat, "{").is_err());
    }
}
