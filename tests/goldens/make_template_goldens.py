"""Chat templates rendered by transformers: what our Jinja must print, to the byte.

    pip install transformers==5.23.0 jinja2==3.1.6
    python tests/goldens/make_template_goldens.py

Renders each templates/*.jinja (written for this project in the styles models are published with) over each
conversation below, with and without a generation prompt, into templates/renders.jsonl. `text` or `error` (what
the template raised) is the answer; `assistant_spans` are the UTF-8 byte ranges, content start to stop token end,
of what each assistant message contributes, found by the two strings of LAYOUTS alone.
Versions: templates/versions.json.
"""

import json
from importlib.metadata import version
from pathlib import Path

import jinja2
from transformers.utils.chat_template_utils import render_jinja_template

FOLDER = Path(__file__).parent / "templates"

# Template: bos, eos, what stands right before an assistant's content, what ends it. No conversation holds these.
CHATML = ("<|im_start|>", "<|im_end|>", "<|im_start|>assistant\n", "<|im_end|>")
LAYOUTS = {
    "chatml": CHATML,
    "chatml_default_system": CHATML,
    "llama3_headers": (
        "<|begin_of_text|>",
        "<|eot_id|>",
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "<|eot_id|>",
    ),
    "llama2_inst": ("<s>", "</s>", "[/INST] ", "</s>"),
    "mistral_inst": ("<s>", "</s>", "[/INST]", "</s>"),
    "gemma_turns": ("<bos>", "<eos>", "<start_of_turn>model\n", "<end_of_turn>"),
    "zephyr": ("<s>", "</s>", "<|assistant|>\n", "</s>"),
    "qwen_tools": CHATML,
    "smollm3_generation": CHATML,
}
# These print tool calls; the others only print contents, so a null content is nothing they were written for.
PRINT_TOOL_CALLS = {"llama3_headers", "qwen_tools"}


def system(content):
    return {"role": "system", "content": content}


def user(content):
    return {"role": "user", "content": content}


def assistant(content, *calls):
    message = {"role": "assistant", "content": content}
    if calls:
        message["tool_calls"] = [
            {"id": f"call_{index}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for index, (name, arguments) in enumerate(calls)
        ]
    return message


def tool(content):
    return {"role": "tool", "tool_call_id": "call_0", "content": content}


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": 'The weather in a town: "°C", <b>not</b> °F & never K — it\'s that simple.',
            "parameters": {
                "type": "object",
                "properties": {
                    "town": {"type": "string", "description": "Zürich, 東京, …"},
                    "days": {"type": "integer", "minimum": 1, "default": 3},
                    "fine": {"type": ["boolean", "null"], "default": None, "enum": [True, False, None]},
                },
                "required": ["town"],
            },
        },
    },
    {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}},
]
NUMBERS = {"half": 0.5, "one": 1.0, "tiny": 1e-7, "huge": 1e16, "big": 9007199254740993, "minus": -3, "list": [[], {}]}

# Name: messages, tools.
CONVERSATIONS = {
    "one_question": ([user("What is a fjord?")], None),
    "one_turn": ([user("What is a fjord?"), assistant("A long arm of the sea between cliffs.")], None),
    "system": ([system("Answer like a sailor."), user("Hi!"), assistant("Ahoy!")], None),
    "multi_turn": (
        [
            system("Be brief."),
            user("Name a metal."),
            assistant("Iron."),
            user("Another one."),
            assistant("Tin."),
            user("And one that is liquid?"),
        ],
        None,
    ),
    "unicode": (
        [
            user("Grüße! 👩‍🚀 reads 「日本語」 and עברית"),
            assistant("Cafe\u0301 \u2028 ≠ café; 🇳🇴🏔️ — привет\u00a0мир"),
            user("\u00a0\u3000wide spaces at both ends\u3000\u00a0"),
            assistant("𝔘"),
        ],
        None,
    ),
    "white_space": (
        [
            system("  \n indented system \t\n"),
            user("\n\n  two newlines before, three spaces after   "),
            assistant("\n\n\tan answer with margins  \n \n"),
            user("\r\nCRLF\r\n"),
            assistant(" \n"),
        ],
        None,
    ),
    "newlines": (
        [
            user("Fix this:\n\n```python\nprint('a\\n')\n\n\n# {{ not }} {% a %} {# template #}\n```\n"),
            assistant('Line one\n\n- "two"\n    - \'three\'\n\\end{x} <&>'),
        ],
        None,
    ),
    "empty": ([system(""), user(""), assistant(""), user("Say nothing again."), assistant("")], None),
    "tool_call": (
        [
            system("Use the functions."),
            user("Weather in Zürich?"),
            assistant(None, ("weather", {"town": "Zürich <\"&'>", "days": 2, "fine": None})),
            tool('{"celsius": 21.5, "note": "föhn"}'),
            assistant("21.5 °C."),
        ],
        TOOLS,
    ),
    "two_tool_calls": (
        [
            user("Weather in Oslo, and the time?"),
            assistant("One moment.", ("weather", {"town": "Oslo"}), ("now", {})),
            tool("rain"),
            tool("12:00"),
            assistant("Rain, at noon."),
            user("Thanks"),
        ],
        TOOLS,
    ),
    "tool_numbers": ([user("Call it."), assistant("", ("numbers", NUMBERS)), tool("ok"), assistant("Done.")], None),
    "thoughts": (
        [
            user("2 + 2?"),
            assistant("<think>\nEasy.\n</think>\n\n4"),
            user("3 + 3?"),
            assistant("<think>\nAlso easy.\n\n</think>\n\n6"),
        ],
        None,
    ),
    "no_think": ([system("Be quick. /no_think  "), user("1 + 1?"), assistant("2"), user("2 + 1?")], None),
    "two_users": ([user("First."), user("Second."), assistant("Both heard.")], None),
    "strange_role": ([user("Hello"), {"role": "narrator", "content": "A door opens."}, assistant("Hm.")], None),
}


