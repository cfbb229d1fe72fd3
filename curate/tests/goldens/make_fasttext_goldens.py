"""Small supervised models of fastText and what the C++ program predicts with them, and with lid.176.

    pip install fasttext-numpy2-wheel==0.9.2
    python make_fasttext_goldens.py [lid.176.ftz]
"""

import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import fasttext

HERE = Path(__file__).parent / "fasttext"
TEXTS = [
    "The ship left the harbor before the storm came in.",
    "Das Schiff verließ den Hafen, bevor der Sturm kam.",
    "Le navire quitta le port avant que la tempête n'arrive.",
    "El barco salió del puerto antes de que llegara la tormenta.",
    "O navio saiu do porto antes da tempestade chegar.",
    "La nave lasciò il porto prima che arrivasse la tempesta.",
    "Корабль вышел из гавани до того, как началась буря.",
    "嵐が来る前に船は港を出た。",
    "船在暴风雨来临之前离开了港口。",
    "폭풍이 오기 전에 배가 항구를 떠났다.",
    "غادرت السفينة الميناء قبل وصول العاصفة.",
    "तूफान आने से पहले जहाज बंदरगाह से निकल गया।",
    "Het schip verliet de haven voordat de storm kwam.",
    "Statek opuścił port, zanim nadeszła burza.",
    "Gemi fırtına gelmeden önce limandan ayrıldı.",
    "x = 3 + 4; print(x)",
    "ok",
    "",
    "</s> after the end",
    "Ship Schiff navire barco 12345 !!!",
]


def predictions(model, texts, top):
    for text in texts:
        labels, values = model.f.predict(text.replace("\n", " ") + "\n", top, -1.0, "strict"), None
        yield {"text": text, "probabilities": {label.removeprefix("__label__"): value for value, label in labels}}


def write(name, rows):
    (HERE / name).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


HERE.mkdir(exist_ok=True)
draw = random.Random(3)
words = {label: ["".join(draw.choice("abcdeéüж") for _ in range(draw.randint(2, 6))) for _ in range(40)] for label in "pqrst"}
lines = []
for count, label in zip((80, 60, 40, 30, 20), "pqrst"):
    lines += [f"__label__{label} " + " ".join(draw.choice(words[label] + words["p"][:10]) for _ in range(8)) for _ in range(count)]
draw.shuffle(lines)
texts = [" ".join(draw.choice(words[draw.choice("pqrst")]) for _ in range(draw.randint(1, 9))) for _ in range(25)] + ["unknown words only", ""]


def make(loss, ngrams, longest):
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(lines) + "\n")
        file.flush()
        model = fasttext.train_supervised(
            file.name, dim=6, epoch=20, lr=0.1, loss=loss, wordNgrams=ngrams, minn=2 if longest else 0, maxn=longest, bucket=300, thread=1, seed=1, verbose=0
        )
        model.save_model(str(HERE / f"{loss}.bin"))
        write(f"{loss}.jsonl", predictions(model, texts, -1))
        if loss == "hs":
            model.quantize(file.name, qnorm=True, cutoff=300, retrain=False, dsub=2, thread=1)
            model.save_model(str(HERE / "quantized.ftz"))
            # What the file says: in memory the words that were cut off are still there.
            model = fasttext.load_model(str(HERE / "quantized.ftz"))
            write("quantized.jsonl", predictions(model, texts, -1))


KINDS = {"hs": (1, 3), "softmax": (2, 0), "ova": (2, 4)}
if sys.argv[1:2] == ["--loss"]:
    make(sys.argv[2], *KINDS[sys.argv[2]])
    sys.exit()
for loss in KINDS:
    # This build of fastText now and then starts from memory that holds no numbers, and says so.
    while subprocess.run([sys.executable, __file__, "--loss", loss]).returncode != 0:
        pass
if len(sys.argv) > 1:
    write("lid.jsonl", predictions(fasttext.load_model(sys.argv[1]), TEXTS, 4))
