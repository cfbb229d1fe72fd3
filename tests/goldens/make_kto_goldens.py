"""KTO's losses and gradients by TRL's own code (`KTOTrainer._compute_loss`): what posttrain's kto/loss.rs must repeat.

    pip install torch==2.13.0 trl==1.16.0 transformers==5.23.0
    python tests/goldens/make_kto_goldens.py

Writes training/kto_losses.json beside this script: batches of random log-probabilities with labels. The trainer is a bare
object with the fields that the method reads; the model is a stand-in that answers with the wanted log-probabilities, those
of the replies to other prompts first.
"""

import json
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import torch
from trl.trainer.kto_trainer import KTOTrainer

HERE = Path(__file__).parent
TOKENS = 3


def case(generator, labels, loss_type, beta, weights):
    size = len(labels)

    def draw(low, high):
        return low + (high - low) * torch.rand(size, generator=generator)

    logps, kl_logps = draw(-60, -5), draw(-90, -20)
    reference, kl_reference = logps + draw(-6, 6), kl_logps + draw(-4, 2)
    logps.requires_grad_(True)
    answers = iter([kl_logps, logps] if loss_type == "kto" else [logps])

    def model(**_):
        shares = torch.full((size, TOKENS), 1 / TOKENS)
        zeros = torch.zeros(size, TOKENS)
        return SimpleNamespace(log_probs=shares * next(answers)[:, None], entropy=zeros, mean_logits=zeros)

    same = lambda value: value  # noqa: E731
    trainer = SimpleNamespace(
        model=torch.nn.Identity(),
        accelerator=SimpleNamespace(device="cpu", gather_for_metrics=same),
        calculate_KL=loss_type == "kto",
        loss_type=loss_type,
        beta=beta,
        desirable_weight=weights[0],
        undesirable_weight=weights[1],
        aux_loss_enabled=False,
        precompute_ref_logps=True,
        _metrics={"train": defaultdict(list)},
        _total_train_tokens=0,
        _tp_size=1,
    )
    trainer._compute_kl_logps = lambda *arguments: KTOTrainer._compute_kl_logps(trainer, *arguments)
    ones = torch.ones(size, TOKENS + 1, dtype=torch.long)
    inputs = {
        "input_ids": ones, "attention_mask": ones, "completion_mask": ones,
        "KL_input_ids": ones, "KL_attention_mask": ones, "KL_completion_mask": ones,
        "label": torch.tensor(labels), "ref_logps": reference.detach(), "ref_KL_logps": kl_reference,
    }  # fmt: skip
    loss = KTOTrainer._compute_loss(trainer, model, inputs, False)
    (gradient,) = torch.autograd.grad(loss, logps)
    return {
        "loss_type": loss_type, "beta": beta, "desirable_weight": weights[0], "undesirable_weight": weights[1],
        "labels": labels, "logps": logps.tolist(), "reference": reference.tolist(), "kl_logps": kl_logps.tolist(),
        "kl_reference": kl_reference.tolist(), "loss": loss.item(), "gradient": gradient.tolist(),
    }  # fmt: skip


def main():
    torch.set_default_dtype(torch.float64)
    generator = torch.Generator().manual_seed(20261130)
    cases = [
        case(generator, labels, loss_type, beta, weights)
        for labels in ([True, False], [True, True, False, True, False], [False, False, True])
        for loss_type in ("kto", "apo_zero_unpaired")
        for beta, weights in ((0.1, (1.0, 1.0)), (0.5, (1.0, 1.33)))
    ]
    (HERE / "training" / "kto_losses.json").write_text(json.dumps(cases, indent=1) + "\n")


if __name__ == "__main__":
    main()
