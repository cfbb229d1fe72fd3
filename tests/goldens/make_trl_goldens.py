"""Ten steps of SFT and of DPO by TRL's own trainers: the losses, norms and weights our trainer must repeat.

    pip install torch==2.13.0 trl==1.16.0 transformers==5.23.0 datasets==5.2.0 accelerate==1.15.0
    python tests/goldens/make_trl_goldens.py --shared PATH      (PATH holds data/models, data/instruct, data/preference)

Writes training/trl_sft.json and training/trl_dpo.json beside this script. Both train data/models/stories260k in
f32 on the CPU, without dropout, packing or shuffling, and say: the chat template, which rows of the data, a hash of
the token ids TRL fed and which of them it trained, the settings, what each step was before its update, and the norm
of each weight (and of its change) after the last one. The rows' words stay where they are. Losses are the sums of what the
training steps returned, since a log may round. Warm-up starts at 0: the first update moves nothing.
"""

import argparse
import hashlib
import json
import os
import tempfile
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast  # noqa: E402
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer  # noqa: E402

HERE = Path(__file__).parent
STEPS = 10
ROWS = 40  # four a step
LONGEST = 320  # tokens of a row; the model reads 512
SFT_FILES = ("alpaca_en_demo.json", "identity.json")
# The line break after a role is a token of its own in this vocabulary, so that no token lies across the border of
# what is trained, and the stop token ends a message with nothing after it.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message['role'] + ':\\n' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}"
    "{% else %}{{ message['content'] + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:\\n' }}{% endif %}"
)
SYSTEM = {"role": "system", "content": "Answer in one short paragraph."}
OPTIMIZER = {
    "lr_scheduler_type": "cosine",
    "warmup_steps": 0.1,  # below 1: a share of the steps
    "weight_decay": 0.01,
    "adam_beta1": 0.9,
    "adam_beta2": 0.95,
    "adam_epsilon": 1e-8,
    "max_grad_norm": 1.0,
    "num_train_epochs": 1,
}
PLAIN = {
    "optim": "adamw_torch",
    "train_sampling_strategy": "sequential",
    "gradient_checkpointing": False,
    "bf16": False,
    "use_cpu": True,
    "report_to": "none",
    "save_strategy": "no",
    "logging_steps": 1,
    "disable_tqdm": True,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, required=True, help="folder that holds data/models and the rows")
    data = parser.parse_args().shared / "data"
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    (HERE / "training").mkdir(exist_ok=True)
    checkpoint = data / "models/stories260k"
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(checkpoint / "tokenizer.json"), bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    about = {
        "versions": {name: version(name) for name in ("torch", "trl", "transformers", "tokenizers")},
        "command": "python tests/goldens/make_trl_goldens.py --shared PATH",
        "model_sha256": hashlib.sha256((checkpoint / "model.safetensors").read_bytes()).hexdigest(),
        "chat_template": CHAT_TEMPLATE,
        "bos_token": tokenizer.bos_token,
        "eos_token": tokenizer.eos_token,
        "optimizer": OPTIMIZER,
    }
    rows = sft_rows(data / "instruct/llamafactory", tokenizer)
    pairs = dpo_pairs(data / "preference/train_clean.jsonl", tokenizer)
    with tempfile.TemporaryDirectory() as scratch:
        rows, run = sft(checkpoint, tokenizer, rows, scratch)
        write("trl_sft", about, {"runs": [run], "rows": [without_words(row) for row in rows]})
        runs = [
            dpo(checkpoint, tokenizer, pairs, scratch, loss_type=["sigmoid"], loss_weights=[1.0], batch=2),
            # One micro-batch a step: `sft` is a token mean, and TRL averages those of a step's micro-batches.
            dpo(checkpoint, tokenizer, pairs, scratch, loss_type=["sigmoid", "sft"], loss_weights=[1.0, 0.5], batch=4),
        ]
        assert runs[0][0] == runs[1][0]
        write("trl_dpo", about, {"runs": [run for _, run in runs], "pairs": [without_words(pair) for pair in runs[0][0]]})


