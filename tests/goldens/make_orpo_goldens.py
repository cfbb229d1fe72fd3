"""ORPO's losses and gradients by TRL's own code (`ORPOTrainer.odds_ratio_loss`): what posttrain's dpo/loss.rs must repeat.

    pip install torch==2.13.0 trl==1.16.0 transformers==5.23.0
    python tests/goldens/make_orpo_goldens.py

Writes training/orpo_losses.json beside this script: batches of random sums of log-probabilities with numbers of
tokens. The trainer is a bare object with the fields that the method reads; as in TRL, it gets means over tokens. The
loss is put together as in `get_batch_loss_metrics`, with the mean negative log-probability of the chosen tokens.
"""

import json
from pathlib import Path
from types import SimpleNamespace

import torch
from trl.experimental.orpo.orpo_trainer import ORPOTrainer

HERE = Path(__file__).parent


def case(generator, size, beta, scale):
    tokens = torch.randint(1, 40, (2, size), generator=generator)
    sums = -scale * torch.rand((2, size), generator=generator) * tokens
    sums.requires_grad_(True)
    trainer = SimpleNamespace(beta=beta, accelerator=SimpleNamespace(device="cpu"))
    means = sums / tokens
    ratios = ORPOTrainer.odds_ratio_loss(trainer, means[0], means[1])[0]
    loss = -sums[0].sum() / tokens[0].sum() - ratios.mean()
    (gradient,) = torch.autograd.grad(loss, sums)
    names = ("chosen", "rejected")
    return {
        **dict(zip(names, sums.tolist())),
        **dict(zip(("chosen_tokens", "rejected_tokens"), tokens.tolist())),
        "beta": beta, "loss": loss.item(), **dict(zip(("dchosen", "drejected"), gradient.tolist())),
    }  # fmt: skip


def main():
    torch.set_default_dtype(torch.float64)
    # The method takes f32, which would be all that the comparison could say.
    torch.Tensor.float = lambda tensor: tensor.double()
    generator = torch.Generator().manual_seed(20261130)
    settings = [(0.1, 4.0), (1.0, 0.5), (0.5, 8.0)]
    cases = [case(generator, size, *values) for size in (1, 3) for values in settings]
    (HERE / "training" / "orpo_losses.json").write_text(json.dumps(cases, indent=1) + "\n")


if __name__ == "__main__":
    main()
