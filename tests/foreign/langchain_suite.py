r"""LangChain's standard suites for chat models and embeddings against a running `smolserve`.

    pip install langchain-tests langchain-openai pytest pytest-asyncio pytest-socket
    SMOL_ADDRESS=http://127.0.0.1:8000/v1 SMOL_MODEL=MODEL python -m pytest -q -o asyncio_mode=auto \
        -o asyncio_default_test_loop_scope=session tests/foreign/langchain_suite.py

The small model decides at temperature 0, with a penalty without which it repeats itself inside a JSON text until it is cut. What it cannot do is listed with the reason; a listed test that passes is reported.
"""

import os

import pytest
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from langchain_tests.integration_tests import ChatModelIntegrationTests, EmbeddingsIntegrationTests

SERVER = {"base_url": os.environ["SMOL_ADDRESS"], "api_key": "none", "model": os.environ["SMOL_MODEL"]}


class TestChat(ChatModelIntegrationTests):
    @property
    def chat_model_class(self):
        return ChatOpenAI

    @property
    def chat_model_params(self):
        sampling = {"temperature": 0, "frequency_penalty": 1.5, "seed": 7, "max_tokens": 400}
        return {**SERVER, **sampling, "max_retries": 0, "timeout": 170, "stream_usage": True}

    @property
    def supports_json_mode(self):
        return True

    @property
    def structured_output_kwargs(self):
        return {"method": "json_schema"}

    @pytest.mark.xfail(reason="with `auto` a model of 135 million parameters does not decide to call a tool")
    def test_agent_loop(self, model):
        super().test_agent_loop(model)

    @pytest.mark.xfail(reason="it forgets a key that only the prompt names; a schema would demand it")
    def test_json_mode(self, model):
        super().test_json_mode(model)


class TestEmbeddings(EmbeddingsIntegrationTests):
    @property
    def embeddings_class(self):
        return OpenAIEmbeddings

    @property
    def embedding_model_params(self):
        # LangChain would send token ids of OpenAI's tokenizer otherwise.
        return {**SERVER, "check_embedding_ctx_length": False, "max_retries": 0}
