//! What applications get: whole answers, streams, usage, and errors that say what is wrong.

use crate::support::{Device, chat, chat_stream, config, endless, quick, spec, whole};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use http::StatusCode;
use serde_json::{Value, json};

#[tokio::test]
async fn a_stream_carries_the_same_text_and_usage_as_a_whole_answer() {
    let device = Device::start(config()).await;
    device.run(&spec("tiny", "1.2.3"), quick()).await;

    let whole = device.post("/v1/chat/completions", &chat("tiny", "hello", 20)).await;
    assert_eq!(whole.status, StatusCode::OK, "{}", whole.json);
    assert_eq!(whole.headers["x-edgeformer-version"], "1.2.3");
    assert!(whole.headers["x-request-id"].to_str().unwrap().starts_with("req_"));
    let text = whole.json["choices"][0]["message"]["content"].as_str().unwrap();
    let usage = &whole.json["usage"];
    assert_eq!(usage["completion_tokens"], 20);
    assert_eq!(whole.json["choices"][0]["finish_reason"], "length");
    let prompt_tokens = usage["prompt_tokens"].as_u64().unwrap();
    assert_eq!(usage["total_tokens"], prompt_tokens + 20);

    let mut request = chat_stream("tiny@1.2.3", "hello", 20);
    request["stream_options"] = json!({ "include_usage": true });
    let mut events = device.stream("/v1/chat/completions", &request).await.rest().await;
    assert_eq!(events.pop().unwrap(), "[DONE]");
    let events: Vec<Value> =
        events.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    let (last, pieces) = events.split_last().unwrap();
    assert_eq!(last["usage"]["completion_tokens"], 20);
    assert_eq!(last["choices"], json!([]));
    assert_eq!(pieces[0]["choices"][0]["delta"]["role"], "assistant");
    assert!(pieces.iter().all(|piece| piece["usage"].is_null()));
    let streamed: String = pieces
        .iter()
        .filter_map(|piece| piece["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(streamed, text);
    assert_eq!(pieces.last().unwrap()["choices"][0]["finish_reason"], "length");
}

#[tokio::test]
async fn a_common_beginning_of_prompts_is_not_computed_again_and_changes_nothing() {
    let device = Device::start(config()).await;
    device.run(&spec("tiny", "1"), quick()).await;
    let request = chat("tiny", "the same conversation", 8);
    let first = device.post("/v1/chat/completions", &request).await;
    let second = device.post("/v1/chat/completions", &request).await;
    let cached = |answer: &Value| {
        answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap()
    };
    assert_eq!(cached(&first.json), 0);
    assert_eq!(cached(&second.json), first.json["usage"]["prompt_tokens"].as_u64().unwrap() - 1);
    assert_eq!(first.json["choices"], second.json["choices"]);
}

#[tokio::test]
async fn completions_take_the_prompt_as_it_is_and_stop_where_told() {
    let device = Device::start(config()).await;
    device.run(&spec("tiny", "1"), quick()).await;
    let mut request = json!({ "model": "tiny", "prompt": "abc", "max_tokens": 30, "temperature": 1.0, "seed": 5 });
    let free = device.post("/v1/completions", &request).await;
    assert_eq!(free.json["object"], "text_completion");
    assert_eq!(free.json["usage"]["prompt_tokens"], 3);
    let text = free.json["choices"][0]["text"].as_str().unwrap().to_owned();
    let again = device.post("/v1/completions", &request).await;
    assert_eq!(again.json["choices"][0]["text"], text, "the same seed gives the same text");

    let (at, character) = text.char_indices().nth(3).unwrap();
    let stop = character.to_string();
    let before = &text[..text.find(&stop).unwrap()];
    request["stop"] = json!([stop]);
    let stopped = device.post("/v1/completions", &request).await;
    assert_eq!(stopped.json["choices"][0]["text"], before, "stop {stop:?} at {at} of {text:?}");
    assert_eq!(stopped.json["choices"][0]["finish_reason"], "stop");
}

#[tokio::test]
async fn every_request_is_measured_with_its_version_and_rollout() {
    let mut device = Device::start(config()).await;
    let version = spec("tiny", "1");
    device.run(&version, quick()).await;
    device.post("/v1/chat/completions", &chat("tiny", "hello", 5)).await;
    let measured = device.measurements.recv().await.unwrap();
    assert_eq!((measured.slot, measured.version_id), (version.slot, version.version_id));
    assert_eq!((measured.rollout_id.as_str(), measured.operation), ("rollout-7", "chat"));
    assert_eq!((measured.completion_tokens, measured.error), (5, None));
    assert!(measured.prompt_tokens > 0 && measured.worker_rss_bytes > 0);
    assert!(measured.time_to_first_token.unwrap() <= measured.duration);
}

#[tokio::test]
async fn errors_have_the_status_and_code_that_clients_act_on() {
    let device = Device::start(config()).await;
    let path = "/v1/chat/completions";
    let none = device.post(path, &chat("tiny", "x", 1)).await;
    assert_eq!((none.status, none.code()), (StatusCode::SERVICE_UNAVAILABLE, "model_not_ready"));

    let loading = "loading".parse().unwrap();
    device.supervisor.set_waiting(&loading, Some("fetching 3 of 98 MiB".into()));
    let loading = device.post(path, &chat("loading", "x", 1)).await;
    assert_eq!(loading.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(loading.message().contains("fetching 3 of 98 MiB"), "{}", loading.message());
    assert!(loading.headers.contains_key("retry-after"));

    device.run(&spec("tiny", "1"), quick()).await;
    let unknown = device.post(path, &chat("gpt-4", "x", 1)).await;
    assert_eq!((unknown.status, unknown.code()), (StatusCode::NOT_FOUND, "model_not_found"));
    assert!(unknown.message().contains("tiny"), "{}", unknown.message());
    let version = device.post(path, &chat("tiny@2", "x", 1)).await;
    assert_eq!((version.status, version.code()), (StatusCode::NOT_FOUND, "model_not_found"));

    let long = device.post(path, &chat("tiny", &"long ".repeat(300), 1)).await;
    assert_eq!((long.status, long.code()), (StatusCode::BAD_REQUEST, "context_length_exceeded"));
    assert!(long.message().contains("256"), "{}", long.message());
    let mut two = chat("tiny", "x", 1);
    two["n"] = json!(2);
    let two = device.post(path, &two).await;
    assert_eq!((two.status, &two.json["error"]["param"]), (StatusCode::BAD_REQUEST, &json!("n")));
    let large = device.post(path, &chat("tiny", &"x".repeat(2 << 20), 1)).await;
    assert_eq!(large.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(device.get(path).await.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(device.get("/v1/embeddings").await.code(), "unknown_url");
    let models = device.get("/v1/models").await;
    assert_eq!(models.json["data"][0]["id"], "tiny");
    assert_eq!(device.get("/healthz").await.json["models_serving"], 1);
}

#[tokio::test]
async fn a_full_queue_is_refused_at_once_and_a_client_that_leaves_frees_its_place() {
    let mut device = Device::start(config()).await;
    device.run(&spec("tiny", "1"), endless()).await;
    let path = "/v1/chat/completions";
    let mut running = device.stream(path, &chat_stream("tiny", "hello", 1_000_000)).await;
    running.next().await.unwrap();

    let one_too_many = edgeformer_agent::worker::message::QUEUE_LENGTH + 1;
    let requests: Vec<_> =
        (0..one_too_many).map(|_| device.request(path, &chat("tiny", "hello", 1))).collect();
    {
        let mut answers: FuturesUnordered<_> =
            requests.into_iter().map(|request| device.send(request)).collect();
        let busy = whole(answers.next().await.unwrap()).await;
        assert_eq!((busy.status, busy.code()), (StatusCode::TOO_MANY_REQUESTS, "busy"));
        assert!(busy.headers.contains_key("retry-after"));

        drop(running);
        while let Some(response) = answers.next().await {
            let answer = whole(response).await;
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.json);
        }
    }
    let mut errors = Vec::new();
    while let Ok(measured) = device.measurements.try_recv() {
        errors.extend(measured.error);
    }
    errors.sort_unstable();
    assert!(errors.contains(&"busy") && errors.contains(&"cancelled"), "{errors:?}");
}
