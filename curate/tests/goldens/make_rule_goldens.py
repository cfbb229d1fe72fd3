"""Decisions of datatrove's filters, and spaCy's words and sentences, on texts made here.

    pip install datatrove==0.10.1 spacy==3.8.18
    python make_rule_goldens.py            # rules.jsonl and words.jsonl beside this file
    python make_rule_goldens.py IN OUT     # decisions on the `text` of another JSONL file
"""

import json
import random
import sys
from pathlib import Path

from datatrove.data import Document
from datatrove.pipeline.filters import C4QualityFilter, FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter
from datatrove.pipeline.formatters.pii import PIIFormatter
from datatrove.utils.text import split_into_sentences, split_into_words

HERE = Path(__file__).parent
SYLLABLES = "ba ke li mo nu ra se ti vo zu plan dor fin gel hast ing ment stra cle qui".split()
STOPS = "the be to of and that have with in on it is was for as at by".split()
ODD = [
    "don't", "I'm", "U.K.", "e.g.", "well-known", "a/b", "x=y", "3.5km", "$4.50", "50%", "http://a.org/b?c=d", "a@b.co", "(sic)",
    "...", "…", "—", "“quoted”", "it’s", "C++", "C#", "#tag", "10a.m.", "naïve", "größe", "東京", "Привет,", "1,000.50", "2+2", "3-4",
    "end.Start", "no,space", "A.B.C.", "rock'n'roll", "'tis", "'em", "O'Neil's", "--", "a--b", "x<y", "@you", "&amp;", "8.8.8.8", "[1]",
    "[edit]", "{x}", ":)", ":-(", "^_^", "US$5", "5€", "km²", "½", "•", "\u00a0\u00a0", "v1.2.3", "Mr.", "etc.)", "\"Hi!\"", "'quoted'", "!!!", "?!",
    "80's", "1980s", "well...then", "snake_case", "CamelCase", "foo.bar.baz", "user.name@example.com", "co-op-like", "\\alpha", "$x^2$", "a_1", "£3m",
    "°C.", "20°C.", "he'll've", "cannot", "gonna", "w/o", "lorem ipsum", "JavaScript", "cookie policy", "fi\u00adne", "日本語。", "x's", "X'S", "²", "m²."
]


def word(draw):
    if draw.random() < 0.35:
        return draw.choice(STOPS)
    return "".join(draw.choice(SYLLABLES) for _ in range(draw.randint(1, 3)))


def sentence(draw, odd):
    words = [draw.choice(ODD) if draw.random() < odd else word(draw) for _ in range(draw.randint(2, 16))]
    ends = [".", ".", ".", "!", "?", "", "...", '."', ";", ".)"]
    return " ".join(words).capitalize() + draw.choice(ends)


def text(draw):
    """A text of one of several kinds: prose, lists, repetition, symbols."""
    odd = draw.choice([0, 0.02, 0.1, 0.3])
    kind = draw.randrange(8)
    count = draw.choice([1, 3, 8, 20])
    paragraphs = [" ".join(sentence(draw, odd) for _ in range(draw.randint(1, 5))) for _ in range(count)]
    if kind == 1:
        paragraphs = ["- " + p if draw.random() < 0.95 else p for p in paragraphs for p in p.split(". ")]
    elif kind == 2:
        paragraphs = [draw.choice(paragraphs) for _ in range(2 * count)]
    elif kind == 3:
        paragraphs = [p + " " + " ".join(["#" + word(draw), "..."] * draw.randint(0, 4)) for p in paragraphs]
    elif kind == 4:
        phrase = " ".join(word(draw) for _ in range(draw.randint(2, 9)))
        paragraphs = [p + " " + " ".join([phrase] * draw.randint(0, 2)) for p in paragraphs]
    elif kind == 5:
        paragraphs = [" ".join(str(draw.randrange(10**6)) for _ in range(9)) + " " + p for p in paragraphs]
    elif kind == 6:
        paragraphs = [p[: draw.randint(5, 60)] for p in paragraphs]
    return draw.choice(["\n", "\n\n", "\n\n\n", "\r\n"]).join(paragraphs)


def decisions(text):
    row = {"text": text}
    for name, rule in RULES.items():
        document = Document(text=text, id="0")
        try:
            kept = rule.filter(document)
        except ZeroDivisionError:
            return None  # datatrove counts a text without words as a failure
        row[name] = None if kept is True else kept[1]
        if name == "c4":
            row["c4_text"] = document.text if kept is True else None
    row["pii"] = PIIFormatter().format(text)
    return row


RULES = {
    "gopher_quality": GopherQualityFilter(),
    "gopher_repetition": GopherRepetitionFilter(),
    "fineweb": FineWebQualityFilter(),
    "c4": C4QualityFilter(),
}


def write(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


if len(sys.argv) > 2:
    texts = [json.loads(line)["text"] for line in open(sys.argv[1])]
    write(Path(sys.argv[2]), filter(None, map(decisions, texts)))
else:
    draw = random.Random(7)
    write(HERE / "rules.jsonl", filter(None, (decisions(text(draw)) for _ in range(160))))
    draw = random.Random(8)
    samples = [" ".join(draw.choice(ODD) for _ in range(6)) for _ in range(120)] + [sentence(draw, 0.2) + "  " + sentence(draw, 0.2) for _ in range(120)]
    write(HERE / "words.jsonl", ({"text": s, "words": split_into_words(s), "sentences": len(split_into_sentences(s))} for s in samples))
