"""Distillation losses and gradients by TRL's own code (`GKDTrainer.generalized_jsd_loss`): what
kernels/src/training/divergence.rs must repeat; and those from a teacher's likeliest tokens with a tail bucket
(`ServerDistillationTrainer`): what training/src/stored.rs must.

    pip install torch==2.13.0 trl==1.16.0 transformers==5.23.0
    python tests/goldens/make_distillation_goldens.py

Writes training/distillation_losses.json beside this script: rows of random logits of two models, the divergence of each row
at several betas and temperatures, and its gradient by the student's logits; and training/stored_distillation.json: logits
of a student, ids and log-probabilities of a teacher's likeliest tokens, divergence and gradient.
"""

import json
from pathlib import Path

import torch
from trl.experimental.gkd.gkd_trainer import GKDTrainer
from trl.experimental.server_distillation import server_distillation_trainer as server

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


def stored_case(generator, vocabulary, likeliest, beta):
    student, teacher = ((3 * torch.randn(vocabulary, generator=generator)).float().double() for _ in range(2))
    student.requires_grad_(True)
    logprobs, ids = teacher.log_softmax(-1).topk(likeliest)
    logprobs = logprobs.float().double()
    mask = torch.ones_like(logprobs, dtype=torch.bool)
    of_student, mask_with_tail = server._add_tail_bucket(student.log_softmax(-1).gather(-1, ids), mask)
    of_teacher, _ = server._add_tail_bucket(logprobs, mask)
    loss = server._jsd_divergence(of_student, of_teacher, beta, mask_with_tail).sum()
    (gradient,) = torch.autograd.grad(loss, student)
    return {
        "beta": beta, "student": student.tolist(), "ids": ids.tolist(), "logprobs": logprobs.tolist(),
        "loss": loss.item(), "gradient": gradient.tolist(),
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
    stored = [
        stored_case(generator, vocabulary, likeliest, beta)
        for beta in (0.0, 0.5, 1.0)
        for vocabulary, likeliest in ((7, 3), (50, 1), (40, 20))
    ]
    (HERE / "training" / "stored_distillation.json").write_text(json.dumps(stored) + "\n")


if __name__ == "__main__":
    main()
