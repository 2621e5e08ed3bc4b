#!/usr/bin/env python3
"""Records what llama.cpp answers for a model, as the reference that golden.rs compares with.

    python3 -m venv venv && venv/bin/pip install llama-cpp-python==0.3.36
    venv/bin/python agent/engine/tests/golden/make.py MODEL.gguf > agent/engine/tests/golden/NAME.json

Recorded: for eleven prompts the token ids, 64 greedy tokens and, at each of them, the token that came
second and the gap between the two logits; token ids of strings that are hard for tokenizers, with and without parsing of
special tokens; the same for five of the prompts with all weights decoded to F32, which takes
the rounding of activations out of the comparison; the chat template rendered by Jinja2 the way Transformers sets it up. The prompt is
evaluated in one batch and the answer token by token, on one thread, so that a run repeats.
"""

import hashlib
import json
import os
import sys
import tempfile

import jinja2.sandbox
import llama_cpp
import numpy as np

STEPS = 64
EXACT_STEPS = 24

CHATS = {
    "one-turn": [("user", "What is the capital of France?")],
    "system": [("system", "You answer in one short sentence."), ("user", "Why is the sky blue?")],
    "turns": [
        ("user", "Name a prime number above ten."),
        ("assistant", "Eleven is a prime number above ten."),
        ("user", "And the next one?"),
    ],
    "unicode": [("user", "Übersetze ins Englische: „Schöne Grüße aus Köln“ 😀")],
    "empty": [("user", "")],
}

PROMPTS = {
    "plain": "The capital of France is",
    "story": "Call me Ishmael. Some years ago, never mind how long precisely, having little money",
    "code": "def fibonacci(n):\n    \"\"\"Return the n-th Fibonacci number.\"\"\"\n",
    "list": "The planets of the solar system, in order:\n1. Mercury\n2. Venus\n3.",
    "unicode": "Die Straße führt über den Fluß; 東京は日本の首都です。 The capital of Japan is",
    "numbers": "2, 4, 8, 16, 32,",
    # Longer than several blocks of a KV cache and chunks of a prefill.
    "long": "".join(
        f"Entry {n}: the {animal} of {place} was seen {n * 7} times.\n"
        for n, (animal, place) in enumerate(
            [("heron", "Lisbon"), ("fox", "Oslo"), ("otter", "Kyoto"), ("crow", "Lima"),
             ("hare", "Turin"), ("seal", "Perth"), ("lynx", "Quito"), ("toad", "Accra"),
             ("swan", "Porto"), ("mole", "Hanoi"), ("wren", "Malmö"), ("newt", "Delhi")],
            start=1,
        )
    ) + "Question: where was the otter seen?\nAnswer: the otter was seen in",
}

TEXTS = [
    "", " ", "  ", "   x", "x   ", "\n", "\n\n", " \n \n x", "\t\tif (a) {\n\t\t\treturn;\n\t\t}\n",
    "\r\n\r\nx\r", "Hello, world!", "hello world  hello   world", "I'm you're it's we'll they'd I'VE",
    "'s's''s", "1234567890", "3.14159 1,000,000 0x1F 1e-9", "a1b2 c3", " 1 22 333", "٣٤٥ ½ Ⅷ ²",
    "naïve façade Ångström Ελληνικά Русский язык", "東京は日本の首都です。", "你好，世界！", "한국어 문장",
    "עברית العربية", "ภาษาไทย हिन्दी", "😀", "👨‍👩‍👧‍👦 🇩🇪 ☺️", "e\u0301 é", "\u00a0x\u2003y\u3000z\u200b",
    "\ufeffbom", "\u0000nul\u0001\u001f\u007f", "\U0001F9FF\U0010FFFF\uE000", "a\u2028b\u2029c\u0085d",
    "!!!???...---===***", "$100 + €5 <= £7 ~ 50%", "foo_bar-baz.qux/quux\\corge", "https://example.org/a?b=c&d=%20#e",
    "<|im_start|>user\nHi<|im_end|>\n", "<|im_start|><|im_end|>", "x<|endoftext|>y", "<|im_start", "|im_end|>",
    " <|im_end|> ", "<repo_name><file_sep><filename>", "<|im_start|>ﬁ<|im_end|>", "a" * 300, " " * 100, "ab " * 50,
    "The quick brown fox jumps over the lazy dog. " * 3, "\n" * 40 + "x", "́̂̃", "ſ'S ''LL'ſ", "İı", "\u180e\u1680 x",
]


def render(template, messages, model):
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    text = lambda token: model.detokenize([token], special=True).decode()
    return env.from_string(template).render(
        messages=[{"role": role, "content": content} for role, content in messages],
        add_generation_prompt=True,
        bos_token=text(model.token_bos()),
        eos_token=text(model.token_eos()),
    )


def logits(model):
    pointer = llama_cpp.llama_get_logits_ith(model.ctx, -1)
    return np.ctypeslib.as_array(pointer, shape=(model.n_vocab(),)).copy()


def greedy(model, prompt, steps=STEPS):
    ids = model.tokenize(prompt.encode(), add_bos=False, special=True)
    model.reset()
    model.eval(ids)
    tokens, seconds, gaps = [], [], []
    for _ in range(steps):
        row = logits(model)
        second, token = (int(index) for index in np.argsort(row)[-2:])
        tokens.append(token)
        seconds.append(second)
        gaps.append(round(float(row[token] - row[second]), 5))
        model.eval([token])
    return {"prompt": prompt, "ids": ids, "tokens": tokens, "seconds": seconds, "gaps": gaps}


def load(path):
    return llama_cpp.Llama(
        path, n_ctx=1024, n_batch=512, n_threads=1, n_threads_batch=1, verbose=False
    )


def exact(path, prompts):
    """Greedy answers with all weights decoded to F32."""
    with tempfile.TemporaryDirectory() as folder:
        decoded = os.path.join(folder, "f32.gguf")
        params = llama_cpp.llama_model_quantize_default_params()
        params.ftype = llama_cpp.LLAMA_FTYPE_ALL_F32
        params.allow_requantize = True
        assert llama_cpp.llama_model_quantize(path.encode(), decoded.encode(), params) == 0
        model = load(decoded)
        return [greedy(model, prompt, EXACT_STEPS) for prompt in prompts]


def main(path):
    model = load(path)
    template = model.metadata["tokenizer.chat_template"]
    chats = [
        {"name": name, "messages": messages, "prompt": render(template, messages, model)}
        for name, messages in CHATS.items()
    ]
    prompts = list(PROMPTS.values()) + [chat["prompt"] for chat in chats[:4]]
    ids = lambda text, special: model.tokenize(text.encode(), add_bos=False, special=special)
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    record = {
        "reference": f"llama-cpp-python {llama_cpp.__version__}",
        "model_sha256": digest,
        "chats": chats,
        "texts": [{"text": t, "plain": ids(t, False), "special": ids(t, True)} for t in TEXTS],
        "generations": [greedy(model, prompt) for prompt in prompts],
        "exact": exact(path, prompts[2:11:2]),
    }
    # One record a line keeps the file readable and its diffs small.
    parts = []
    for key, value in record.items():
        if isinstance(value, list):
            rows = ",\n  ".join(json.dumps(row) for row in value)
            parts.append(f'"{key}": [\n  {rows}\n]')
        else:
            parts.append(f'"{key}": {json.dumps(value)}')
    print("{\n" + ",\n".join(parts) + "\n}")


main(sys.argv[1])
