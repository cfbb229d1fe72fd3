"""Loads an adapter with peft, as its users will, and compares with the log-probabilities of our own code.

    python tests/load_adapter.py ADAPTER EXPECTED.json

EXPECTED has `ids` and the log-probability of each after the first. Says so and exits with 0 where peft is not installed.
"""

import json
import sys
from importlib.util import find_spec
from pathlib import Path


def main():
    if find_spec("peft") is None:
        print("skipped: peft is not installed")
        return
    import torch
    from peft import AutoPeftModelForCausalLM

    adapter, expected = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    model = AutoPeftModelForCausalLM.from_pretrained(adapter, dtype=torch.float32).eval()
    ids = torch.tensor([expected["ids"]])
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0, :-1].double()
    found = logits.log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
    difference = (found - torch.tensor(expected["log_probabilities"])).abs().max().item()
    assert difference < 1e-4, f"peft's log-probabilities differ by {difference}"
    print(f"peft agrees within {difference:.1e}")


if __name__ == "__main__":
    main()
