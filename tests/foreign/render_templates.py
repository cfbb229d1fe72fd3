"""Renders chat templates with transformers: what `checkpoint/tests/public_templates.rs` compares with.

    python tests/foreign/render_templates.py FOLDER_OF_JINJA_FILES

Prints one JSON object a line: `template`, `conversation`, `messages`, `tools`, `variables`, `generation`, and `text` or
`error`.
"""

import json
import sys
from pathlib import Path

from transformers.utils.chat_template_utils import render_jinja_template

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city, in °C & <b>only</b> there",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Zürich or 東京"},
                "days": {"type": "integer", "enum": [1, 2], "default": 1},
                "exact": {"type": ["boolean", "null"], "default": None},
                "places": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
            },
            "required": ["city"],
        },
    },
}
BARE = {"type": "function", "function": {"name": "get_time", "description": "The time", "parameters": {"type": "object", "properties": {}}}}


def user(content):
    return {"role": "user", "content": content}


def assistant(content, *calls, **more):
    message = {"role": "assistant", "content": content, **more}
    if calls:
        message["tool_calls"] = [
            {"id": f"call{index:05}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for index, (name, arguments) in enumerate(calls)
        ]
    return message


def tool(index, content, name="get_weather"):
    return {"role": "tool", "tool_call_id": f"call{index:05}", "name": name, "content": content}


PARIS = ("get_weather", {"city": "Paris", "days": 2, "exact": True, "places": [{"name": "é \"x\""}], "none": None, "share": 0.5})
SYSTEM = {"role": "system", "content": "Be brief."}

# Name: messages, tools, variables, whether a prompt for an answer is added.
CONVERSATIONS = {
    "user": ([user("Hi there é")], None, {}, True),
    "no tools": ([user("Hi")], [], {}, True),
    "turns": ([SYSTEM, user("Hi"), assistant("Hello!"), user(" 2 < 3 & 'x' ")], None, {}, True),
    "whole": ([user("Hi"), assistant("Hello!\n\nBye.  ")], None, {}, False),
    "tools": ([user("Weather in Paris?")], [TOOL, BARE], {}, True),
    "round": ([SYSTEM, user("Weather?"), assistant("", PARIS), tool(0, "Sunny"), assistant("It is sunny.")], [TOOL], {}, False),
    "parallel": (
        [user("Both?"), assistant("I look.", PARIS, ("get_time", {})), tool(0, '{"sun": true}'), tool(1, "12:00", "get_time")],
        [TOOL, BARE],
        {},
        True,
    ),
    "thoughts": (
        [user("1+1?"), assistant("2", reasoning_content="One and one."), user("2+2?")],
        None,
        {},
        True,
    ),
    "tags": ([user("1+1?"), assistant("<think>\nOne.\n</think>\n\n2"), user("2+2?")], None, {}, True),
    "no thinking": ([user("1+1?")], None, {"enable_thinking": False}, True),
    "effort": ([user("1+1?")], None, {"reasoning_effort": "low", "thinking": True}, True),
}


def main():
    for path in sorted(Path(sys.argv[1]).glob("*.jinja")):
        for name, (messages, tools, variables, generation) in CONVERSATIONS.items():
            row = {
                "template": path.name,
                "conversation": name,
                "messages": messages,
                "tools": tools,
                "variables": variables,
                "generation": generation,
            }
            try:
                rendered, _ = render_jinja_template(
                    conversations=[messages],
                    chat_template=path.read_text(),
                    tools=tools,
                    documents=None,
                    add_generation_prompt=generation,
                    bos_token="<s>",
                    eos_token="</s>",
                    **variables,
                )
                row["text"] = rendered[0]
            except Exception as error:
                row["error"] = f"{type(error).__name__}: {error}"[:300]
            print(json.dumps(row, ensure_ascii=False))


main()
