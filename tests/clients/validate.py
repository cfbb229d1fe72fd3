"""Raw responses, and every event of every stream, against the schemas of OpenAI's own OpenAPI description.

Two schemas are widened, because the description has none for what the real service sends: completion streams have no
finish reason before their end, and the first token of an echoed prompt has no log-probability.

    python validate.py BASE_URL MODEL OPENAPI_YAML

One line a check; a response that does not fit its schema is shown with what is wrong, and the exit code is 1.
"""

import copy
import json
import sys
import urllib.error
import urllib.request

import jsonschema
import referencing
import yaml

base, model, description = sys.argv[1:4]
with open(description, encoding="utf-8") as file:
    document = yaml.load(file, getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def or_null(schema):
    return {"anyOf": [schema, {"type": "null"}]}


def opened(node):
    """OpenAPI 3.0's `nullable`, which the description still uses, in JSON Schema's own words."""
    if isinstance(node, list):
        return [opened(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {name: opened(item) for name, item in node.items()}
    return or_null(node) if node.pop("nullable", False) is True else node


document = opened(document)
schemas = document["components"]["schemas"]
choice = schemas["CreateCompletionResponse"]["properties"]["choices"]["items"]["properties"]
for found in (choice["logprobs"], *choice["logprobs"].get("anyOf", [])):
    for name in ("token_logprobs", "top_logprobs"):
        if name in found.get("properties", {}):
            listed = found["properties"][name]
            listed["items"] = or_null(listed["items"])
schemas["CompletionChunk"] = copy.deepcopy(schemas["CreateCompletionResponse"])
choice = schemas["CompletionChunk"]["properties"]["choices"]["items"]["properties"]
choice["finish_reason"] = or_null(choice["finish_reason"])
resource = referencing.Resource(contents=document, specification=referencing.jsonschema.DRAFT202012)
registry = referencing.Registry().with_resource("urn:openai", resource)
failures = 0


def send(path, body=None):
    data = None if body is None else json.dumps({"model": model} | body).encode()
    request = urllib.request.Request(base + path, data, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=120) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def of_type(name, value):
    """The one of an event's schemas that is for its type, so that what is wrong with it can be said."""
    union = schemas[name]
    for option in union.get("anyOf", union.get("oneOf", [])):
        option = option["$ref"].rsplit("/", 1)[1]
        kinds = schemas[option].get("properties", {}).get("type", {}).get("enum", [])
        if value.get("type") in kinds:
            return option
    return name


def fits(name, value):
    """What is wrong with a value, or an empty text."""
    name = of_type(name, value)
    schema = {"$ref": f"urn:openai#/components/schemas/{name}"}
    validator = jsonschema.Draft202012Validator(schema, registry=registry)
    error = jsonschema.exceptions.best_match(validator.iter_errors(value))
    return f"{error.json_path}: {error.message[:300]}" if error else ""


def report(what, name, faults, count):
    global failures
    failures += bool(faults)
    print("FAILED" if faults else "ok", "schema", what, f"({count} x {name})", flush=True)
    for fault in list(dict.fromkeys(faults))[:4]:
        print("   ", fault)


def whole(what, name, path, body=None, status=200):
    code, text = send(path, body)
    faults = [f"status {code}: {text[:300]}"] if code != status else [fits(name, json.loads(text))]
    report(what, name, [fault for fault in faults if fault], 1)


def streamed(what, name, path, body, done="[DONE]"):
    code, text = send(path, body | {"stream": True})
    if code != 200:
        return report(what, name, [f"status {code}: {text[:300]}"], 0)
    data = [line[len("data: ") :] for line in text.split("\n") if line.startswith("data: ")]
    faults = []
    if done:
        if data[-1:] != [done] or done in data[:-1]:
            faults.append(f"{done} does not end the stream")
        data = [item for item in data if item != done]
    for item in data:
        fault = fits(name, json.loads(item))
        if fault:
            faults.append(fault)
    report(what, name, faults, len(data))


HELLO = {"messages": [{"role": "user", "content": "Once upon a time"}], "max_tokens": 12}
AGE = {"type": "integer", "minimum": 1, "maximum": 99}
SCHEMA = {"type": "object", "properties": {"age": AGE}, "required": ["age"], "additionalProperties": False}
FUNCTION = {"name": "feed", "description": "Feed a pet.", "parameters": SCHEMA}
CALL = {"tools": [{"type": "function", "function": FUNCTION}], "tool_choice": "required", "max_tokens": 300}
CHATS = {
    "chat": {},
    "chat, three answers": {"n": 3},
    "chat with log-probabilities": {"logprobs": True, "top_logprobs": 2},
    "chat that stops": {"stop": ["e"], "max_tokens": 60},
    "chat with a call": CALL,
}
for what, more in CHATS.items():
    whole(what, "CreateChatCompletionResponse", "/v1/chat/completions", HELLO | more)
    more = more | {"stream_options": {"include_usage": True}}
    streamed(f"{what}, streamed", "CreateChatCompletionStreamResponse", "/v1/chat/completions", HELLO | more)

COMPLETIONS = {
    "completion": {"prompt": "Once"},
    "completions of several prompts": {"prompt": ["Once", "Twice"], "n": 2},
    "completion with log-probabilities": {"prompt": "Once", "logprobs": 2, "echo": True},
}
for what, more in COMPLETIONS.items():
    whole(what, "CreateCompletionResponse", "/v1/completions", {"max_tokens": 8} | more)
    streamed(f"{what}, streamed", "CompletionChunk", "/v1/completions", {"max_tokens": 8} | more)

FORMAT = {"type": "json_schema", "name": "pet", "schema": SCHEMA, "strict": True}
SHORT = {"input": "Once", "max_output_tokens": 8}
RESPONSES = {
    "response": SHORT,
    "response with instructions and metadata": SHORT | {"instructions": "Tell.", "metadata": {"a": "b"}},
    "response with log-probabilities": SHORT | {"include": ["message.output_text.logprobs"], "top_logprobs": 2},
    "response in JSON": SHORT | {"text": {"format": FORMAT}, "max_output_tokens": 80},
    "response with a call": {
        "input": "Feed it", "max_output_tokens": 300, "parallel_tool_calls": False,
        "tools": [{"type": "function", "strict": False, **FUNCTION}], "tool_choice": "required",
    },
}
for what, body in RESPONSES.items():
    whole(what, "Response", "/v1/responses", body)
    streamed(f"{what}, streamed", "ResponseStreamEvent", "/v1/responses", body, done=None)

whole("models", "ListModelsResponse", "/v1/models")
whole("one model", "Model", f"/v1/models/{model}")
whole("embeddings", "CreateEmbeddingResponse", "/v1/embeddings", {"input": ["Once", "Twice"]})
whole("a bad value", "ErrorResponse", "/v1/chat/completions", HELLO | {"temperature": -1}, 400)
whole("an unknown model", "ErrorResponse", "/v1/chat/completions", HELLO | {"model": "nobody"}, 404)
whole("an unknown path", "ErrorResponse", "/v1/nothing", {}, 404)
sys.exit(failures > 0)
