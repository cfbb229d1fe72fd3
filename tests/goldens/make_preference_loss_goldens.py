"""Losses of TRL's DPOTrainer and their gradients, by TRL's own code: what posttrain's dpo/loss.rs must repeat.

    pip install torch==2.13.0 trl==1.16.0 transformers==5.23.0
    python tests/goldens/make_preference_loss_goldens.py

Writes training/preference_losses.json beside this script: batches of random log-probabilities, and for each
batch and loss the mean over the batch's pairs and its gradient with respect to each reply's log-probability.

Nothing is retyped from a formula: the script calls `DPOTrainer._compute_loss` itself, on a batch from TRL's own
collator, in f64. The model is a stand-in that answers with the wanted log-probabilities, each reply's spread
unevenly over its tokens, and the trainer is a bare object with the fields that method reads.
"""

import json
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import torch
from trl.trainer.dpo_trainer import DataCollatorForPreference, DPOTrainer

HERE = Path(__file__).parent
BATCH_SIZES = (1, 2, 3, 8)
BETAS = (0.1, 0.5)
DISCOPOP_TAU = 0.05
UNSMOOTHED = (
    "sigmoid", "hinge", "ipo", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot", "aot_unpaired",
    "apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm",
)  # fmt: skip
SMOOTHED = ("exo_pair", "robust", "aot", "aot_unpaired")
SUMS = (
    [("sigmoid", 1.0), ("sft", 0.5)],
    [("sigmoid_norm", 0.8), ("sft", 0.2)],
    [("bco_pair", 1.0), ("aot", 0.25), ("sft", 2.0)],
)


def main():
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    generator = torch.Generator().manual_seed(20260901)
    batches = [random_batch(size, generator) for size in BATCH_SIZES]
    settings = [([(loss, 1.0)], 0.0) for loss in UNSMOOTHED] + [([(loss, 1.0)], 0.1) for loss in SMOOTHED]
    settings += [(losses, 0.0) for losses in SUMS]
    cases = [
        trl_case(batches, index, losses, beta, smoothing)
        for index in range(len(batches))
        for beta in BETAS
        for losses, smoothing in settings
    ]
    out = {
        "versions": {package: version(package) for package in ("torch", "trl", "transformers")},
        "command": "python tests/goldens/make_preference_loss_goldens.py",
        "batches": batches,
        "cases": cases,
    }
    path = HERE / "training" / "preference_losses.json"
    path.parent.mkdir(exist_ok=True)
    lines = [f'  "{key}": {json.dumps(out[key])}' for key in ("versions", "command")]
    for key in ("batches", "cases"):
        lines.append(f'  "{key}": [\n    ' + ",\n    ".join(map(json.dumps, out[key])) + "\n  ]")
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(f"{path.name}: {len(cases)} cases, {path.stat().st_size} bytes")


def random_batch(pairs, generator):
    """Replies of 1 to 40 tokens at about -2 a token; the reference near the policy, as it is in training."""

    def uniform(low, high):
        return low + (high - low) * torch.rand(pairs, generator=generator)

    batch = {}
    for reply in ("chosen", "rejected"):
        tokens = torch.randint(1, 41, (pairs,), generator=generator)
        batch[f"{reply}_tokens"] = tokens.tolist()
        batch[reply] = (-tokens * uniform(0.5, 3.5)).tolist()
        batch[f"reference_{reply}"] = (torch.tensor(batch[reply]) + uniform(-8, 8)).clamp(max=-0.01).tolist()
    return batch


def trl_case(batches, index, losses, beta, label_smoothing):
    batch = batches[index]
    inputs = collate(batch)
    logps = torch.tensor(batch["chosen"] + batch["rejected"], requires_grad=True)
    trainer = stand_in_trainer(losses, beta, label_smoothing)
    loss = DPOTrainer._compute_loss(trainer, stand_in_model(logps), inputs, return_outputs=False)
    (gradient,) = torch.autograd.grad(loss, logps)
    dchosen, drejected = gradient.chunk(2)
    assert loss.dtype == gradient.dtype == torch.float64 and loss.isfinite() and gradient.isfinite().all()
    return {
        "batch": index,
        "losses": losses,
        "beta": beta,
        "label_smoothing": label_smoothing,
        "discopop_tau": DISCOPOP_TAU,
        "loss": loss.item(),
        "dchosen": dchosen.tolist(),
        "drejected": drejected.tolist(),
    }


def collate(batch):
    """TRL's padded batch, chosen above rejected; only the lengths of the ids matter here."""
    rows = [
        {
            "prompt_ids": [1] * (2 + pair % 3),
            "chosen_ids": [2] * batch["chosen_tokens"][pair],
            "rejected_ids": [3] * batch["rejected_tokens"][pair],
            "ref_chosen_logps": batch["reference_chosen"][pair],
            "ref_rejected_logps": batch["reference_rejected"][pair],
        }
        for pair in range(len(batch["chosen"]))
    ]
    return DataCollatorForPreference(pad_token_id=0)(rows)


def stand_in_model(logps):
    """Answers a batch with per-token log-probabilities that sum to `logps`, one entry a sequence."""

    def model(input_ids, labels, **_):
        trained = (labels[:, 1:] != -100).to(logps.dtype)
        shares = trained * torch.arange(1, trained.shape[1] + 1)
        shares = shares / shares.sum(dim=1, keepdim=True)
        zeros = torch.zeros_like(trained)
        return SimpleNamespace(
            log_probs=shares * logps[:, None], entropy=zeros, mean_logits=zeros, is_top1=zeros.bool()
        )

    return model


def stand_in_trainer(losses, beta, label_smoothing):
    """The fields of a DPOTrainer that `_compute_loss` reads, for the loss or for the metrics it logs."""
    same = lambda value: value  # noqa: E731
    return SimpleNamespace(
        model=torch.nn.Identity(),
        accelerator=SimpleNamespace(device="cpu", gather=same, gather_for_metrics=same),
        args=SimpleNamespace(discopop_tau=DISCOPOP_TAU),
        loss_types=[loss for loss, _ in losses],
        loss_weights=[weight for _, weight in losses],
        beta=beta,
        label_smoothing=label_smoothing,
        f_divergence_type="reverse_kl",
        ld_alpha=None,
        use_weighting=False,
        precompute_ref_logps=True,
        aux_loss_enabled=False,
        _metrics={"train": defaultdict(list)},
        _total_train_tokens=0,
        _tp_size=1,
    )


if __name__ == "__main__":
    main()
