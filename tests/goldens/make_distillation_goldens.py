"""Distillation losses and gradients by TRL's own code (`GKDTrainer.generalized_jsd_loss`): what
kernels/src/training/divergence.rs must repeat.

    pip install torch==2.13.0 trl==1.16.0 transformers==5.23.0
    python tests/goldens/make_distillation_goldens.py

Writes training/distillation_losses.json beside this script: rows of random logits of two models, the divergence of each row
at several betas and temperatures, and its gradient by the student's logits.
"""

import json
from pathlib import Path

import torch
from trl.experimental.gkd.gkd_trainer import GKDTrainer

HERE = Path(__file__).parent


def case(generator, vocabulary, beta, temperature, scale):
    # Numbers that f32 holds, so that both sides begin with the same.
    student, teacher = (
        (scale * torch.randn((2, vocabulary), generator=generator)).float().double() for _ in range(2)
    )
    student.requires_grad_(True)
    rows = []
    for row in range(2):
        loss = GKDTrainer.generalized_jsd_loss(
            student[row : row + 1, None], teacher[row : row + 1, None], beta=beta, temperature=temperature
        )
        (gradient,) = torch.autograd.grad(loss, student)
        rows.append((loss.item(), gradient[row].tolist()))
    return {
        "beta": beta, "temperature": temperature,
        "student": student.tolist(), "teacher": teacher.tolist(),
        "losses": [loss for loss, _ in rows], "gradients": [gradient for _, gradient in rows],
    }  # fmt: skip


def main():
    torch.set_default_dtype(torch.float64)
    generator = torch.Generator().manual_seed(20261130)
    cases = [
        case(generator, vocabulary, beta, temperature, scale)
        for beta in (0.0, 0.1, 0.5, 0.9, 1.0)
        for vocabulary, temperature, scale in ((7, 1.0, 1.0), (37, 2.0, 3.0), (50, 0.7, 5.0))
    ]
    (HERE / "training" / "distillation_losses.json").write_text(json.dumps(cases) + "\n")


if __name__ == "__main__":
    main()
