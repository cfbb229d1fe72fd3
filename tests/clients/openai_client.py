"""Every endpoint as the official openai package for Python drives it, streamed and not.

    python openai_client.py BASE_URL MODEL [GUARDED_URL KEY]

BASE_URL is the server's root. GUARDED_URL is a second server that wants KEY and keeps at most one request waiting and
one running. One line a check; the first failure ends it with its traceback.
"""

import json
import sys

import openai

base, model = sys.argv[1:3]
client = openai.OpenAI(base_url=f"{base}/v1", api_key="any", max_retries=0, timeout=120)
HELLO = [{"role": "user", "content": "Once upon a time"}]
SCHEMA = {
    "type": "object",
    "properties": {"age": {"type": "integer", "minimum": 1, "maximum": 99}, "kind": {"enum": ["cat", "dog"]}},
    "required": ["age", "kind"],
    "additionalProperties": False,
}
TOOLS = [
    {"type": "function", "function": {"name": "feed", "description": "Feed a pet.", "parameters": SCHEMA}},
    {"type": "function", "function": {"name": "sleep", "parameters": {"type": "object", "properties": {}}}},
]
JSON_FORMAT = {"type": "json_schema", "json_schema": {"name": "pet", "schema": SCHEMA, "strict": True}}


def check(function):
    function()
    print("ok python", function.__name__.replace("_", " "), flush=True)


def chat(**parameters):
    return client.chat.completions.create(**{"model": model, "messages": HELLO, "seed": 7, "max_tokens": 24} | parameters)


def joined(chunks):
    """A stream's text, finish reasons, usages and number of role deltas."""
    text, finishes, usages, roles = {}, [], [], 0
    for chunk in chunks:
        assert chunk.object == "chat.completion.chunk" and chunk.model == model
        if chunk.usage:
            assert chunk.choices == []
            usages.append(chunk.usage)
        for choice in chunk.choices:
            roles += choice.delta.role == "assistant"
            text[choice.index] = text.get(choice.index, "") + (choice.delta.content or "")
            if choice.finish_reason:
                finishes.append(choice.finish_reason)
    return text, finishes, usages, roles


@check
def models_are_listed_and_found():
    assert [entry.id for entry in client.models.list().data] == [model]
    found = client.models.retrieve(model)
    assert (found.id, found.object) == (model, "model")
    try:
        client.models.retrieve("nobody/nowhere")
        raise AssertionError("a model was found that is not there")
    except openai.NotFoundError as error:
        assert error.code == "model_not_found", error


@check
def chat_answers_and_repeats_itself():
    first, second = chat(), chat()
    assert first.choices[0].message.content == second.choices[0].message.content
    assert first.object == "chat.completion" and first.id.startswith("chatcmpl-")
    assert first.choices[0].message.role == "assistant" and first.choices[0].finish_reason == "length"
    usage = first.usage
    assert usage.completion_tokens == 24 and usage.total_tokens == usage.prompt_tokens + 24
    assert chat(seed=8).choices[0].message.content != first.choices[0].message.content


@check
def chat_streams_what_it_answers():
    whole = chat(n=3)
    with chat(n=3, stream=True, stream_options={"include_usage": True}) as stream:
        text, finishes, usages, roles = joined(stream)
    assert text == {choice.index: choice.message.content for choice in whole.choices}
    assert len(set(text.values())) == 3 and (finishes, roles) == (["length"] * 3, 3)
    assert len(usages) == 1 and usages[0].total_tokens == whole.usage.total_tokens
    assert joined(chat(stream=True))[2] == []


