"""A plugin for pytest under which the tests of llama.cpp's server run against `smolserve`.

It starts `smolserve` (SMOLSERVE) over a small model (SMOL_STORIES) in place of llama.cpp's server, spells paths and fields as
this server does, and answers `/completion` from `/v1/completions`. What the tests ask of llama.cpp itself fails: its own
endpoints (`/props`, `/slots`), fields (`timings`, `__verbose`, `n_probs`), and the texts and counts of its sampler and
tokenizer. `llama_cpp_known.txt` lists those with the reason of each; a test that is listed and passes fails the run, too.
"""

import fnmatch
import os
import subprocess
import sys
import time
import types

sys.modules["wget"] = types.ModuleType("wget")
sys.path.insert(0, os.environ["LLAMA_CPP_TESTS"])
import pytest
import requests
import utils

V1 = ("/chat/completions", "/embeddings", "/models", "/responses")
# Where llama.cpp answers in its own shape.
OWN_COMPLETIONS = ("/completion", "/completions")
# What errors are called there.
KINDS = {"invalid_api_key": "authentication_error", "context_length_exceeded": "exceed_context_size_error"}
OTHER_NAMES = ("gpt-3.5-turbo-instruct", "text-embedding-3-small", "gpt-4.1", "davinci-002", "ggml-org/tinygemma3-GGUF:Q8_0")


def start(self, timeout_seconds=60):
    command = [os.environ["SMOLSERVE"], "--lenient", "--host", self.server_host, "--port", str(self.server_port)]
    name = self.model_alias or "stories"
    command += ["--model", f"{name.split(',')[0]}={os.environ['SMOL_STORIES']}", "--cache-bytes", "64MiB"]
    if self.api_key:
        command += ["--api-key", self.api_key]
    if self.cors_origins:
        # Pages of this machine may call the server without an option.
        origins = [origin for origin in self.cors_origins.split(",") if origin != "localhost"]
        command += [word for origin in origins for word in ("--cors", origin)]
    if self.n_slots:
        command += ["--max-sequences", str(self.n_slots)]
    if self.chat_template_file:
        template = os.path.join(os.environ["SMOL_TEMPLATES"], os.path.basename(self.chat_template_file))
        command += ["--chat-template", template]
    # llama.cpp answers under any name.
    command += [word for other in OTHER_NAMES for word in ("--alias", f"{other}={name.split(',')[0]}")]
    self.process = subprocess.Popen(command, stdout=sys.stdout, stderr=sys.stdout)
    utils.server_instances.add(self)
    began = time.time()
    while time.time() - began < timeout_seconds:
        try:
            if requests.get(self.make_url("/health"), timeout=5).status_code == 200:
                return
        except requests.exceptions.ConnectionError:
            pass
        if self.process.poll() is not None:
            raise RuntimeError("smolserve ended")
        time.sleep(0.02)
    raise TimeoutError("smolserve did not start")


def own_path(path):
    if path in OWN_COMPLETIONS:
        return "/v1/completions"
    return "/v1" + path if path.startswith(V1) else path


def own_body(self, path, data):
    if not isinstance(data, dict):
        return data
    data = dict(data)
    if path in (*OWN_COMPLETIONS, "/v1/completions") and "n_predict" in data:
        data["max_tokens"] = data.pop("n_predict")
    if path in OWN_COMPLETIONS:
        if data.get("max_tokens", -1) < 0:
            data["max_tokens"] = self.n_predict or 64
    if path == "/tokenize" and "content" in data:
        data = {"prompt": data["content"], "add_special_tokens": data.get("add_special", False)}
    return data


def as_completion(body):
    """The answer of `/v1/completions` in llama.cpp's own shape."""
    if not isinstance(body, dict) or "choices" not in body:
        return body
    choice = body["choices"][0]
    usage = body.get("usage") or {}
    return {
        "content": choice["text"],
        "stop": choice.get("finish_reason") is not None,
        "stop_type": "limit" if choice.get("finish_reason") == "length" else "eos",
        "truncated": False,
        "tokens": choice.get("token_ids") or [],
        "has_new_line": "\n" in choice["text"],
        "tokens_evaluated": usage.get("prompt_tokens"),
        "tokens_predicted": usage.get("completion_tokens"),
    }


def with_own_marks(body):
    """The answer with llama.cpp's kind of fingerprint, and null where the first delta has no text yet."""
    if isinstance(body, dict) and "system_fingerprint" in body:
        body["system_fingerprint"] = "b" + body["system_fingerprint"]
        for choice in body.get("choices") or []:
            if choice.get("delta", {}).get("role") and choice["delta"].get("content") == "":
                choice["delta"]["content"] = None
    return body


make_request, make_stream_request = utils.ServerProcess.make_request, utils.ServerProcess.make_stream_request


def request(self, method, path, data=None, headers=None, timeout=600, host=None):
    result = make_request(self, method, own_path(path), own_body(self, path, data), headers, timeout, host)
    if isinstance(result.body, dict) and isinstance(result.body.get("error"), dict):
        error = result.body["error"]
        error["type"] = KINDS.get(error.get("code"), error["type"])
        error["code"] = result.status_code
    if path in OWN_COMPLETIONS and result.status_code == 200:
        result.body = as_completion(result.body)
    result.body = with_own_marks(result.body)
    if path == "/tokenize" and isinstance(result.body, dict) and "tokens" in result.body:
        result.body = {"tokens": result.body["tokens"]}
    if path == "/detokenize" and isinstance(result.body, dict) and "prompt" in result.body:
        result.body = {"content": result.body["prompt"]}
    return result


def stream(self, method, path, data=None, headers=None, host=None):
    for chunk in make_stream_request(self, method, own_path(path), own_body(self, path, data), headers, host):
        yield as_completion(chunk) if path in OWN_COMPLETIONS else with_own_marks(chunk)


utils.ServerProcess.start = start
utils.ServerProcess.make_request = request
utils.ServerProcess.make_stream_request = stream
utils.ServerPreset.load_all = staticmethod(lambda: None)


def known():
    """The tests that are expected to fail: patterns of their ids, and the reason."""
    with open(os.path.join(os.path.dirname(__file__), "llama_cpp_known.txt")) as lines:
        for line in lines:
            if line.strip() and not line.startswith("#"):
                pattern, _, reason = line.partition(" ")
                yield pattern, reason.strip()


def pytest_collection_modifyitems(items):
    listed = list(known())
    for item in items:
        path, _, name = item.nodeid.partition("::")
        # Brackets begin a class in patterns.
        name = f"{os.path.basename(path)}::{name}".replace("[", "(").replace("]", ")")
        for pattern, reason in listed:
            if fnmatch.fnmatchcase(name, pattern):
                item.add_marker(pytest.mark.xfail(reason=reason, strict="*" not in pattern))
                break
