"""CPU seconds of `smoltalk curate` and of datatrove, Resiliparse and OpenWebMath's pipeline, on the same pages with the same rules.

    pip install datatrove==0.10.1 spacy==3.8.18 trafilatura==2.3.1
    pip install --target OWM resiliparse==0.14.5 openwebmath-text-extract==0.1.3    # another Resiliparse than the newest
    cargo build --release -p generate
    python curate/benchmarks/speed.py target/release/smoltalk PAGES [--owm OWM] [--times 3]

PAGES is a folder of .html.gz files, such as the one of scrapinghub/article-extraction-benchmark. Every program gets the pages
as one JSONL file or in memory, already decompressed, and works on one core: numbers are CPU seconds of the process and its children.
"""

import argparse
import gzip
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EXTRACT = 'name = "extract"\n[[stage]]\nkind = "extract"\n'
RULES = "".join(f'[[stage]]\nkind = "{kind}"\n' for kind in ("gopher_repetition", "gopher_quality", "c4", "fineweb"))
DUPLICATES = '[[stage]]\nkind = "near_duplicates"\n'


def ours(smoltalk, rows, recipe):
    """CPU seconds of a whole run."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recipe.toml"
        path.write_text(recipe)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [smoltalk, "curate", rows, "--recipe", str(path), "--out", str(Path(folder) / "out")]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "RAYON_NUM_THREADS": "1"})
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def datatrove(pages):
    """Extraction by Trafilatura, the four filters in a row (each page to its end), the signature of those that are kept."""
    from datatrove.data import Document
    from datatrove.pipeline.dedup import MinhashDedupSignature
    from datatrove.pipeline.extractors import Trafilatura
    from datatrove.pipeline.filters import C4QualityFilter, FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter

    extractor = Trafilatura(favour_precision=True, timeout=60)
    filters = [GopherRepetitionFilter(), GopherQualityFilter(), C4QualityFilter(), FineWebQualityFilter()]
    signer = MinhashDedupSignature(output_folder=tempfile.mkdtemp())
    filters[0].filter(Document(text="warm up the tokenizer", id="0"))
    seconds = {"extract": 0.0, "rules": 0.0, "signatures": 0.0}
    for page in pages:
        start = time.process_time()
        text = extractor.extract(page) or ""
        seconds["extract"] += time.process_time() - start
        document = Document(text=text, id="0")
        start = time.process_time()
        kept = text and all(rule.filter(document) is True for rule in filters)
        seconds["rules"] += time.process_time() - start
        if kept:
            start = time.process_time()
            signer.get_signature(signer.get_shingles(document.text))
            seconds["signatures"] += time.process_time() - start
    return seconds


def open_web_math(pages):
    from text_extract.extract import extract_text
    from text_extract.utils import Config

    config = Config(str(Path(sys.modules["text_extract"].__file__).parent / "configs/randomized_all.yaml"))
    start = time.process_time()
    for page in pages:
        try:
            extract_text(page, config.sample())
        except Exception as error:
            print("OpenWebMath:", error, file=sys.stderr)
    return time.process_time() - start


def resiliparse(pages):
    from resiliparse.extract.html2text import extract_plain_text

    start = time.process_time()
    for page in pages:
        extract_plain_text(page, main_content=True)
    return time.process_time() - start


def line(name, seconds, count):
    print(f"{name:52} {seconds:8.2f} s   {count / max(seconds, 1e-9):8.1f} pages/s")


def attempt(name, action, count):
    try:
        line(name, action(), count)
    except ImportError as error:
        print(f"{name:52} skipped: {error}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("smoltalk")
    parser.add_argument("pages", type=Path)
    parser.add_argument("--owm")
    parser.add_argument("--times", type=int, default=3)
    options = parser.parse_args()
    if options.owm:
        sys.path.insert(0, options.owm)
    files = sorted(options.pages.glob("*.html.gz"))
    pages = [gzip.decompress(path.read_bytes()).decode("utf-8", "replace") for path in files] * options.times
    print(f"{len(pages)} pages, {sum(map(len, pages)) / 1e6:.1f} million characters; one core, CPU seconds")
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        for number, page in enumerate(pages):
            file.write(json.dumps({"html": page, "url": f"http://example.com/{number}"}) + "\n")
        file.flush()
        line("smoltalk curate: extract", ours(options.smoltalk, file.name, EXTRACT), len(pages))
        line("smoltalk curate: extract, rules", ours(options.smoltalk, file.name, EXTRACT + RULES), len(pages))
        line("smoltalk curate: extract, rules, near-duplicates", ours(options.smoltalk, file.name, EXTRACT + RULES + DUPLICATES), len(pages))
    attempt("Resiliparse, main content, no mathematics", lambda: resiliparse(pages), len(pages))
    attempt("OpenWebMath's pipeline", lambda: open_web_math(pages), len(pages))
    try:
        seconds = datatrove(pages)
        line("datatrove: Trafilatura", seconds["extract"], len(pages))
        line("datatrove: extract, rules, signatures", sum(seconds.values()), len(pages))
    except ImportError as error:
        print(f"datatrove skipped: {error}")


main()