@check
def chat_stops_at_strings():
    text = chat(max_tokens=60, temperature=0).choices[0].message.content
    stop = text[len(text) // 2 :][:3]
    cut = chat(max_tokens=60, temperature=0, stop=[stop, "never said"])
    assert cut.choices[0].message.content == text[: text.index(stop)] and cut.choices[0].finish_reason == "stop"
    streamed = joined(chat(max_tokens=60, temperature=0, stop=stop, stream=True))
    assert streamed[0][0] == cut.choices[0].message.content and streamed[1] == ["stop"]


@check
def chat_takes_every_sampling_parameter():
    extra = {"top_k": 20, "min_p": 0.01, "repetition_penalty": 1.1, "min_tokens": 2, "ignore_eos": True}
    answer = chat(
        temperature=0.7, top_p=0.9, presence_penalty=0.1, frequency_penalty=0.1, logit_bias={"5": -100},
        max_tokens=openai.omit, max_completion_tokens=9, user="me", extra_body=extra,
    )
    assert answer.usage.completion_tokens == 9


@check
def chat_reports_log_probabilities():
    def sound(content, count):
        assert len(content) == count
        for token in content:
            assert token.logprob <= 0 and len(token.top_logprobs) == 3
            assert bytes(token.bytes).decode(errors="replace") == token.token or token.bytes == []

    sound(chat(logprobs=True, top_logprobs=3, max_tokens=8).choices[0].logprobs.content, 8)
    streamed = []
    for chunk in chat(logprobs=True, top_logprobs=3, max_tokens=8, stream=True):
        for choice in chunk.choices:
            streamed += choice.logprobs.content if choice.logprobs else []
    sound(streamed, 8)


@check
def chat_keeps_to_json():
    answer = chat(response_format=JSON_FORMAT, max_tokens=80, temperature=1).choices[0]
    pet = json.loads(answer.message.content)
    assert 1 <= pet["age"] <= 99 and pet["kind"] in ("cat", "dog") and answer.finish_reason == "stop"
    text = joined(chat(response_format=JSON_FORMAT, max_tokens=80, stream=True))[0][0]
    assert set(json.loads(text)) == {"age", "kind"}
    choice = chat(extra_body={"guided_choice": ["yes", "no"]}).choices[0].message.content
    assert choice in ("yes", "no")


@check
def chat_continues_a_message():
    begun = [*HELLO, {"role": "assistant", "content": "there was"}]
    more = {"continue_final_message": True, "add_generation_prompt": False}
    assert chat(messages=begun, extra_body=more).choices[0].message.content


def sound_calls(calls, names):
    assert calls
    for call in calls:
        assert call["id"].startswith("call_") and call["name"] in names
        arguments = json.loads(call["arguments"])
        assert set(arguments) == ({"age", "kind"} if call["name"] == "feed" else set())


def whole_calls(answer):
    assert answer.choices[0].finish_reason == "tool_calls" and answer.choices[0].message.content is None
    return [
        {"id": call.id, "name": call.function.name, "arguments": call.function.arguments}
        for call in answer.choices[0].message.tool_calls
    ]


def streamed_calls(chunks):
    calls, finishes = {}, []
    for chunk in chunks:
        for choice in chunk.choices:
            assert not choice.delta.content
            if choice.finish_reason:
                finishes.append(choice.finish_reason)
            for part in choice.delta.tool_calls or []:
                if part.id:
                    assert part.index not in calls and part.type == "function"
                    calls[part.index] = {"id": part.id, "name": part.function.name, "arguments": ""}
                calls[part.index]["arguments"] += part.function.arguments or ""
    assert finishes == ["tool_calls"] and list(calls) == list(range(len(calls)))
    return list(calls.values())


@check
def chat_calls_tools_where_it_must():
    named = {"type": "function", "function": {"name": "feed"}}
    for choice, parallel, names in [("required", False, {"feed", "sleep"}), (named, True, {"feed"})]:
        parameters = {"tools": TOOLS, "tool_choice": choice, "parallel_tool_calls": parallel, "max_tokens": 300}
        calls = whole_calls(chat(**parameters))
        sound_calls(calls, names)
        streamed = streamed_calls(chat(**parameters, stream=True))
        sound_calls(streamed, names)
        strip = lambda calls: [(call["name"], call["arguments"]) for call in calls]
        assert strip(calls) == strip(streamed) and len(calls) == 1


@check
def chat_speaks_with_tools_and_after_them():
    assert chat(tools=TOOLS, tool_choice="auto").choices[0].finish_reason in ("length", "stop", "tool_calls")
    assert chat(tools=TOOLS, tool_choice="none").choices[0].message.content
    call = {"id": "call_1", "type": "function", "function": {"name": "feed", "arguments": '{"age": 3, "kind": "cat"}'}}
    done = [
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "fed"},
    ]
    assert chat(messages=done, tools=TOOLS).usage.prompt_tokens > chat(tools=TOOLS).usage.prompt_tokens


