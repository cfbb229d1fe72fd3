"""SimPO's losses and gradients by TRL's own code (`CPOTrainer.cpo_loss`): what posttrain's dpo/loss.rs must repeat.

    pip install torch==2.13.0 trl==1.16.0 transformers==5.23.0
    python tests/goldens/make_simpo_goldens.py

Writes training/simpo_losses.json beside this script: batches of random sums of log-probabilities with numbers of
tokens. The trainer is a bare object with the fields that the method reads; as in TRL, it gets means over tokens.
"""

import json
from pathlib import Path
from types import SimpleNamespace

import torch
from trl.experimental.cpo.cpo_trainer import CPOTrainer

HERE = Path(__file__).parent


def case(generator, size, beta, gamma, smoothing):
    tokens = torch.randint(1, 40, (2, size), generator=generator)
    sums = -4 * torch.rand((2, size), generator=generator) * tokens
    sums.requires_grad_(True)
    trainer = SimpleNamespace(
        alpha=0.0, accelerator=SimpleNamespace(device="cpu"), loss_type="simpo", beta=beta, simpo_gamma=gamma,
        label_smoothing=smoothing,
    )  # fmt: skip
    means = sums / tokens
    losses, _, _ = CPOTrainer.cpo_loss(trainer, means[0], means[1])
    (gradient,) = torch.autograd.grad(losses.sum(), sums)
    names = ("chosen", "rejected")
    return {
        **dict(zip(names, sums.tolist())),
        **dict(zip(("chosen_tokens", "rejected_tokens"), tokens.tolist())),
        "beta": beta, "simpo_gamma": gamma, "label_smoothing": smoothing, "losses": losses.tolist(),
        **dict(zip(("dchosen", "drejected"), gradient.tolist())),
    }  # fmt: skip


def main():
    torch.set_default_dtype(torch.float64)
    generator = torch.Generator().manual_seed(20261130)
    settings = [(2.0, 0.5, 0.0), (2.5, 1.375, 0.0), (10.0, 3.0, 0.0), (2.0, 0.0, 0.1)]
    cases = [case(generator, size, *values) for size in (1, 3) for values in settings]
    (HERE / "training" / "simpo_losses.json").write_text(json.dumps(cases, indent=1) + "\n")


if __name__ == "__main__":
    main()
