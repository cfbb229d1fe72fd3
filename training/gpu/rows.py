"""Writes what TRL's goldens were trained on, from the shared test data: the model, and the rows that
`tests/goldens/training/trl_*.json` name.

    python3 training/gpu/rows.py SHARED_DATA OUT
"""

import json
import shutil
import sys
from pathlib import Path

GOLDENS = Path(__file__).resolve().parents[2] / "tests/goldens/training"


def main(data, out):
    (out / "model").mkdir(exist_ok=True)
    for file in (data / "models/stories260k").iterdir():
        shutil.copyfile(file, out / "model" / file.name)
    sources = {}
    sft, dpo = (json.loads((GOLDENS / f"trl_{name}.json").read_text()) for name in ("sft", "dpo"))
    for name in ("sft", "dpo"):
        shutil.copyfile(GOLDENS / f"trl_{name}.json", out / f"trl_{name}.json")

    def turn(file, index):
        if file not in sources:
            sources[file] = json.loads((data / "instruct/llamafactory" / file).read_text())
        row = sources[file][index]
        question = "\n\n".join(part for part in (row["instruction"], row["input"]) if part)
        return [{"role": "user", "content": question}, {"role": "assistant", "content": row["output"]}]

    def conversation(row):
        system = [{"role": "system", "content": "Answer in one short paragraph."}] if row["system"] else []
        return {"messages": system + [message for place in row["turns"] for message in turn(*place)]}

    write(out / "sft.jsonl", map(conversation, sft["rows"]))
    pairs = (data / "preference/train_clean.jsonl").read_text().splitlines()
    write(out / "dpo.jsonl", (json.loads(pairs[pair["row"]]) for pair in dpo["pairs"]))


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
