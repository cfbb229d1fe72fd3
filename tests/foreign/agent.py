"""A conversation with a tool, held by OpenAI's agents SDK against `smolserve`.

    pip install openai-agents
    python tests/foreign/agent.py http://127.0.0.1:8000/v1 MODEL

The first turn must call the tool, because small models rarely decide to; the agent runs it, sends its result and gets the
answer. Both endpoints are used, the second turn of `/v1/responses` by `previous_response_id`. It prints what was said.
"""

import asyncio
import sys

from agents import Agent, ModelSettings, OpenAIChatCompletionsModel, OpenAIResponsesModel, Runner, function_tool
from agents import set_tracing_disabled
from openai import AsyncOpenAI

set_tracing_disabled(True)
called = []


@function_tool
def get_weather(city: str) -> str:
    """The weather of a city now.

    Args:
        city: Name of the city.
    """
    called.append(city)
    return "It is sunny and 21 degrees warm."


def shown(item):
    raw = item.raw_item
    if item.type == "tool_call_item":
        return f"{raw.name}({raw.arguments})"
    if item.type == "tool_call_output_item":
        return item.output
    return "".join(part.text for part in getattr(raw, "content", None) or [] if hasattr(part, "text"))


async def main(address, name):
    client = AsyncOpenAI(base_url=address, api_key="none", max_retries=0, timeout=300)
    for kind in (OpenAIChatCompletionsModel, OpenAIResponsesModel):
        called.clear()
        agent = Agent(
            name="Weather",
            instructions="You tell the weather. Answer in one sentence.",
            model=kind(model=name, openai_client=client),
            model_settings=ModelSettings(temperature=0, max_tokens=60, tool_choice="required"),
            tools=[get_weather],
        )
        print(f"--- {kind.__name__}")
        print("user: What is the weather in Paris?")
        result = await Runner.run(agent, "What is the weather in Paris?", max_turns=4)
        for item in result.new_items:
            print(f"{item.type}: {shown(item)}")
        assert len(called) == 1 and "paris" in called[0].lower(), called
        assert result.final_output.strip(), "the agent got no answer"
        if kind is OpenAIResponsesModel:
            agent.model_settings.tool_choice = "none"
            print("user: And is that warm?")
            more = await Runner.run(agent, "And is that warm?", previous_response_id=result.last_response_id)
            print(f"message_output_item: {more.final_output}")
            assert more.final_output.strip()
        streamed = Runner.run_streamed(
            agent.clone(model_settings=ModelSettings(temperature=0, max_tokens=40)), "Say hello."
        )
        events = [event async for event in streamed.stream_events()]
        print(f"streamed: {len(events)} events, {streamed.final_output!r}")


asyncio.run(main(*sys.argv[1:]))
