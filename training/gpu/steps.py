"""Compares training steps on a GPU: with ten of TRL's in SFT and DPO, with the CPU's in pretraining, and a run that was
killed and resumed with one that was not.

    python3 training/gpu/steps.py POSTTRAIN GOLDENS golden|pretrain|resume

POSTTRAIN is the program, GOLDENS a folder that `pack` filled. Prints a tab-separated line for each result: what, the
number, the limit, the verdict. Exits with 1 if one is wrong. Uses the standard library only.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# The device; a test of this file may set another.
DEVICE = os.environ.get("SMOL_DEVICE", "cuda")
# The goldens' settings, with micro-batches of another size than TRL's; packing and shuffling are off.
PLAIN = ["--batch-size", "4", "--shuffle=false", "--precision", "f32", "--max-length", "512", "--warmup-ratio", "0.1"]
WRONG = []


def main(program, goldens, what):
    with tempfile.TemporaryDirectory() as folder:
        runner = Runner(Path(program).resolve(), Path(goldens).resolve(), Path(folder))
        {"golden": golden, "pretrain": pretrain, "resume": resume}[what](runner)
    sys.exit(1 if WRONG else 0)


def report(what, difference, limit):
    passes = difference <= limit
    print(f"{what}\t{difference:.1e}\t{limit:.0e}\t{'ok' if passes else 'WRONG'}", flush=True)
    if not passes:
        WRONG.append(what)


class Runner:
    def __init__(self, program, goldens, folder):
        self.program, self.goldens, self.folder = program, goldens, folder
        self.model = goldens / "model"
        self.environment = os.environ | {"XDG_CACHE_HOME": str(folder / "cache"), "SMOL_PEAK_TFLOPS": "100"}

    def command(self, *words):
        return [str(self.program), *map(str, words)]

    def start(self, *words):
        return subprocess.Popen(self.command(*words), env=self.environment, stderr=subprocess.DEVNULL)

    def run(self, *words):
        done = subprocess.run(self.command(*words), env=self.environment, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(self.command(*words))}\n{done.stderr}")
        print(done.stderr, file=sys.stderr)


def metrics(out, name):
    lines = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
    return [line[name] for line in lines if name in line]


def difference(actual, expected):
    """Returns the largest relative difference of two lists; NaN where the lengths differ."""
    if len(actual) != len(expected) or not actual:
        return float("nan")
    return max(abs(a - b) / max(abs(b), 1e-30) for a, b in zip(actual, expected))


def golden(runner):
    template = runner.folder / "chat.jinja"
    sft = json.loads((runner.goldens / "trl_sft.json").read_text())
    template.write_text(sft["chat_template"])
    out = runner.folder / "sft"
    runner.run(
        "sft", "--model", runner.model, "--data", runner.goldens / "sft.jsonl", "--out", out, "--chat-template", template,
        "--packing=false", "--learning-rate", "1e-3", "--micro-batch-tokens", "500", *PLAIN, "--device", DEVICE,
    )
    for name in ("loss", "grad_norm"):
        expected = [step[name] for step in sft["runs"][0]["steps"]]
        report(f"ten SFT steps, compared with TRL: {name}", difference(metrics(out, name), expected), 1e-4)
    dpo = json.loads((runner.goldens / "trl_dpo.json").read_text())
    for index, run in enumerate(dpo["runs"]):
        out = runner.folder / f"dpo{index}"
        runner.run(
            "dpo", "--model", runner.model, "--data", runner.goldens / "dpo.jsonl", "--out", out, "--chat-template", template,
            "--beta", "0.1", "--loss-type", ",".join(run["loss_type"]), "--loss-weights", ",".join(map(str, run["loss_weights"])),
            "--learning-rate", "1e-4", "--micro-batch-tokens", "700", *PLAIN, "--device", DEVICE,
        )
        for name in ("loss", "grad_norm", "logps/chosen", "logps/rejected"):
            expected = [step[name] for step in run["steps"]]
            report(f"ten DPO steps, compared with TRL ({'+'.join(run['loss_type'])}): {name}", difference(metrics(out, name), expected), 1e-4)


def pretrain(runner):
    """A new model with a head dimension of 64, so that bf16 runs on tensor cores."""
    config, texts = new_model(runner)
    # f32 differs by rounding alone, bf16 by what its 8 bits leave.
    for precision, limit in (("f32", 1e-4), ("bf16", 1e-2)):
        outs = [runner.folder / f"pretrain-{precision}-{which}" for which in ("gpu", "cpu")]
        for out, device in zip(outs, (DEVICE, "cpu")):
            runner.run(*pretraining(runner, config, texts, out, precision), "--device", device)
        for name in ("loss", "eval_loss"):
            actual, expected = (metrics(out, name) for out in outs)
            report(f"20 steps of pretraining, compared with the CPU, {precision}: {name}", difference(actual, expected), limit)


def new_model(runner):
    """Writes the shape of a small model, and generated texts."""
    config = json.loads((runner.model / "config.json").read_text())
    config |= {"hidden_size": 192, "intermediate_size": 320, "num_hidden_layers": 3, "num_attention_heads": 3}
    config |= {"num_key_value_heads": 1, "head_dim": 64, "max_position_embeddings": 256}
    path, texts = runner.folder / "config.json", runner.folder / "texts.jsonl"
    path.write_text(json.dumps(config))
    nouns, verbs = ("cat", "dog", "sun", "boat", "tree", "girl", "king"), ("saw", "liked", "found", "lost", "drew")
    line = lambda i: f"One day the {nouns[i % 7]} {verbs[i % 5]} a {nouns[i * 3 % 7]} and {i * 37 % 101} more. It was {verbs[i * 7 % 5]} again."
    texts.write_text("".join(json.dumps({"text": " ".join(line(i + 11 * j) for j in range(1 + i % 5))}) + "\n" for i in range(400)))
    return path, texts


def pretraining(runner, config, texts, out, precision):
    return [
        "pretrain", "--init", config, "--tokenizer", runner.model, "--data", f"made={texts}", "--out", out, "--precision", precision,
        "--tokens", "40960", "--batch-tokens", "2048", "--sequence-length", "256", "--micro-batch-tokens", "1024",
        "--learning-rate", "1e-3", "--warmup-steps", "4", "--held-out", "0.05",
    ]


def resume(runner):
    """Kills runs three times, each time after one more checkpoint."""
    config, texts = new_model(runner)
    base = runner.folder / "base"
    runner.run(*pretraining(runner, config, texts, base, "bf16"), "--device", DEVICE)
    for what in ("sft", "dpo"):
        data = runner.goldens / f"{what}.jsonl"
        for precision in ("bf16", "f32"):
            whole, torn = (runner.folder / f"{what}-{precision}-{name}" for name in ("whole", "torn"))
            words = lambda out: [
                what, "--model", base, "--data", data, "--out", out, "--precision", precision, "--steps", "60", "--save-steps", "5",
                "--batch-size", "3", "--max-length", "200", "--micro-batch-tokens", "300", "--save-precision", "f32",
                "--device", DEVICE,
            ]
            runner.run(*words(whole))
            for _ in range(3):
                kill_after_a_checkpoint(runner, words(torn), torn)
            runner.run(*words(torn))
            same = (whole / "model.safetensors").read_bytes() == (torn / "model.safetensors").read_bytes()
            report(f"{what} in {precision}, killed three times and resumed: other bits", float(not same), 0.0)
    # Started on the CPU and finished on the GPU.
    out = runner.folder / "moved"
    kill_after_a_checkpoint(runner, [*words(out)[:-1], "cpu"], out)
    runner.run(*words(out))
    report("started on the CPU, finished on the GPU: steps missing", float(len(metrics(out, "loss")) != 60), 0.0)


def kill_after_a_checkpoint(runner, words, out):
    newest = lambda: max((int(path.name[5:]) for path in out.glob("checkpoints/step-*")), default=0)
    before, child = newest(), runner.start(*words)
    while newest() == before:
        if child.poll() is not None:
            sys.exit("the run ended before it was killed")
        time.sleep(0.002)
    child.kill()
    child.wait()


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
