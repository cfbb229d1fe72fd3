"""CPU seconds of `smoltalk curate` and of datatrove, Resiliparse and OpenWebMath's pipeline, on the same pages with the same rules.

    pip install datatrove==0.10.1 spacy==3.8.18 trafilatura==2.3.1 fastwarc==2.0.1 xxhash==3.5.0 lxml_html_clean
    pip install --target OWM resiliparse==0.14.5 openwebmath-text-extract==0.1.3    # another Resiliparse than the newest
    cargo build --release -p generate && cargo build --release -p curate --example read_warc
    python curate/benchmarks/speed.py target/release/smoltalk PAGES [--owm OWM] [--times 3] [--pages N] [--warc ARCHIVE]

PAGES is a folder of .html.gz files, such as the one of scrapinghub/article-extraction-benchmark. Every program gets the pages
as one JSONL file or in memory, already decompressed, and works on one core: numbers are CPU seconds of the process and its children.

Archives are read and split into records and HTTP responses by both programs: ARCHIVE, or without it two that are made of PAGES,
compressed and plain.
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


def make_archives(folder, pages):
    """One archive of all pages compressed record by record, as crawls are stored, and one that is not compressed."""
    plain, compressed = Path(folder) / "pages.warc", Path(folder) / "pages.warc.gz"
    with plain.open("wb") as one, compressed.open("wb") as other:
        for number, page in enumerate(pages):
            block = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n" + page.encode()
            head = f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Record-ID: <urn:uuid:{number:032x}>\r\n"
            head += f"WARC-Target-URI: http://example.com/{number}\r\nContent-Type: application/http; msgtype=response\r\n"
            record = f"{head}Content-Length: {len(block)}\r\n\r\n".encode() + block + b"\r\n\r\n"
            one.write(record)
            other.write(gzip.compress(record, 6))
    return [compressed, plain]


def our_reader(reader, archive):
    """CPU seconds of `examples/read_warc`, and what it found."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = subprocess.run([reader, archive], check=True, capture_output=True, text=True).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, json.loads(found)


def fastwarc(archive):
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    responses = size = 0
    start = time.process_time()
    with open(archive, "rb") as stream:
        for record in ArchiveIterator(stream, record_types=WarcRecordType.response, parse_http=True):
            responses += 1
            size += len(record.reader.read())
    return time.process_time() - start, {"responses": responses, "bytes": size}


def archives(reader, paths):
    print("archives, read and split; MB of the file and of the pages in it for each CPU second")
    for path in paths:
        programs = [("smoltalk's reader", lambda: our_reader(reader, path)), ("fastwarc", lambda: fastwarc(path))]
        for name, read in programs:
            try:
                seconds, found = read()
            except (ImportError, FileNotFoundError) as error:
                print(f"{name + ', ' + path.name:52} skipped: {error}")
                continue
            rates = (size / 1e6 / max(seconds, 1e-9) for size in (path.stat().st_size, found["bytes"]))
            print(f"{name + ', ' + path.name:52} {seconds:8.2f} s   " + " ".join(f"{rate:8.1f} MB/s" for rate in rates) + f"   {found['responses']} responses")


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
    parser.add_argument("--pages", type=int, dest="count", help="take only so many of the pages")
    parser.add_argument("--warc", type=Path)
    options = parser.parse_args()
    if options.owm:
        sys.path.insert(0, options.owm)
    files = sorted(options.pages.glob("*.html.gz"))[: options.count]
    if not files:
        sys.exit(f"{options.pages} has no .html.gz files")
    pages = [gzip.decompress(path.read_bytes()).decode("utf-8", "replace") for path in files] * options.times
    print(f"{len(pages)} pages, {sum(map(len, pages)) / 1e6:.1f} million characters; one core, CPU seconds")
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        for number, page in enumerate(pages):
            file.write(json.dumps({"html": page, "url": f"http://example.com/{number}"}) + "\n")
        file.flush()
        line("smoltalk curate: extract", ours(options.smoltalk, file.name, EXTRACT), len(pages))
        line("smoltalk curate: extract, rules", ours(options.smoltalk, file.name, EXTRACT + RULES), len(pages))
        line("smoltalk curate: extract, rules, near-duplicates", ours(options.smoltalk, file.name, EXTRACT + RULES + DUPLICATES), len(pages))
    with tempfile.TemporaryDirectory() as folder:
        reader = Path(options.smoltalk).resolve().parent / "examples/read_warc"
        archives(reader, [options.warc] if options.warc else make_archives(folder, pages))
    attempt("Resiliparse, main content, no mathematics", lambda: resiliparse(pages), len(pages))
    attempt("OpenWebMath's pipeline", lambda: open_web_math(pages), len(pages))
    try:
        seconds = datatrove(pages)
        line("datatrove: Trafilatura", seconds["extract"], len(pages))
        line("datatrove: extract, rules, signatures", sum(seconds.values()), len(pages))
    except ImportError as error:
        print(f"datatrove skipped: {error}")


main()
