"""Uses the local API as an application would, with the official client.

usage: client.py BASE_URL KEY        (needs the package `openai`; the slot is named smollm2)
"""

import sys

import openai


def main(base_url: str, key: str) -> None:
    client = openai.OpenAI(base_url=base_url, api_key=key, max_retries=0, timeout=300)
    question = [{"role": "user", "content": "Say hello."}]

    assert [model.id for model in client.models.list()] == ["smollm2"]

    whole = client.chat.completions.create(
        model="smollm2", messages=question, max_tokens=16, temperature=0
    )
    text = whole.choices[0].message.content
    assert text and whole.choices[0].message.role == "assistant"
    assert whole.choices[0].finish_reason in ("stop", "length")
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    assert 0 < whole.usage.completion_tokens <= 16

    stream = client.chat.completions.create(
        model="smollm2@1.0.0",
        messages=question,
        max_completion_tokens=16,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    pieces = list(stream)
    streamed = "".join(p.choices[0].delta.content or "" for p in pieces if p.choices)
    assert streamed == text, (streamed, text)
    assert pieces[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert pieces[-2].choices[0].finish_reason == whole.choices[0].finish_reason

    seeded = [
        client.chat.completions.create(
            model="smollm2",
            messages=question,
            max_tokens=8,
            temperature=0.8,
            top_p=0.9,
            seed=7,
            extra_body={"top_k": 40, "min_p": 0.05, "repetition_penalty": 1.1},
        )
        for _ in range(2)
    ]
    assert seeded[0].choices[0].message.content == seeded[1].choices[0].message.content
    assert seeded[0].system_fingerprint == seeded[1].system_fingerprint

    legacy = client.completions.create(
        model="smollm2", prompt="One, two, three,", max_tokens=12, temperature=0, stop=["\n"]
    )
    assert legacy.choices[0].text and "\n" not in legacy.choices[0].text
    parts = client.completions.create(
        model="smollm2",
        prompt="One, two, three,",
        max_tokens=12,
        temperature=0,
        stop=["\n"],
        stream=True,
    )
    assert "".join(part.choices[0].text for part in parts) == legacy.choices[0].text

    expect(
        openai.NotFoundError,
        "model_not_found",
        lambda: client.chat.completions.create(model="gpt-4", messages=question),
    )
    expect(
        openai.BadRequestError,
        "context_length_exceeded",
        lambda: client.chat.completions.create(
            model="smollm2", messages=[{"role": "user", "content": "long " * 600}]
        ),
    )
    expect(
        openai.BadRequestError,
        None,
        lambda: client.chat.completions.create(model="smollm2", messages=question, n=2),
    )
    stranger = client.with_options(api_key="efl_wrong")
    expect(openai.AuthenticationError, "invalid_api_key", lambda: stranger.models.list())


def expect(kind, code, call) -> None:
    try:
        call()
    except kind as error:
        assert error.code == code, (error.code, code)
        return
    raise AssertionError(f"{kind.__name__} was expected")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