def complete(**parameters):
    return client.completions.create(**{"model": model, "prompt": "Once", "seed": 7, "max_tokens": 12} | parameters)


@check
def completions_take_every_kind_of_prompt():
    ids = [1, 403, 407, 261]
    kinds = [("Once", 1), (["Once", "Lily"], 2), (ids, 1), ([ids, ids[:2]], 2)]
    for prompt, count in kinds:
        answer = complete(prompt=prompt, n=2)
        assert [choice.index for choice in answer.choices] == list(range(2 * count)), prompt
        assert answer.object == "text_completion" and answer.id.startswith("cmpl-")
        text = dict.fromkeys(range(2 * count), "")
        for chunk in complete(prompt=prompt, n=2, stream=True):
            for choice in chunk.choices:
                text[choice.index] += choice.text
        assert text == {choice.index: choice.text for choice in answer.choices}, prompt


@check
def completions_echo_and_score():
    prompt = "Once upon a time"
    answer = complete(prompt=prompt, echo=True, logprobs=2, max_tokens=0).choices[0]
    scores = answer.logprobs
    assert answer.text == prompt and scores.token_logprobs[0] is None
    assert all(score <= 0 for score in scores.token_logprobs[1:])
    assert len(scores.tokens) == len(scores.text_offset) == len(scores.token_logprobs) == len(scores.top_logprobs)
    written = complete(logprobs=0, max_tokens=5).choices[0].logprobs
    assert len(written.tokens) == 5 and all(len(top) == 1 for top in written.top_logprobs)
    streamed = [choice for chunk in complete(prompt=prompt, echo=True, stream=True) for choice in chunk.choices]
    assert "".join(choice.text for choice in streamed).startswith(prompt)
    usage = [chunk.usage for chunk in complete(stream=True, stream_options={"include_usage": True}) if chunk.usage]
    assert len(usage) == 1 and usage[0].completion_tokens == 12


@check
def responses_answer_streamed_and_not():
    parameters = {"model": model, "input": "Once upon a time", "max_output_tokens": 16, "extra_body": {"seed": 7}}
    whole = client.responses.create(**parameters, instructions="Tell a story.", store=False)
    assert whole.object == "response" and whole.output_text and whole.usage.output_tokens == 16
    assert whole.status == "incomplete" and whole.incomplete_details.reason == "max_output_tokens"
    text, last, numbers = "", None, []
    for event in client.responses.create(**parameters, instructions="Tell a story.", store=False, stream=True):
        numbers.append(event.sequence_number)
        text += event.delta if event.type == "response.output_text.delta" else ""
        last = event
    assert text == whole.output_text == last.response.output_text and last.type == "response.incomplete"
    assert numbers == list(range(len(numbers)))
    items = [{"role": "user", "content": [{"type": "input_text", "text": "Once"}]}]
    shaped = client.responses.create(**parameters | {"input": items, "max_output_tokens": 80}, text={
        "format": {"type": "json_schema", "name": "pet", "schema": SCHEMA, "strict": True}})
    assert set(json.loads(shaped.output_text)) == {"age", "kind"} and shaped.status == "completed"


