"""Prints the rows that Hugging Face `datasets` reads, for tests that compare them with what this project reads.

    pip install datasets==5.2.0
    python tests/datasets_rows.py < PATHS

Each line of standard input is a file, a folder, or a folder and a configuration of its card after a tab. For each split, a
line of JSON: {"path", "config", "split", "rows"}; for what cannot be loaded: {"path", "config", "error"}. Values are shown
as JSON: times as text, bytes in hexadecimal, NaN and infinities as null; images and sounds are not decoded.

With `--convert OUT`, each file is written again by `datasets`: OUT/parquet/NAME.parquet, OUT/saved/NAME (save_to_disk) and
OUT/json/NAME.jsonl, and nothing is printed.
"""

import datetime
import decimal
import json
import math
import os
import sys
import tempfile
from pathlib import Path

KINDS = {
    "jsonl": "json", "ndjson": "json", "jsonlines": "json", "jl": "json", "json": "json", "csv": "csv", "tsv": "csv",
    "txt": "text", "parquet": "parquet", "arrow": "arrow",
}
COMPRESSIONS = ("gz", "zst", "zstd", "xz", "bz2")


def main():
    convert_to = Path(sys.argv[2]) if sys.argv[1:2] == ["--convert"] else None
    paths = [line.rstrip("\n") for line in sys.stdin if line.strip()]
    with tempfile.TemporaryDirectory() as cache:
        # These are read when `datasets` is imported: nothing from the network, nothing from an earlier run.
        os.environ.update(HF_HUB_OFFLINE="1", HF_HOME=cache, HF_DATASETS_CACHE=cache)
        import datasets

        datasets.disable_progress_bars()
        datasets.logging.set_verbosity(datasets.logging.CRITICAL)
        for line in paths:
            path, _, config = line.partition("\t")
            if convert_to is None:
                show(datasets, path, config or None)
            else:
                convert(datasets, Path(path), convert_to)


def show(datasets, path, config):
    place = {"path": path, "config": config}
    try:
        for split, data in load(datasets, Path(path), config).items():
            for name, feature in data.features.items():
                if isinstance(feature, (datasets.Image, datasets.Audio)):
                    data = data.cast_column(name, type(feature)(decode=False))
            rows = [shown(dict(row)) for row in data]
            print(json.dumps({**place, "split": str(split), "rows": rows}))
    except Exception as error:  # of `datasets` and of the libraries below it: whatever stops a user
        while error.__cause__ is not None:
            error = error.__cause__
        print(json.dumps({**place, "error": f"{type(error).__name__}: {' '.join(str(error).split())}"}))


def load(datasets, path, config):
    if (path / "state.json").exists():
        return {"train": datasets.load_from_disk(str(path))}
    if (path / "dataset_dict.json").exists():
        return datasets.load_from_disk(str(path))
    if path.is_dir():
        return datasets.load_dataset(str(path), config)
    parts = path.name.lower().split(".")
    if parts[-1] in COMPRESSIONS:
        parts.pop()
    kind = KINDS.get(parts[-1], parts[-1])
    more = {"sep": "\t"} if parts[-1] == "tsv" else {}
    more.update({"sample_by": "paragraph"} if kind == "text" else {})
    return {"train": datasets.load_dataset(kind, data_files=str(path), split="train", **more)}


def convert(datasets, path, out):
    data = load(datasets, path, None)["train"]
    for folder in ("parquet", "json"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    data.to_parquet(str(out / "parquet" / f"{path.stem}.parquet"))
    data.to_json(str(out / "json" / f"{path.stem}.jsonl"))
    data.save_to_disk(str(out / "saved" / path.stem))


def shown(value):
    """A value as JSON has it."""
    if isinstance(value, dict):
        return {str(name): shown(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [shown(item) for item in value]
    if hasattr(value, "tolist"):  # arrays of numbers
        return shown(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (datetime.timedelta, decimal.Decimal)):
        return str(value)
    return value


if __name__ == "__main__":
    main()