def main():
    rows = []
    for template in sorted(LAYOUTS):
        for name, (messages, tools) in CONVERSATIONS.items():
            if template not in PRINT_TOOL_CALLS and any(message["content"] is None for message in messages):
                continue
            for add_generation_prompt in (False, True):
                rows.append(row(template, name, messages, tools, add_generation_prompt))
    unused = {path.stem for path in FOLDER.glob("*.jinja")} ^ set(LAYOUTS)
    assert not unused, f"templates and LAYOUTS differ: {unused}"

    versions = {"transformers": version("transformers"), "jinja2": version("jinja2")}
    versions["command"] = "python tests/goldens/make_template_goldens.py"
    (FOLDER / "versions.json").write_text(json.dumps(versions) + "\n")
    lines = [json.dumps(value, ensure_ascii=False) for value in rows]
    # U+2028 stays inside its line: JSONL ends lines at \n only.
    (FOLDER / "renders.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    errors = sum("error" in value for value in rows)
    spans = sum(len(value.get("assistant_spans", [])) for value in rows)
    print(f"renders.jsonl: {len(rows)} renders of {len(LAYOUTS)} templates, {errors} raise, {spans} assistant spans")


def row(template, name, messages, tools, add_generation_prompt):
    bos, eos, header, stop = LAYOUTS[template]
    out = {"template": template, "conversation": name, "messages": messages}
    if tools:
        out["tools"] = tools
    out |= {"add_generation_prompt": add_generation_prompt, "bos_token": bos, "eos_token": eos}
    source = (FOLDER / f"{template}.jinja").read_text(encoding="utf-8")
    marked = "endgeneration" in source
    try:
        texts, marks = render_jinja_template(
            [messages],
            tools=tools,
            chat_template=source,
            add_generation_prompt=add_generation_prompt,
            return_assistant_tokens_mask=marked,
            bos_token=bos,
            eos_token=eos,
        )
    except jinja2.TemplateError as error:
        assert type(error) is jinja2.TemplateError, f"{template}, {name}: not raised by the template: {error!r}"
        return out | {"error": str(error)}
    spans = assistant_spans(texts[0], header, stop)
    assistants = sum(message["role"] == "assistant" for message in messages)
    assert len(spans) == assistants, f"{template}, {name}: {len(spans)} spans for {assistants} assistant messages"
    if marked:
        assert spans == marks[0], f"{template}, {name}: {spans} is not what transformers marks, {marks[0]}"
    return out | {"text": texts[0], "assistant_spans": [in_bytes(texts[0], span) for span in spans]}


def assistant_spans(text, header, stop):
    """Character ranges from the end of each header to the end of the next stop; a prompt at the end has no stop."""
    spans, position = [], 0
    while (found := text.find(header, position)) >= 0:
        start = found + len(header)
        end = text.find(stop, start)
        if end < 0:
            break
        position = end + len(stop)
        spans.append((start, position))
    return spans


def in_bytes(text, span):
    return [len(text[:index].encode("utf-8")) for index in span]


if __name__ == "__main__":
    main()