@check
def responses_call_tools():
    tools = [{"type": "function", **tool["function"], "strict": False} for tool in TOOLS[:1]]
    parameters = {"model": model, "input": "Feed it", "tools": tools, "tool_choice": "required",
                  "parallel_tool_calls": False, "max_output_tokens": 300}
    whole = client.responses.create(**parameters)
    call = whole.output[0]
    assert (call.type, call.name, call.status) == ("function_call", "feed", "completed")
    sound_calls([{"id": call.call_id, "name": call.name, "arguments": call.arguments}], {"feed"})
    arguments = ""
    for event in client.responses.create(**parameters, stream=True):
        arguments += event.delta if event.type == "response.function_call_arguments.delta" else ""
    assert set(json.loads(arguments)) == {"age", "kind"}
    turn = [{"role": "user", "content": "Feed it"}, {"type": "function_call", "call_id": call.call_id, "name": "feed",
            "arguments": call.arguments}, {"type": "function_call_output", "call_id": call.call_id, "output": "fed"}]
    assert client.responses.create(**parameters | {"input": turn, "tool_choice": "auto"}).output


@check
def embeddings_come_as_numbers_and_as_base64():
    texts = ["Once upon a time", "The end", "Once upon a time"]
    floats = client.embeddings.create(model=model, input=texts, encoding_format="float")
    packed = client.embeddings.create(model=model, input=texts)  # the package asks for base64
    for one, other in zip(floats.data, packed.data):
        assert all(abs(a - b) < 1e-6 for a, b in zip(one.embedding, other.embedding))
    assert floats.data[0].embedding == floats.data[2].embedding != floats.data[1].embedding
    assert floats.usage.prompt_tokens == floats.usage.total_tokens > 0
    assert client.embeddings.create(model=model, input=[1, 5, 9]).data[0].index == 0


def refused(expected, param, code, function):
    try:
        function()
    except expected as error:
        assert error.param == param and (code is None or error.code == code), (error.param, error.code, error)
        assert error.type and error.message and error.request_id
    else:
        raise AssertionError(f"{param} was not refused")


@check
def errors_name_what_is_wrong():
    bad = openai.BadRequestError
    refused(bad, "temperature", None, lambda: chat(temperature=-1))
    refused(bad, "no_such_thing", "unknown_parameter", lambda: chat(extra_body={"no_such_thing": 1}))
    refused(bad, "messages[0].role", None, lambda: chat(messages=[{"role": "nobody", "content": ""}]))
    refused(bad, "tools[0].function.name", None, lambda: chat(tools=[{"type": "function", "function": {"name": "a b"}}]))
    refused(bad, "stream_options", None, lambda: chat(stream_options={"include_usage": True}))
    endless = [{"role": "user", "content": "Once upon a time. " * 20000}]
    refused(bad, "messages", "context_length_exceeded", lambda: chat(messages=endless))
    impossible = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "not": {}}}}
    refused(bad, "response_format", "unsupported_schema_keyword", lambda: chat(response_format=impossible))
    refused(bad, "suffix", None, lambda: complete(suffix="end"))
    refused(openai.NotFoundError, "model", "model_not_found", lambda: chat(model="nobody"))


if len(sys.argv) > 4:
    guarded, key = sys.argv[3:5]

    @check
    def keys_and_full_queues_are_told_apart():
        def ask(key, **parameters):
            return openai.OpenAI(base_url=f"{guarded}/v1", api_key=key, max_retries=0).chat.completions.create(
                **{"model": model, "messages": HELLO, "max_tokens": 8} | parameters)

        assert ask(key).choices[0].message.content is not None
        refused(openai.AuthenticationError, None, "invalid_api_key", lambda: ask("wrong"))
        # Long answers from several sides keep the one place and the queue of one taken.
        more = {"n": 16, "max_tokens": 2000, "extra_body": {"ignore_eos": True}}
        streams = []
        try:
            for _ in range(60):
                streams.append(ask(key, stream=True, **more))
        except openai.RateLimitError as error:
            assert int(error.response.headers["retry-after"]) >= 1 and error.type == "rate_limit_error", error
            return
        finally:
            for stream in streams:
                stream.close()
        raise AssertionError("the queue was never full")
