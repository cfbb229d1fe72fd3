"""Writes curate/data/english.json: the tables of spaCy's blank English tokenizer (MIT, ExplosionAI GmbH), which datatrove
splits words with. `pip install spacy==3.8.18`; `python make_word_tables.py ../../data/english.json`."""

import json
import re
import sys

import spacy


def pattern(compiled):
    """Python's escapes of characters beyond 16 bits as characters, which other engines read alike."""
    text = compiled.__self__.pattern
    return re.sub(r"\\U([0-9A-Fa-f]{8})|\\u([0-9A-Fa-f]{4})", lambda m: literal(chr(int(m[1] or m[2], 16))), text)


def literal(letter):
    return "\\" + letter if letter in "[]^-\\&~" else letter


tokenizer = spacy.blank("en").tokenizer
sentencizer = spacy.pipeline.Sentencizer()
tables = {
    "source": f"spaCy {spacy.__version__} (MIT, ExplosionAI GmbH): spacy.blank('en')",
    "prefix": pattern(tokenizer.prefix_search),
    "suffix": pattern(tokenizer.suffix_search),
    "infix": pattern(tokenizer.infix_finditer),
    "url": pattern(tokenizer.url_match).replace("(?u)", ""),
    # Tokens of each special case, joined by a space where there are several.
    "special": {text: [token[65] for token in tokens] for text, tokens in tokenizer.rules.items()},
    "sentence_ends": "".join(sorted(sentencizer.punct_chars)),
}
json.dump(tables, open(sys.argv[1], "w"), ensure_ascii=False, separators=(",", ":"))
