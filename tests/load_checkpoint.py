"""Loads checkpoints with transformers, as their users will, and compares with what our own code made of them.

    pip install torch==2.13.0 transformers==5.23.0
    python tests/load_checkpoint.py DIR...

Beside each checkpoint lies expected.json: token ids, our logits of the last one, a conversation and the ids our code
renders it to, and the ids that end a generation. One line for each; the first difference is said on standard error,
with exit status 1.
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import torch  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402


def main():
    for folder in map(Path, sys.argv[1:]):
        try:
            check(folder, json.loads((folder / "expected.json").read_text(encoding="utf-8")))
        except Exception as error:  # whatever stops a user stops this script, in one line
            sys.exit(f"{folder}: {type(error).__name__}: {' '.join(str(error).split())}")


def check(folder, expected):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tied = model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    assert tied == model.config.tie_word_embeddings, "tied heads are one tensor, others two"
    with torch.no_grad():
        logits = model(torch.tensor([expected["ids"]])).logits[0, -1]
    worst = (logits - torch.tensor(expected["logits"])).abs().max().item()
    assert worst < 1e-4, f"logits differ by {worst}"
    stops = model.generation_config.eos_token_id
    stops = stops if isinstance(stops, list) else [stops]
    assert stops == expected["stops"], f"generation stops at {stops}, not {expected['stops']}"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.eos_token_id == expected["stops"][0], "the tokenizer's end of sequence is the first stop"
    if expected["messages"]:
        ids = tokenizer.apply_chat_template(expected["messages"], tokenize=True, return_dict=True)["input_ids"]
        assert ids == expected["rendered"], "the conversation has other ids"
    print(f"{folder.name}: logits within {worst:.1e}, vocabulary {model.config.vocab_size}")


if __name__ == "__main__":
    main()
