"""LoRA by peft: losses, gradients and the first steps' losses that our adapters must repeat.

    pip install torch==2.13.0 transformers==5.23.0 peft==0.21.2 safetensors==0.8.0 numpy==2.4.6
    python tests/goldens/make_lora_goldens.py

Writes training/lora.safetensors beside this script: on the two small models of make_gradient_goldens.py, with its
sequences and its formula for weights (matrices A and B follow from PEFT's names for them), per model M and case C:
M.C.losses (STEPS), the loss before each AdamW step, and M.C.gradient.NAME of the first. The settings are in the
metadata. All in f32 on the CPU. Also writes training/lora_tied_all, the first adapter before the first step as PEFT
saves it.
"""

import json
from importlib.metadata import version

import numpy
import torch
from make_engine_goldens import HERE, as_ids, counter_24_bits, formula_ids, formula_weight
from make_gradient_goldens import TINY, TINY_LENGTHS, build_model
from peft import LoraConfig, get_peft_model
from safetensors.numpy import save_file

STEPS = 4
CASES = {
    "all": {"r": 4, "lora_alpha": 8, "use_rslora": False, "target_modules": "all-linear"},
    "some": {"r": 3, "lora_alpha": 5, "use_rslora": True, "target_modules": ["q_proj", "v_proj", "down_proj"]},
}
OPTIMIZER = {"lr": 1e-2, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}
CLIP = 0.1


def main():
    tensors = {}
    for model, shape in TINY.items():
        for case, settings in CASES.items():
            save_to = HERE / "training" / f"lora_{model}_{case}" if (model, case) == ("tied", "all") else None
            losses, gradients = train(shape, settings, save_to)
            print(f"{model} {case}: {losses}")
            tensors[f"{model}.{case}.losses"] = numpy.array(losses, dtype=numpy.float32)
            tensors |= {f"{model}.{case}.gradient.{name}": gradient for name, gradient in gradients.items()}
    metadata = {package: version(package) for package in ("torch", "transformers", "peft", "numpy")}
    metadata["command"] = "python tests/goldens/make_lora_goldens.py"
    settings = {"cases": CASES, "optimizer": OPTIMIZER, "max_grad_norm": CLIP}
    metadata["settings"] = json.dumps(settings)
    save_file(tensors, HERE / "training" / "lora.safetensors", metadata=metadata)


def train(shape, settings, save_to):
    """The losses of all steps, each on all sequences, and the gradients of the first by PEFT's saved names."""
    model = get_peft_model(build_model(shape), LoraConfig(**settings, lora_dropout=0.0, task_type="CAUSAL_LM"))
    adapter = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            saved = name.replace(".default", "")
            adapter[saved] = parameter
            with torch.no_grad():
                parameter.copy_(torch.from_numpy(formula_weight(saved, tuple(parameter.shape))))
    if save_to:
        model.save_pretrained(save_to)
        (save_to / "README.md").unlink()
        # PEFT writes a set, whose order differs from run to run.
        config = save_to / "adapter_config.json"
        fields = json.loads(config.read_text())
        fields["target_modules"].sort()
        config.write_text(json.dumps(fields, indent=2) + "\n")
    optimizer = torch.optim.AdamW(adapter.values(), **OPTIMIZER)
    losses, gradients = [], {}
    for step in range(STEPS):
        optimizer.zero_grad()
        losses.append(add_gradient(model, shape))
        if step == 0:
            gradients = {name: parameter.grad.numpy().copy() for name, parameter in adapter.items()}
        torch.nn.utils.clip_grad_norm_(adapter.values(), CLIP)
        optimizer.step()
    return losses, gradients


def add_gradient(model, shape):
    """The mean loss of the trained tokens; every sequence by itself."""
    sequences = []
    for index, length in enumerate(TINY_LENGTHS):
        ids = torch.from_numpy(as_ids(formula_ids(f"ids{index}", length, shape["vocab_size"]))).long()
        trained = torch.from_numpy(counter_24_bits(f"trained{index}", length) % numpy.uint64(3) > 0)
        sequences.append((ids, trained[1:]))
    denominator = sum(int(trained.sum()) for _, trained in sequences)
    total = 0.0
    for ids, trained in sequences:
        if not trained.any():
            continue
        logits = model(input_ids=ids[None], use_cache=False).logits[0, :-1]
        logprobs = logits.log_softmax(-1).gather(1, ids[1:, None])[:, 0]
        loss = -logprobs[trained].sum() / denominator
        loss.backward()
        total += loss.item()
    return total


if __name__ == "__main__":
    main()
