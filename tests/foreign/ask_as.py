"""Asks as one of the clients that people have: one function each, which does what its users do first.

    python tests/foreign/ask_as.py litellm http://127.0.0.1:9000/v1 MODEL

What each needs is in the first line of its function. guidellm, aider and Codex have commands of their own:

    guidellm run --backend kind=openai_http,target=http://127.0.0.1:9000,model=MODEL --profile kind=synchronous \\
        --constraint kind=max_requests,count=2 --data kind=synthetic_text,prompt_tokens=32,output_tokens=8
    OPENAI_API_BASE=http://127.0.0.1:9000/v1 OPENAI_API_KEY=x aider --model openai/MODEL --message 'Say hi.' --yes --no-git
    codex exec --skip-git-repo-check -c model_provider=own -c model=MODEL \\
        -c 'model_providers.own={name="own",base_url="http://127.0.0.1:9000/v1",wire_api="responses"}' 'Say hi.'
"""

import sys

QUESTION = "What is the weather in Paris?"
LIMIT = 60


def litellm(address, model):
    import litellm  # pip install litellm

    own = dict(model=f"openai/{model}", api_base=address, api_key="x", max_tokens=LIMIT)
    messages = [{"role": "user", "content": QUESTION}]
    litellm.completion(messages=messages, **own)
    list(litellm.completion(messages=messages, stream=True, stream_options={"include_usage": True}, **own))
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tools = [{"type": "function", "function": {"name": "get_weather", "description": "Weather", "parameters": parameters}}]
    first = litellm.completion(messages=messages, tools=tools, tool_choice="required", **own).choices[0].message
    messages += [first.model_dump()]
    for call in first.tool_calls:
        messages.append({"role": "tool", "tool_call_id": call.id, "name": call.function.name, "content": "Sunny"})
    litellm.completion(messages=messages, tools=tools, **own)
    litellm.text_completion(prompt="Once", **own)
    litellm.embedding(model=f"openai/{model}", input=["a", "b"], api_base=address, api_key="x")


def instructor(address, model):
    import instructor  # pip install instructor
    from openai import OpenAI
    from pydantic import BaseModel

    class Answer(BaseModel):
        city: str
        is_warm: bool

    for mode in (instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA, instructor.Mode.TOOLS_STRICT, instructor.Mode.JSON, instructor.Mode.MD_JSON):
        client = instructor.from_openai(OpenAI(base_url=address, api_key="x"), mode=mode)
        try:
            client.chat.completions.create(
                model=model, response_model=Answer, max_retries=1, max_tokens=LIMIT, messages=[{"role": "user", "content": QUESTION}]
            )
        except Exception as error:  # A small model may not write what is asked for.
            print(f"{mode}: {str(error).splitlines()[0][:120]}", file=sys.stderr)


def pydantic_ai(address, model):
    from pydantic import BaseModel  # pip install pydantic-ai-slim[openai]
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
    from pydantic_ai.providers.openai import OpenAIProvider

    class Answer(BaseModel):
        city: str

    for kind in (OpenAIChatModel, OpenAIResponsesModel):
        chat = kind(model, provider=OpenAIProvider(base_url=address, api_key="x"))
        agent = Agent(chat, instructions="Answer in one sentence.", model_settings={"max_tokens": LIMIT})
        agent.run_sync(QUESTION)
        typed = Agent(chat, output_type=Answer, retries=0, model_settings={"max_tokens": LIMIT, "temperature": 0})
        typed.tool_plain(lambda city: "Sunny", name="get_weather", description="Weather of a city")
        try:
            typed.run_sync(QUESTION)
        except Exception as error:
            print(f"{kind.__name__}: {str(error).splitlines()[0][:120]}", file=sys.stderr)


def langchain(address, model):
    from langchain_openai import ChatOpenAI, OpenAIEmbeddings  # pip install langchain-openai

    chat = ChatOpenAI(base_url=address, api_key="x", model=model, max_tokens=LIMIT, stream_usage=True)
    chat.invoke(QUESTION)
    list(chat.stream(QUESTION))
    schema = {"title": "Answer", "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
    for method in ("json_schema", "function_calling"):
        chat.with_structured_output(schema, method=method, include_raw=True).invoke(QUESTION)
    OpenAIEmbeddings(base_url=address, api_key="x", model=model, check_embedding_ctx_length=False).embed_documents(["a", "b"])


def main(client, address, model):
    {"litellm": litellm, "instructor": instructor, "pydantic_ai": pydantic_ai, "langchain": langchain}[client](address, model)


main(*sys.argv[1:])
