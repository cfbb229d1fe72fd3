"""Documents per second of `encoder` and of torch on the CPU, on the same texts and threads, and the largest difference of vectors.

    pip install torch transformers
    cargo build --release -p encoder --example encode
    python encoder/benchmarks/speed.py target/release/examples/encode TEXTS.jsonl [--model FOLDER] [--threads N] [--count N]

TEXTS.jsonl has rows with `text`. Without --model, a random model of BERT-base's size with a tokenizer of words is made. torch gets
batches of texts that are sorted by length and padded, the best of several sizes counts, without gradients.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertModel

BATCHES = (1, 4, 8, 16, 32, 64)
LIMIT = 512


def bert_base(folder, texts):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(texts, trainers.WordPieceTrainer(vocab_size=30_000, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"]))
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(folder / "tokenizer.json"))
    BertModel(BertConfig(vocab_size=30_522)).save_pretrained(folder, safe_serialization=True)


@torch.no_grad()
def torch_vectors(model, encodings, size):
    order = sorted(range(len(encodings)), key=lambda at: -len(encodings[at].ids))
    vectors = np.zeros((len(encodings), model.config.hidden_size), np.float32)
    for first in range(0, len(order), size):
        batch = order[first : first + size]
        longest = len(encodings[batch[0]].ids)
        ids = torch.zeros((len(batch), longest), dtype=torch.long)
        mask = torch.zeros((len(batch), longest), dtype=torch.long)
        for row, at in enumerate(batch):
            ids[row, : len(encodings[at].ids)] = torch.tensor(encodings[at].ids)
            mask[row, : len(encodings[at].ids)] = 1
        hidden = model(ids, attention_mask=mask).last_hidden_state
        weights = mask[:, :, None].float()
        vectors[batch] = ((hidden * weights).sum(1) / weights.sum(1)).numpy()
    return vectors


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("encode")
    parser.add_argument("texts", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--count", type=int, help="take only so many texts")
    options = parser.parse_args()
    texts = [json.loads(line)["text"] for line in options.texts.read_text().splitlines()][: options.count]
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        if options.model is None:
            bert_base(folder, texts)
        model_folder = options.model or folder
        (folder / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        environment = {**os.environ, "RAYON_NUM_THREADS": str(options.threads)}
        command = [options.encode, model_folder, folder / "texts.jsonl", folder / "vectors"]
        ours = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)
        found = np.fromfile(folder / "vectors", np.float32).reshape(len(texts), -1)
        model = BertModel.from_pretrained(model_folder).eval()
        tokenizer = Tokenizer.from_file(str(model_folder / "tokenizer.json"))
        tokenizer.no_padding()
        # The folder's own limit, which `encoder` keeps, too.
        own = model_folder / "sentence_bert_config.json"
        own = json.loads(own.read_text())["max_seq_length"] if own.is_file() else LIMIT
        tokenizer.enable_truncation(min(own, model.config.max_position_embeddings))
    encodings = tokenizer.encode_batch(texts)
    tokens = sum(len(encoding.ids) for encoding in encodings)
    print(f"{len(texts)} texts, {tokens} tokens, {options.threads} threads")
    print(f"encoder             {len(texts) / ours['seconds']:8.2f} texts/s   {tokens / ours['seconds']:10.0f} tokens/s")
    best = 0
    for size in BATCHES:
        start = time.perf_counter()
        expected = torch_vectors(model, encodings, size)
        seconds = time.perf_counter() - start
        best = max(best, len(texts) / seconds)
        print(f"torch, batches of {size:2} {len(texts) / seconds:8.2f} texts/s   {tokens / seconds:10.0f} tokens/s")
    # Some folders say that vectors are normalized; the means above are not.
    expected, found = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in (expected, found))
    print(f"{len(texts) / ours['seconds'] / best:.2f} times the best of torch; largest difference of normalized vectors {np.abs(expected - found).max():.1e}")


main()
