"""What Python's difflib finds in pairs of texts, and how much of the second one the first holds.

The steps are those of cosmopedia's decontamination/decontaminate.py (NFD without nonspacing marks, lower case, \\w+,
SequenceMatcher with autojunk off, blocks longer than 5); the LCS is the textbook's. Pairs are made, not collected:
edited sentences, random letters from small alphabets (many ties), and other scripts.

    python tests/goldens/make_matching_goldens.py      writes tests/goldens/matching/pairs.jsonl
"""
import difflib
import json
import pathlib
import random
import re
import unicodedata

VOCABULARY = ("the a of to and in is it on that with was for as they at be this from have or by one had not but what "
              "all were when we there can an your which their said if do will each about how up out them then she many "
              "some so these would other into has more her two like him see time could no make than first been its who "
              "train apple river number seven dollars half café naïve Ångström Straße ΣΊΣΥΦΟΣ 42 3rd x_1").split()
ODD = ["Crème brûlée à la carte", "İstanbul'da KIŞ", "हिन्दी में लिखा हुआ", "日本語のテキスト、これは試験です", "ﬁne ½ Ⅳ ² ٣", "Ωμέγα ΟΔΟΣ",
       "a_b __c__ d-e", "été e\u0301te\u0301", "", " ", "...", "Việt Nam", "שָׁלוֹם עולם", "Ё ё Й й", "ᾳ ᾼ ΐ"]


def words(text):
    plain = "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")
    return re.findall(r"\w+", plain.lower())


def blocks(first, second):
    found = difflib.SequenceMatcher(None, first, second, autojunk=False).get_matching_blocks()
    return [list(block) for block in found if block.size]


def ratio(first, second):
    first, second = " ".join(words(first)), " ".join(words(second))
    parts = [first[a:a + size] for a, _, size in blocks(first, second) if size > 5]
    return len(" ".join("".join(parts).split())) / len(second) if second else 0.0


def lcs(first, second):
    lengths = [0] * (len(second) + 1)
    for one in first:
        before = lengths[:]
        for place, other in enumerate(second):
            lengths[place + 1] = before[place] + 1 if one == other else max(lengths[place], before[place + 1])
    return lengths[-1]


def edited(rng, text):
    list_ = text.split(" ")
    for _ in range(rng.randrange(1, 1 + max(2, len(list_) // 4))):
        place = rng.randrange(len(list_) + 1)
        match rng.randrange(4):
            case 0: list_.insert(place, rng.choice(VOCABULARY))
            case 1: list_[place:place + rng.randrange(1, 5)] = []
            case 2: list_[place:place] = list_[place // 2:place // 2 + 4]
            case _: list_[place:place + 1] = [rng.choice(VOCABULARY).upper() + rng.choice([",", ".", "!", ""])]
    return " ".join(list_)


def pairs(rng):
    for _ in range(150):
        text = " ".join(rng.choice(VOCABULARY) for _ in range(rng.randrange(5, 60)))
        yield edited(rng, text), text
    for _ in range(120):
        alphabet = rng.choice(["ab", "abc", "ab ", "abcdef "])
        yield tuple("".join(rng.choice(alphabet) for _ in range(rng.randrange(0, 60))) for _ in range(2))
    # Longer than 200 characters, where autojunk would leave common letters out.
    for _ in range(15):
        text = " ".join(rng.choice(VOCABULARY) for _ in range(rng.randrange(60, 120)))
        yield edited(rng, edited(rng, text)), text
    for text in ODD:
        yield text, edited(rng, text)
        yield edited(rng, text), edited(rng, text)


if __name__ == "__main__":
    rng = random.Random(0)
    out = pathlib.Path(__file__).parent / "matching" / "pairs.jsonl"
    out.parent.mkdir(exist_ok=True)
    with out.open("w", encoding="utf-8") as file:
        for first, second in pairs(rng):
            row = {"first": first, "second": second, "blocks": blocks(first, second),
                   "words": [words(first), words(second)], "ratio": ratio(first, second),
                   "lcs": lcs(first.split(" "), second.split(" "))}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
