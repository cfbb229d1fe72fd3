"""Loads what `smoltalk gen`, `mix` or `clean` wrote with Hugging Face `datasets`, as its users will.

    pip install datasets==5.2.0
    python tests/load_dataset.py DIR

For every configuration in the card's front matter: the rows load, and their number is what DIR's run.json, mix.json
or clean.json says. `messages` is a list of {role, content}, and neither is ever null or of another type than string;
rows without messages (`clean` takes any) have a `text`. One line for each; the first thing that is wrong is said on
standard error, with exit status 1.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import yaml


class Wrong(Exception):
    """Something in the folder is not what it should be."""


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: python tests/load_dataset.py DIR")
    folder = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as cache:
        # These are read when `datasets` is imported: nothing from the network, nothing from an earlier run.
        os.environ.update(HF_HUB_OFFLINE="1", HF_HOME=cache, HF_DATASETS_CACHE=cache)
        os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
        try:
            rows = rows_written(folder)
            names = config_names(folder)
            if set(names) != set(rows):
                raise Wrong(f"the card has the configurations {sorted(names)}, the manifest has {sorted(rows)}")
            for name in names:
                check(folder, name, rows[name])
        except Exception as error:  # of `datasets` too: whatever stops a user stops this script, in one line
            sys.exit(f"{folder}: {type(error).__name__}: {' '.join(str(error).split())}")


def rows_written(folder):
    """How many rows each configuration has, by the manifest that stands beside them."""
    for name in ("run.json", "mix.json", "clean.json"):
        if (folder / name).exists():
            manifest = json.loads((folder / name).read_text(encoding="utf-8"))
            if "configs" in manifest:
                return {config: entry["rows"] for config, entry in manifest["configs"].items()}
            return {"default": sum(shard["rows"] for shard in manifest["shards"])}
    raise Wrong("none of run.json, mix.json and clean.json is there")


def config_names(folder):
    """`config_name` of every entry of `configs` in README.md's front matter."""
    parts = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    if len(parts) != 3 or parts[0]:
        raise Wrong("README.md does not begin with YAML front matter between two lines of ---")
    names = [entry["config_name"] for entry in (yaml.safe_load(parts[1]) or {}).get("configs") or []]
    if not names or len(names) != len(set(names)):
        raise Wrong(f"README.md names these configurations: {names}; it must name at least one, and none twice")
    return names


def check(folder, name, expected):
    from datasets import load_dataset  # only now that the environment is set

    splits = load_dataset(str(folder), name)
    found = sum(split.num_rows for split in splits.values())
    if found != expected:
        raise Wrong(f"{name}: {found} rows were loaded, the manifest says {expected}")
    for split_name, split in splits.items():
        where = f"{name}/{split_name}"
        if "messages" in split.column_names:
            for index, messages in enumerate(split["messages"]):
                check_messages(messages, f"{where} row {index}")
        elif "text" not in split.column_names:
            raise Wrong(f"{where}: neither `messages` nor `text` among {split.column_names}")
    columns = ", ".join(next(iter(splits.values())).column_names)
    print(f"{name}: {found} rows in {', '.join(splits)}; columns {columns}")


def check_messages(messages, where):
    if not isinstance(messages, list) or not messages:
        raise Wrong(f"{where}: messages is {messages!r}, not a list of at least one message")
    for number, message in enumerate(messages):
        for key in ("role", "content"):
            if not isinstance(message, dict) or not isinstance(message.get(key), str):
                raise Wrong(f"{where}, message {number}: `{key}` is not a string in {message!r}")


if __name__ == "__main__":
    main()