def sft_rows(folder, tokenizer):
    """Short chats: every fourth of two turns made from neighbours, every fifth with a system message."""
    short = []
    for name in SFT_FILES:
        turns = [as_turn(row) for row in json.loads((folder / name).read_text(encoding="utf-8"))]
        fits = [index for index, turn in enumerate(turns) if len(ids_of(tokenizer, turn)) <= LONGEST // 2 - 20]
        short.append([([name, index], turns[index]) for index in fits])
    turns = iter([turn for couple in zip(*short) for turn in couple])
    rows = []
    while len(rows) < ROWS:
        chosen = [next(turns) for _ in range(2 if len(rows) % 4 == 3 else 1)]
        system = [SYSTEM] if len(rows) % 5 == 4 else []
        row = {"turns": [place for place, _ in chosen], "system": bool(system)}
        rows.append(row | {"messages": sum((turn for _, turn in chosen), system)})
        assert len(ids_of(tokenizer, rows[-1]["messages"])) <= LONGEST
    return rows


def as_turn(row):
    question = "\n\n".join(part for part in (row["instruction"], row["input"]) if part)
    return [{"role": "user", "content": question}, {"role": "assistant", "content": row["output"]}]


def dpo_pairs(file, tokenizer):
    pairs = []
    for index, line in enumerate(file.read_text(encoding="utf-8").splitlines()):
        row = json.loads(line)
        pair = {"row": index, "prompt": [{"role": "user", "content": row["prompt"]}]}
        for reply in ("chosen", "rejected"):
            pair[reply] = [{"role": "assistant", "content": row[reply]}]
        lengths = [len(ids_of(tokenizer, pair["prompt"] + pair[reply])) for reply in ("chosen", "rejected")]
        if max(lengths) <= LONGEST and row["chosen"] and row["rejected"]:
            pairs.append(pair)
    return pairs[:ROWS]


def sft(checkpoint, tokenizer, conversations, scratch):
    """Trains; answers with the rows as TRL fed them and the run."""
    settings = {"learning_rate": 1e-3, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
    arguments = settings | OPTIMIZER | PLAIN
    trainer = RecordingSFTTrainer(
        model=load(checkpoint),
        args=SFTConfig(output_dir=scratch, assistant_only_loss=True, packing=False, max_length=512, **arguments),
        train_dataset=Dataset.from_list([{"messages": row["messages"]} for row in conversations]),
        processing_class=tokenizer,
    )
    rows = []
    for conversation, row in zip(conversations, trainer.train_dataset, strict=True):
        messages = conversation["messages"]
        trained = [int(label != -100) for label in row["labels"]]
        assert (row["input_ids"], trained) == by_hand(tokenizer, messages), messages
        rows.append({"turns": conversation["turns"], "system": conversation["system"], "ids": row["input_ids"], "trained": trained})
    run = settings | train(trainer)
    assert trainer.fed == [row["ids"] for row in rows]
    for step, four in enumerate(in_fours(rows)):
        assert run["steps"][step]["trained_tokens"] == sum(sum(row["trained"]) for row in four)
    check_first_sft_loss(checkpoint, rows[:4], run["steps"][0]["loss"])
    return rows, run


def dpo(checkpoint, tokenizer, pairs, scratch, loss_type, loss_weights, batch):
    """Trains; answers with the pairs as TRL fed them and the run."""
    settings = {
        "learning_rate": 1e-4,
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": 4 // batch,
        "loss_type": loss_type,
        "loss_weights": loss_weights,
        "beta": 0.1,
    }
    trainer = RecordingDPOTrainer(
        model=load(checkpoint),
        ref_model=load(checkpoint),
        args=DPOConfig(output_dir=scratch, max_length=512, **settings, **OPTIMIZER, **PLAIN),
        train_dataset=Dataset.from_list([{name: pair[name] for name in ("prompt", "chosen", "rejected")} for pair in pairs]),
        processing_class=tokenizer,
    )
    fed, sequences = [], []
    for pair, row in zip(pairs, trainer.train_dataset, strict=True):
        assert row["prompt_ids"] == ids_of(tokenizer, pair["prompt"], add_generation_prompt=True), "TRL cut the prompt"
        for reply in ("chosen", "rejected"):
            sequences.append(row["prompt_ids"] + row[f"{reply}_ids"])
            assert sequences[-1] == ids_of(tokenizer, pair["prompt"] + pair[reply])
            assert row[f"{reply}_ids"].index(tokenizer.eos_token_id) == len(row[f"{reply}_ids"]) - 1, "one stop token"
        ids = {name: row[name] for name in ("prompt_ids", "chosen_ids", "rejected_ids")}
        reference = trainer.compute_ref_log_probs(trainer.ref_model, trainer.data_collator([row]))
        logps = dict(zip(("reference_chosen", "reference_rejected"), (logp.item() for logp in reference)))
        fed.append({"row": pair["row"]} | ids | logps)
    run = settings | train(trainer)
    # A micro-batch holds its chosen replies, then its rejected ones.
    micro_batches = [sequences[first : first + 2 * batch] for first in range(0, len(sequences), 2 * batch)]
    assert trainer.fed == [ids for each in micro_batches for ids in each[0::2] + each[1::2]]
    return fed, run


def train(trainer):
    """What each step logged, with the loss as the sum of what its micro-batches gave, and the trained weights."""
    trainer.micro_losses, trainer.fed, trainer.counts, trainer.logged = [], [], [], []
    initial = {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}
    trainer.train()
    assert len(trainer.logged) == STEPS
    accumulation = trainer.args.gradient_accumulation_steps
    kept = ("grad_norm", "learning_rate")  # the norm before clipping; the rate this step's update took
    steps = []
    for index, logged in enumerate(trainer.logged):
        step = {"loss": sum(trainer.micro_losses[index * accumulation : (index + 1) * accumulation])}
        assert abs(step["loss"] - logged["loss"]) < 1e-5, "the log tells of another loss"
        if trainer.counts:
            step["trained_tokens"] = trainer.counts[index * accumulation]
        step |= {name: logged[name] for name in logged if name in kept or name.startswith(("rewards/", "logps/"))}
        steps.append(step)
    groups = trainer.optimizer.param_groups
    decayed = {id(weight) for group in groups if group["weight_decay"] for weight in group["params"]}
    weights = {
        name: {
            "decayed": id(weight) in decayed,
            "norm": weight.detach().double().norm().item(),
            "change": (weight.detach().double() - initial[name].double()).norm().item(),
        }
        for name, weight in trainer.model.named_parameters()
    }
    return {"steps": steps, "weights_after": weights}


class Recording:
    """Keeps what each micro-batch was fed and gave; the trainers' own code runs unchanged."""

    def training_step(self, model, inputs, num_items_in_batch=None):
        rows = zip(inputs["input_ids"], inputs["attention_mask"].bool(), strict=True)
        self.fed += [ids[attended].tolist() for ids, attended in rows]
        loss = super().training_step(model, inputs, num_items_in_batch)
        self.micro_losses.append(loss.item())  # a share of the step's loss: the shares add up to it
        if num_items_in_batch is not None:
            self.counts.append(int(num_items_in_batch))
        return loss

    def log(self, logs, start_time=None):
        super().log(logs, start_time)
        if "loss" in logs:
            self.logged.append(dict(logs))  # with the metrics, which TRL adds in place


class RecordingSFTTrainer(Recording, SFTTrainer):
    pass


class RecordingDPOTrainer(Recording, DPOTrainer):
    pass


def load(checkpoint, dtype=torch.float32):
    model = LlamaForCausalLM.from_pretrained(checkpoint, dtype=dtype, attn_implementation="eager")
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    assert model.config.rope_parameters["rope_theta"] == 10000.0
    return model


def ids_of(tokenizer, messages, **options):
    return tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, **options)["input_ids"]


def by_hand(tokenizer, messages):
    """Ids and trained tokens by prefixes: what an assistant message adds to the prompt for it is trained."""
    ids = ids_of(tokenizer, messages)
    trained = [0] * len(ids)
    for index, message in enumerate(messages):
        if message["role"] == "assistant":
            prompt = ids_of(tokenizer, messages[:index], add_generation_prompt=True)
            replied = ids_of(tokenizer, messages[: index + 1])
            assert ids[: len(replied)] == replied and replied[: len(prompt)] == prompt
            trained[len(prompt) : len(replied)] = [1] * (len(replied) - len(prompt))
    return ids, trained


def check_first_sft_loss(checkpoint, rows, loss):
    """One denominator, the trained tokens of the whole step: recomputed in f64, a row at a time, without TRL."""
    model, total, tokens = load(checkpoint, torch.float64).eval(), 0.0, 0
    for row in rows:
        ids, trained = torch.tensor(row["ids"]), torch.tensor(row["trained"][1:], dtype=torch.bool)
        with torch.no_grad():
            logprobs = model(ids[None], use_cache=False).logits[0, :-1].log_softmax(-1)
        total -= logprobs.gather(1, ids[1:, None])[trained].sum().item()
        tokens += int(trained.sum())
    assert abs(loss - total / tokens) < 1e-5 * loss, f"TRL {loss}, by hand {total / tokens}"


def without_words(row):
    """Ids become the SHA-256 of their decimal text with commas, masks a string of 0 and 1."""
    def hashed(ids):
        return hashlib.sha256(",".join(map(str, ids)).encode()).hexdigest()

    row = dict(row)
    for name in ("ids", "prompt_ids", "chosen_ids", "rejected_ids"):
        if name in row:
            row[name] = hashed(row[name])
    if "trained" in row:
        row["trained"] = "".join(map(str, row["trained"]))
    return row


def in_fours(rows):
    return [rows[first : first + 4] for first in range(0, len(rows), 4)]


def write(name, about, parts):
    """One row, pair or step a line."""
    path = HERE / "training" / f"{name}.json"
    parts = about | parts
    lines = []
    for key, value in parts.items():
        if isinstance(value, list):
            body = ",\n    ".join(json.dumps(each, ensure_ascii=False) for each in value)
            lines.append(f"  {json.dumps(key)}: [\n    {body}\n  ]")
        else:
            lines.append(f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}")
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    losses = [[round(step["loss"], 4) for step in run["steps"]] for run in parts["runs"]]
    print(f"{path.name}: {path.stat().st_size} bytes, losses {losses}")


if __name__ == "__main__":
    main()
