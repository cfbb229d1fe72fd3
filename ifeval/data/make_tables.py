"""Writes the two tables of IFBench's checks that follow from data of others: `first_tag.bin` and `syllable_parity.txt`.

    pip install syllapy==0.8.0
    python make_tables.py FOLDER

FOLDER contains NLTK's `averaged_perceptron_tagger_eng.{weights,tagdict,classes}.json` (nltk_data, 2024-07-05). The tables
keep only what the checks can ask for; README.md says what is in them.
"""

import json
import pathlib
import string
import sys

import syllapy

# A feature of the tagger that the first word of a text can have: how its name begins, and the group it is stored under.
# Group 0 has the tags of words that need no features. The key of a feature without a value is empty.
CONSTANT = {
    "bias": 1,
    "i-1 tag -START-": 4,
    "i-2 tag -START2-": 5,
    "i tag+i-2 tag -START- -START2-": 6,
    "i-1 word -START2-": 9,
    "i-1 suffix T2-": 10,
    "i-2 word -START-": 11,
}
VALUED = {
    "i suffix ": 2,
    "i pref1 ": 3,
    "i word ": 7,
    "i-1 tag+i word -START- ": 8,
    "i+1 word ": 12,
    "i+1 suffix ": 13,
    "i+2 word ": 14,
}


def place(feature):
    """The group and the key of a feature, or None if the first word cannot have it."""
    if feature in CONSTANT:
        return CONSTANT[feature], ""
    for start, group in VALUED.items():
        if feature.startswith(start):
            return group, feature[len(start) :]
    return None


def first_tag(folder):
    def read(part):
        return json.loads((folder / f"averaged_perceptron_tagger_eng.{part}.json").read_text(encoding="utf-8"))

    classes = sorted(read("classes"))
    entries = {}
    for word, tag in read("tagdict").items():
        entries.setdefault(word, []).append((0, [(tag, 0)]))
    for feature, weights in read("weights").items():
        found = place(feature)
        if found and weights:
            entries.setdefault(found[1], []).append((found[0], sorted(weights.items())))

    out = bytearray([len(classes)])
    for name in classes:
        out += bytes([len(name)]) + name.encode()
    for key, records in sorted(entries.items()):
        name = key.encode()
        out += bytes([len(name)]) + name + bytes([len(records)])
        for group, weights in sorted(records):
            out += bytes([group, len(weights)])
            for tag, weight in weights:
                thousandths = round(weight * 1000)
                assert thousandths / 1000 == weight and abs(thousandths) < 1 << 17
                packed = classes.index(tag) << 18 | (thousandths & 0x3FFFF)
                out += packed.to_bytes(3, "little")
    return bytes(out)


def syllable_parity():
    """The words of syllapy's list to which its rule gives a number of syllables of the other parity."""
    asked_for = [
        word
        for word in syllapy.WORD_DICT
        if not any(letter in string.punctuation or letter.isspace() or letter.isdigit() for letter in word)
    ]
    wrong = sorted(word for word in asked_for if (syllapy.WORD_DICT[word] - syllapy._syllables(word)) % 2)
    return "".join(word + "\n" for word in wrong)


def main():
    here = pathlib.Path(__file__).parent
    (here / "first_tag.bin").write_bytes(first_tag(pathlib.Path(sys.argv[1])))
    (here / "syllable_parity.txt").write_text(syllable_parity(), encoding="utf-8")


if __name__ == "__main__":
    main()
