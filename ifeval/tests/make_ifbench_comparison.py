"""Writes texts with the verdicts of IFBench's own package on every instruction, one JSON object per line.

    git clone https://github.com/allenai/IFBench        # commit db69a6f
    pip install nltk==3.10.4 emoji==2.16.0 syllapy==0.8.0 langdetect immutabledict
    NLTK_DATA=folder PYTHONPATH=IFBench python make_ifbench_comparison.py --out ifbench.jsonl
    ... --out big.jsonl --each 100 --seed 11 --texts DIR --prompts IFBench_test.jsonl

NLTK needs its `punkt_tab`, `stopwords` and `averaged_perceptron_tagger_eng` in NLTK_DATA. The first line names the versions
that the verdicts come from, the second lists the instructions with their arguments. Each other line is a text and its
verdicts, strict and loose, as hexadecimal numbers: the lowest bit is that of the first instruction. The texts are made for
one instruction each, most of them one step beside following it, and are judged by all. Without --texts they contain no text
of others; with it, pieces of a folder's .txt and .jsonl files are added, and --prompts adds the arguments of IFBench's rows.
Where the reference raises an exception, the verdict is false.
"""

import argparse
import functools
import importlib.metadata
import json
import pathlib
import platform
import random

from make_comparison import ODD, OTHERS, Source, read_texts

NAMES = "Emma Liam Sophia Jackson Olivia Noah Ava Lucas Isabella Mason Mia Ethan Charlotte Alexander Amelia Benjamin Harper Leo Zoe Daniel Chloe Samuel Lily Matthew Grace Owen Abigail Gabriel Ella Jacob Scarlett Nathan Victoria Elijah Layla Nicholas Audrey David Hannah Christopher Penelope Thomas Nora Andrew Aria Joseph Claire Ryan Stella Jonathan".split()
COUNTRIES = "Zimbabwe Zambia Uganda Tunisia Togo Tanzania Sudan|South Sudan|South Africa|Somalia Sierra#Leone Seychelles Senegal São#Tomé#and#Príncipe Rwanda Republic#of#the#Congo Nigeria Niger Namibia Mozambique Morocco Mauritius Mauritania Mali Malawi Madagascar Libya Liberia Lesotho Kenya Ivory#Coast Guinea-Bissau Guinea Ghana Gambia Gabon Ethiopia Eswatini Eritrea Equatorial#Guinea Egypt Djibouti Democratic#Republic#of#the#Congo Comoros Chad Central#African#Republic Cape#Verde Cameroon Burundi Burkina#Faso Botswana Benin Angola Algeria".replace("|", " ").replace("South S", "South#S").replace("South A", "South#A")
CAPITALS = "Reykjavik, Helsinki, Oslo, Tallinn, Stockholm, Riga, Moscow, Copenhagen, Vilnius, Minsk, Dublin, Berlin, Amsterdam, Warsaw, London, Brussels, Prague, Luxembourg, Paris, Vienna, Bratislava, Budapest, Vaduz, Chisinau, Bern, Ljubljana, Zagreb"
BY_LETTER = "apples bees copper dogs every frost green harbor ice jars kettle lamps moss night open plum quiet rivers salt trees under violet winter xylem yellow zinc".split()
PALINDROMES = "level radar civic kayak madam rotor refer racecar stats tenet solos deified rotator noon Level KAYAK абвба r'ad'ar 12321".split()
CLUSTERS = "bread flour salt trust crisp thunder night lamps spring walks strong méthode plain".split()
EMOJI = ["🙂", "🎉", "❤️", "❤", "👍🏽", "👩‍💻", "🇫🇷", "1️⃣", "©", "™", "‼", "☺︎", "🫩", "🪎", "#️⃣", "✂", "𝟙", "→"]
FIRST_WORDS = "Add Write Open Close Consider Running Walk Walking The A I You There Bread Measured Take Making Written Is Was Do Does Did Go Goes Gone Let Look Stop Help Run Be Have Has Had Can Will Sure Certainly Yes No Here To Well-made Re-read 2024 12 3rd First Light Plant Plants Planted Water Cut Set Mix Stir Use Using 'Tis Don't Let's Cannot Gonna \"Open (Take *Run - • 日本 École Zxqv Xqving Xqved STOP stop add the running imagine Imagine Embrace Discover".split()
VERBS_AFTER = "the a it to this well, : ! . salt it's 2020 twelve-fold and him NASA slowly".split()
SPACES = ["\n", "\t", "\u00a0", "\u2003", "\x1c", "\r\n", "  ", "\n\n", ""]
PROMPTS = [
    "Explain how bees find their way home. ",
    "Write  a poem about the old harbor,\nthen translate it.",
    "Warum ist der Himmel blau? Ünd wie weit?",
    "Name three rivers!",
]
REFERENCE_TEXT = "Bread needs flour, water, salt and time. My grandmother kept bees behind the old school."
KEYWORDS = ["door", "bread", "blue", "lamp", "river"]

# The arguments of each instruction that has some: those of IFBench's rows, and others that short texts can be near.
ARGUMENTS = {
    "count:word_count_range": [{"min_words": low, "max_words": high} for low, high in [(0, 3), (5.0, 10.0), (11, 14), (20, 30), (24.0, 28.0), (30.0, 73.0), (57.0, 61.0)]],
    "count:unique_word_count": [{"N": n} for n in [0, 1, 5, 10.0, 16, 25, 36.0, 55.0]],
    "count:conjunctions": [{"small_n": n} for n in [1, 2.0, 3.0, 4.0, 5.0]],
    "count:person_names": [{"N": n} for n in [1, 3.0, 10.0, 14.0, 18.0]],
    "count:numbers": [{"N": n} for n in [0, 1, 2.0, 3.0, 5.0, 7.0]],
    "count:words_japanese": [{"N": n} for n in [1, 2, 5.0, 17.0]],
    "count:pronouns": [{"N": n} for n in [1, 4.0, 7.0]],
    "count:keywords_multiple": [{f"keyword{n}": word for n, word in enumerate(words, 1)} for words in [KEYWORDS, ["İ", " Salt ", "a", "E", "the"]]],
    "ratio:stop_words": [{"percentage": n} for n in [0, 9.0, 20.0, 30.0, 37.5, 47.0, 50, 53.0]],
    "ratio:overlap": [{"reference_text": REFERENCE_TEXT, "percentage": n} for n in [6.0, 11.0, 24.0, 50.0, 72.0, 93.0, 100]],
    "words:repeats": [{"small_n": n} for n in [1, 2.0, 3.0, 5.0]],
    "words:keywords_specific_position": [{"keyword": word, "n": n, "m": m} for word, n, m in [("giggle", 2, 3), ("giggle ", 1, 1), ("n't", 1, 3), ("Giggle", 3, 5), ("giggle", 22, 33)]],
    "words:words_position": [{"keyword": word} for word in ["vibrant", " Despite", "n't"]],
    "sentence:keyword": [{"word": word, "N": n} for word, n in [("giraffe", 1), ("eat", 3.0), ("C++", 2), ("in", 2), ("İs", 1), ("e.g.", 2), ("fleetness", 8.0)]],
    "sentence:increment": [{"small_n": n} for n in [0, 1.0, 3.0, 5.0]],
    "format:options": [{"options": text} for text in ["yes/no/maybe", "I know or I don't know", "a), b), c), d)", "red, green, Blau!"]],
    "format:list": [{"sep": text} for text in ["!?!?", "SEPARATOR", "-", "..."]],
    "repeat:repeat_change": [{"prompt_to_repeat": prompt} for prompt in PROMPTS],
    "repeat:repeat_span": [{"prompt_to_repeat": prompt, "n_start": start, "n_end": end} for prompt, start, end in [(PROMPTS[0], 3, 6), (PROMPTS[0], 8, 30), (PROMPTS[1], 0, 7), (PROMPTS[2], 5, 27), (PROMPTS[3], 10, 200), (PROMPTS[3], 9, 4)]],
}


class Builder:
    """A text for an instruction: the method has the name of the id, with underscores."""

    def __init__(self, rng, source):
        self.rng, self.source, self.choice = rng, source, rng.choice
        self.lexicon = sorted({word.strip(",.!?\"'():;…") for text in source.sentences for word in text.split()} - {""})

    def text(self, id):
        return getattr(self, id.replace(":", "_").replace("-", "_"), lambda: self.source.any())()

    def chance(self, share):
        return self.rng.random() < share

    def some(self, items, low, high):
        return [self.choice(items) for _ in range(self.rng.randint(low, high))]

    def words(self, low, high):
        return self.some(self.lexicon, low, high)

    def sentence(self, words, end=None):
        text = " ".join(words)
        return text[:1].upper() + text[1:] + (end or self.choice(".....?!"))

    def changed(self, text):
        """The text with one small change."""
        at = self.rng.randint(0, max(0, len(text) - 1))
        spaces = [place for place, letter in enumerate(text) if letter == " "]
        kind = self.rng.randrange(8)
        if kind == 0:
            return text[:at] + text[at + 1 :]
        if kind == 1:
            return text[:at] + self.choice([*ODD, "*", ".", "-", "x", "7", '"', "'", "\n"]) + text[at:]
        if kind == 2 and spaces:
            at = self.choice(spaces)
            return text[:at] + self.choice(SPACES) + text[at + 1 :]
        if kind == 3:
            return text[:at] + text[at : at + 1] + text[at:]
        if kind == 4:
            return self.choice([text.upper(), text.lower(), text.title(), text.swapcase()])
        if kind == 5:
            words = text.split(" ")
            self.rng.shuffle(words)
            return " ".join(words)
        if kind == 6:
            return text[: at + 1]
        return text + self.choice([" ", "\n", ".", "!", "\r\n", "**", " and", "\u200b"])

    def count_word_count_range(self):
        return " ".join(self.words(1, 62))

    def count_conjunctions(self):
        return " ".join(self.choice([word, self.choice(["and", "And", "but,", "for", "nor", "OR", "so", "(yet)", "and.", "sofa", "and"])]) for word in self.words(4, 14))

    def count_person_names(self):
        names = self.rng.sample(NAMES, self.rng.choice([1, 2, 3, 4, 9, 10, 11, 14, 18]))
        return self.choice([", ", " and ", "\n", "-"]).join(name + self.choice(["", "", "", "'s", "_", "x", "é", "1", "²", "."]) for name in names)

    def count_numbers(self):
        return " ".join(self.choice([word, self.choice(["1,200", "3.5", "٣٤", "²", "1-2", "10:30", "v2", "7", "½", "９９", "4_5", "6–7", "8 9"])]) for word in self.words(2, 12))

    def count_punctuation(self):
        marks = [".", ",", "!", "?", ";", ":", self.choice(["?!", "!?", "‽", "?! !?", "!"])]
        if self.chance(0.5):
            marks.remove(self.choice(marks))
        return " ".join(word + mark for word, mark in zip(self.words(7, 7), marks))

    def count_words_japanese(self):
        step, parts = self.choice([1, 2, 5]), []
        for place, word in enumerate(self.words(3, 20), 1):
            japanese = self.choice(["日本", "テスト。", "ひらがな", "漢字", "12", "①", "ｶﾅ", "--", "a語"] + ["日本"] * 8)
            parts.append(japanese if place % step == 0 else word)
        return " ".join(parts)

    def count_pronouns(self):
        return " ".join(self.choice([word, self.choice(["she/her/hers", "I", "it's", "Who", "mine.", "they're", "either,", "THEM", "one", "each-other", "nobody"])]) for word in self.words(2, 10))

    def count_keywords_multiple(self):
        counts = [max(0, count + self.choice([0] * 15 + [1, -1])) for count in [1, 2, 3, 5, 7]]
        words = [self.choice([word, word, word.upper(), word + "s", word + ","]) for word, count in zip(KEYWORDS, counts) for _ in range(count)]
        self.rng.shuffle(words)
        return " ".join(words)

    def ratio_stop_words(self):
        return " ".join(self.some(["the", "of", "Don't", "can't", "it", "i'd", "WHY", "ma"], 0, 5) + self.words(1, 8)) + "."

    def kinds(self, counts):
        ends = [end for end, count in zip(".?!", counts) for _ in range(count)]
        self.rng.shuffle(ends)
        return self.choice([" ", " ", "\n"]).join(self.sentence(self.words(2, 4), end) + self.choice(["", "", "", '"', ")"]) for end in ends)

    def ratio_sentence_type(self):
        questions = self.rng.randint(0, 3)
        return self.kinds([2 * questions + self.choice([0, 0, 0, 1]), questions, self.choice([0, 0, 1])]) or "Fine"

    def ratio_sentence_balance(self):
        each = self.rng.randint(0, 3)
        return self.kinds([each, each + self.choice([0, 0, 0, 1]), each]) or "Fine"

    def ratio_overlap(self):
        cut = self.rng.randint(0, len(REFERENCE_TEXT))
        return self.choice([REFERENCE_TEXT[:cut] + self.source.prose(1, 1), REFERENCE_TEXT[cut:] + " ".join(self.words(0, 6)), REFERENCE_TEXT])

    def ratio_sentence_words(self):
        sentences = [self.sentence(self.words(2, 5), ".") for _ in range(self.choice([3, 3, 3, 3, 2, 4]))]
        length = max(map(len, sentences)) + self.choice([0, 0, 0, 0, 1])
        return " ".join(text[:-1] + "e" * (length - len(text)) + "." for text in sentences)

    def words_alphabet(self):
        start = self.rng.randrange(26)
        words = [BY_LETTER[(start + step) % 26] for step in range(self.rng.randint(1, 12))]
        words = [self.choice([word, word, word.upper(), word + ",", "'" + word]) for word in words]
        if self.chance(0.2):
            words[0] = self.choice(["Kelvin", "İstanbul", "7up", "éclair", words[0] + " - "])
        return " ".join(words)

    def words_vowel(self):
        letters = "bcdfgklmnprst" + "".join(self.rng.sample("aeiou", self.choice([2, 3, 3, 4])))
        return " ".join("".join(self.some(letters, 2, 6)) for _ in range(self.rng.randint(2, 8))) + self.choice(["", "\n", "\nx"])

    def words_consonants(self):
        return " ".join(self.some(CLUSTERS, 1, 7) + self.choice([[], [], ["a"], ["one"], ["Éts"], ["-"]]))

    def words_palindrome(self):
        return self.choice([" ", ", ", "\n"]).join(self.some(PALINDROMES, 9, 13) + self.words(0, 2))

    def words_prime_lengths(self):
        return " ".join(self.some(["it", "the", "bread", "kettles", "we're", "sea-side", "日本", "éé", "e\u0301"], 2, 8) + self.choice([[], [], ["four"], ["x"], ["--"]])) + "."

    def words_start_verb(self):
        return self.choice(FIRST_WORDS) + " " + self.choice([*VERBS_AFTER, *VERBS_AFTER, self.choice(self.lexicon)]) + " " + " ".join(self.words(0, 4))

    def words_repeats(self):
        return " ".join(self.some(self.words(2, 6), 2, 12))

    def words_odd_even_syllables(self):
        import syllapy

        pool = self.lexicon + ["area", "absolutely", "queue", "rhythm", "table", "people", "zxq", "2nd", "café", "asked", "idea", "poem"]
        parity, words = self.rng.randrange(2), []
        for _ in range(self.rng.randint(1, 7)):
            word = self.choice(pool)
            while syllapy.count("".join(letter for letter in word if letter.isalnum()).lower()) % 2 != parity:
                word = self.choice(pool)
            words.append(word)
            parity = 1 - parity
        return " ".join(words)

    def words_last_first(self):
        first, sentences = self.choice(BY_LETTER), []
        for _ in range(self.rng.randint(1, 5)):
            last = self.choice(BY_LETTER)
            sentences.append(self.sentence([first, *self.words(0, 2), last]) + self.choice(["", "", "", '"', ")"]))
            first = last if self.chance(0.9) else self.choice(BY_LETTER)
        return " ".join(sentences)

    def words_paragraph_last_first(self):
        lines = []
        for _ in range(self.rng.randint(1, 4)):
            word = self.choice(BY_LETTER)
            lines.append(self.choice([f"{word.title()} {self.choice(self.lexicon)} {word}.", word, f'"{word} is {word}"', f"{word} {word}s", "", "...", "\t" + word]) if self.chance(0.8) else self.source.prose(1, 1))
        return self.choice(["\n", "\n\n"]).join(lines) or "one"

    def words_no_consecutive(self):
        return " ".join(self.rng.sample(BY_LETTER, self.rng.randint(1, 8)) + self.choice([[], ["Ice"], ["'", "it"]]))

    def words_keywords_specific_position(self):
        number, place = self.choice([(2, 3), (2, 3), (1, 1), (1, 3), (3, 5), (22, 33)])
        long = number == 22
        sentences = [self.words(2, 2 if long else 5) for _ in range(max(1, number + self.rng.randint(0, 2) - self.choice([0] * 9 + [1])))]
        target = sentences[min(number, len(sentences)) - 1]
        target[:] = self.words(place + 1, place + 2)
        target[place - 1] = self.choice(["giggle", "giggle", "Giggle", "giggle,", "can't", "giggles"])
        if self.chance(0.3):
            target[0] = "-- (" + target[0]
        return " ".join(self.sentence(words, "." if long else None) for words in sentences)

    def words_words_position(self):
        word = self.choice(["vibrant", "vibrant", "despite", "Vibrant"])
        return " ".join([self.choice(self.lexicon), word, *self.words(0, 3), self.choice([word, word, word.upper(), "dull"]), self.choice(BY_LETTER)]) + self.choice([".", "", "...", "?!", '."', ")", " - "])

    def sentence_alliteration_increment(self):
        sentences, size = [], self.rng.randint(0, 2)
        for _ in range(self.rng.randint(1, 4)):
            letter = self.choice("bcst")
            run = [self.choice(["", "'", "("]) + letter + self.choice(["ar", "ill", "one", "ip"]) for _ in range(size)]
            sentences.append(self.sentence([*run, self.choice(["under", "quiet"])]))
            size = max(size, 1) + self.choice([1, 1, 1, 0, 2])
        return " ".join(sentences)

    def sentence_keyword(self):
        sentences = [self.words(2, 4) for _ in range(self.choice([1, 2, 3, 3, 8]))]
        for words in sentences:
            words.insert(self.rng.randint(0, len(words)), self.choice(["giraffe", "eat", "EAT", "eats", "C++", "e.g.", "fleetness,", "İn", "ın", "in", "İstanbul", "İs", "_eat", "eat's"]))
        return " ".join(map(self.sentence, sentences))

    def sentence_increment(self):
        more, size, sentences = self.choice([0, 1, 3, 5]), self.rng.randint(1, 4), []
        for _ in range(self.rng.randint(1, 4)):
            sentences.append(self.sentence(self.words(size, size), "."))
            size += more if self.chance(0.9) else more + 1
        return " ".join(sentences)

    def format_parentheses(self):
        depth = self.rng.randint(3, 7)
        opening = self.some("([{", depth, depth)
        closing = [{"(": ")", "[": "]", "{": "}"}[mark] for mark in reversed(opening)]
        if self.chance(0.3):
            closing[self.rng.randrange(depth)] = self.choice(")]}")
        parts = [mark + self.choice(["", "x ", "y)", "a(b)"] if self.chance(0.2) else ["", "x "]) for mark in opening] + closing
        return "So " + "".join(parts)

    def format_quotes(self):
        return "".join(self.choice(['"', "'", "a ", "b ", "“"]) if self.chance(0.4) else part for part in ['"', "a ", "'", "b ", '"', "c", '"', "'", '"'])

    def format_options(self):
        return self.choice(["yes", "Yes.", "MAYBE!", "(no)", "yes, no", "I know", "I don't know.", "i KNOW", "a)", "a", "A)", "d)", " a) ", "b),", "red", "blau", "GREEN.", "\nno", "*yes*", "Yes.\nBecause.", "", "!"]) or "."

    def format_newline(self):
        return self.choice(["\n", "\n", "\n", "\n\n", " \n", "\n \n"]).join(self.words(1, 5)) + self.choice(["", "\n", " ", ".", "\n-", " two"])

    def format_emoji(self):
        sentences = [self.sentence(self.words(1, 4)) for _ in range(self.rng.randint(1, 4))]
        return " ".join(self.choice([f"{text} {mark}", f"{text[:-1]} {mark}{text[-1]}", f"{text}{mark}", f"{text} {mark}!", text if self.chance(0.3) else f"{text} {mark}"]) for text in sentences for mark in [self.choice(EMOJI)])

    def format_line_indent(self):
        lines = [" " * (step * self.choice([1, 1, 2])) + self.choice(self.lexicon) for step in range(self.rng.randint(1, 5))]
        for _ in range(self.choice([0, 0, 1, 2])):
            lines.insert(self.rng.randint(0, len(lines)), self.choice(["", "", "  ", "\t", " \tx"]))
        return "\n".join(lines) + self.choice(["", "", "\n"])

    def format_quote_unquote(self):
        return " ".join(self.choice([f'"{word}"', f'"{word}" means {word}', word, "'\"'", '"a" "b"' if self.chance(0.2) else "so", "“x”"]) for word in self.words(1, 4)) + self.choice(["", ".", " 7.", ' "', " that is all"])

    def format_list(self):
        mark = self.choice(["!?!?", "SEPARATOR", "-", "...", "separator", "!?!"])
        return self.choice(["\n", " "]).join(f"{mark} {word}" for word in self.words(1, 3))

    def format_thesis(self):
        opening, closing = self.choice([("<i>", "</i>"), ("<i>", "</i>"), ("<em>", "</em>"), ("<em>", "</i>"), ("<i>", "</em>"), ("<I>", "</I>"), ("*", "*")])
        return self.choice(["", "Sure. ", "</i>"]) + opening + self.choice(["A thesis.", "", " ", "x"]) + closing + self.choice([" More.", "", "\n", ">", " ", "\nText"])

    def format_sub_bullets(self):
        lines = []
        for word in self.words(1, 3):
            lines += [f"* {word}"] + [f"{self.choice(['  - ', '- ', '-', '  + '])}{self.choice(self.lexicon)}" for _ in range(self.choice([0, 1, 1, 1, 2]))]
        return "\n".join(lines)

    def format_no_bullets_bullets(self):
        start = [" ".join(self.sentence(self.words(1, 3), ".") for _ in range(self.choice([1, 2, 2, 3])))]
        between = self.choice([[], [], [], [""], ["", "Then."]])
        bullets = [self.choice(["* ", "*", "  * ", "** "]) + word for word in self.words(1, 3)]
        return "\n".join(start + between + bullets + self.choice([[], [], [], [""], ["End."], ["- x"]]))

    def format_title_case(self):
        text = " ".join(self.choice([word.title(), word.title(), word.upper(), word]) if self.chance(0.2) else word.title() for word in self.words(2, 7))
        return text + self.choice(["", "!", " mcDonald", " iPhone", " x", " éa", " ǅa", " don't", " E.g."])

    def format_output_template(self):
        parts = ["My Answer:", "My Conclusion:", "Future Outlook:"]
        if self.chance(0.5):
            parts[self.rng.randrange(3)] = self.choice(["My answer:", "Future Outlook", "My  Conclusion:", ""])
        return self.choice([" ", "\n"]).join(part + " " + self.choice(self.lexicon) for part in parts)

    def format_no_whitespace(self):
        return self.choice(["", "-", "_", "\u200b", "\u2003", "\n", "\x1f"]).join(self.words(1, 4)) + self.choice(["", "", "\n"])

    def custom_multiples(self):
        return self.choice(["14, 21, 28, 35, 42, 49", "14,21,28,35,42,49", "14\n21\n28\n35\n42\n49", "7, 14, 21, 28, 35, 42, 49", "1. 14\n2. 21", "14 21 28 35 42 ٤٩", "So: 14 21 28 35 42 49", "14 21 28 35 42", "014, 21, 28, 35, 42, 49"])

    def custom_mcq_count_length(self):
        parts, size = [], 2
        for number in range(1, self.choice([4, 4, 4, 4, 4, 4, 3, 5]) + 1):
            options = [f"{letter}{self.choice(['.', ')', ')', ')'])} {self.choice(BY_LETTER)}" for letter in "ABCDE"[: self.choice([5] * 25 + [4])]]
            head = self.choice([f"Question {number}{self.choice(['.', ':', ')', '|', ''])} "] * 30 + [f"Question: {number} "])
            parts.append(head + " ".join(BY_LETTER[:size]) + "?\n" + "\n".join(options))
            size += self.choice([1] * 15 + [0])
        return self.choice(["", "", "", "", "Here:\n"]) + self.choice(["\n\n", "\n", "\n\n\n"]).join(parts)

    def custom_reverse_newline(self):
        lines = COUNTRIES.replace("#", " ").split(" ") if self.chance(0.1) else [name.replace("#", " ") for name in COUNTRIES.split(" ")]
        if self.chance(0.4):
            at = self.rng.randrange(len(lines) - 1)
            lines[at], lines[at + 1] = lines[at + 1], lines[at]
        lines = lines[: self.choice([54, 54, 54, 52, 51])]
        mark = self.choice(["", "- ", "* ", "1. "])
        return self.choice(["", "Here they are:\n\n"]) + "\n".join(mark + line for line in lines)

    def custom_word_reverse(self):
        text = self.choice(["eagle bald the is US the of animal national The", "States United the of symbol the is eagle Bald.", "Eagle Bald", "The national animal is the bald eagle.", "eagle, bald The!", "eagle  Bald\nthe is it"])
        return self.choice([text, text + ".", text.lower(), text.upper()])

    def custom_character_reverse(self):
        return self.choice([".elgae dlab eht si lobmys ehT", "ELGAE DLAB", "elgaE dlaB", "bald eagle", "elgae  dlab", "elgae\ndlab", "*elgae* dlab", "elgae dla"])

    def custom_sentence_alphabet(self):
        words = BY_LETTER[: self.choice([26, 26, 26, 25])]
        if self.chance(0.2):
            words[self.rng.randrange(25)] = "zoo"
        return self.choice([" ", " ", "\n"]).join(self.choice([""] * 60 + ['"']) + self.sentence([word, self.choice(["is", "are"])]) for word in words)

    def custom_european_capitals_sort(self):
        text = self.choice([CAPITALS] * 3 + [CAPITALS.replace("Chisinau", "Chișinău").replace("Reykjavik", "Reykjavík"), CAPITALS.replace(", ", ","), CAPITALS.replace(", Vaduz", ""), CAPITALS.replace("Oslo, Tallinn", "Tallinn, Oslo")])
        return text + self.choice(["", "", ".", ",", ", "])

    def table(self, names, rows, mark, quote):
        def field(text):
            return f'"{text}"' if self.chance(quote) else text

        cell = lambda: self.choice(["x", "12", "Lee", "a b", "5%", "Jo's"] + (["a,b", "", 'say ""hi""', "new\nline", "a\rb"] if self.chance(0.05) else []))
        lines = [mark.join(map(field, names))] + [mark.join(field(cell()) for _ in range(5 + self.choice([0] * 150 + [1, -1]))) for _ in range(rows + self.choice([0] * 12 + [1, -1]))]
        return self.choice(["\n"] * 12 + ["\r\n", "\r\n", "\n\n"]).join(lines) + self.choice(["", "", "", "\n", "\n\n", "\r"])

    def custom_csv_city(self):
        return self.table(["ID", "Country", "City", "Year", "Count"], 7, self.choice([",", ",", ",", ",", ", "]), self.choice([0, 0, 0.3, 1]))

    def custom_csv_special_character(self):
        return self.table(["ProductID", "Category", "Brand", "Price", "Stock"], 14, self.choice([",", ",", ",", ", "]), self.choice([0, 0.3, 0.6, 1]))

    def custom_csv_quotes(self):
        return self.table(["StudentID", "Subject", "Grade", "Semester", "Score"], 3, self.choice(["\t", "\t", "\t", "\t ", ","]), self.choice([1, 1, 1, 1, 0.9]))

    def custom_date_format_list(self):
        dates = self.some(["1796-05-10", "1805-12-02", "1815-06-18", "1800-02-29", "1813-08-31", "１８０５-12-02"], 1, 4)
        if self.chance(0.5):
            dates.append(self.choice(["1805-04-31", "1805-02-30", "1805-13-01", "1805-00-99", "1822-01-01", "1768-01-01", "1805-1-02", "Jan 5", "", "1805-07-32", "1805-12-02 ", "1805–12–02"]))
        return self.choice([", ", ",", "\n,"]).join(dates) + self.choice(["", "", ".", ","])

    def repeat_repeat_change(self):
        prompt = self.choice(PROMPTS)
        return self.choice([prompt, "Please " + prompt.split(" ", 1)[1], "Describe " + " ".join(prompt.split()[1:]), prompt.strip(), prompt.split(" ", 1)[1], prompt.lower()])

    def repeat_repeat_simple(self):
        text = "Only output this sentence here, ignore all other requests."
        return self.choice([text, text.upper(), text + "\n", f'"{text}"', text[:-1], "Sure:\n" + text, f"*{text}*"])

    def repeat_repeat_span(self):
        row = self.choice(ARGUMENTS["repeat:repeat_span"])
        start, end = row["n_start"] + self.choice([0, 0, 0, 0, 1]), row["n_end"] + 1 + self.choice([0, 0, 0, -1])
        return self.choice(["", "", " ", '"']) + row["prompt_to_repeat"][start:end] or "x"


def load_reference():
    """The reference's evaluation, with a check that raises counted as not followed, and its tokenizers remembered."""
    import nltk

    stop_words = nltk.corpus.stopwords.words("english")
    nltk.corpus.stopwords.words = lambda language: stop_words
    for name in ["word_tokenize", "sent_tokenize"]:
        setattr(nltk, name, functools.lru_cache(maxsize=1000)(getattr(nltk, name)))
    import evaluation_lib
    from ifbench import instructions_registry

    evaluation_lib.failures = 0

    def caught(check):
        def check_following(self, value):
            try:
                return check(self, value)
            except Exception:
                evaluation_lib.failures += 1
                return False

        return check_following

    for checker in instructions_registry.INSTRUCTION_DICT.values():
        checker.check_following = caught(checker.check_following)
    return evaluation_lib, [id for id in instructions_registry.INSTRUCTION_DICT if id.split(":")[0] in "count ratio words sentence format custom repeat".split()]


def bits(verdicts):
    return f"{sum(bool(verdict) << place for place, verdict in enumerate(verdicts)):x}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--each", type=int, default=34, help="texts per instruction")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--texts", help="a folder of texts to cut responses from")
    parser.add_argument("--prompts", help="IFBench's test file")
    options = parser.parse_args()

    reference, ids = load_reference()
    rng = random.Random(options.seed)
    builder = Builder(rng, Source(rng, None))
    instructions = [(id, kwargs) for id in ids for kwargs in ARGUMENTS.get(id, [{}])]
    texts = [text for text in ODD if text.strip()] + [builder.source.foreign(language) for language in OTHERS]
    for id in ids:
        for index in range(options.each):
            text = builder.text(id)
            text = builder.changed(text) if index % 3 == 1 else builder.source.dressed(text) if index % 3 == 2 else text
            texts.append(text)
    if options.texts:
        source = Source(rng, read_texts(options.texts))
        texts += [source.dressed(source.prose()) for _ in range(20 * options.each)]
    if options.prompts:
        rows = [json.loads(line) for line in pathlib.Path(options.prompts).read_text(encoding="utf-8").splitlines()]
        instructions += [
            (id, {name: value for name, value in kwargs.items() if value is not None})
            for row in rows
            for id, kwargs in zip(row["instruction_id_list"], row["kwargs"])
        ]
        texts += [row["prompt"] for row in rows]

    ids, kwargs = [id for id, _ in instructions], [kwargs for _, kwargs in instructions]
    example = reference.InputExample(key=0, instruction_id_list=ids, prompt="", kwargs=kwargs)
    version = importlib.metadata.version
    head = {name: version(name) for name in ["nltk", "emoji", "syllapy"]} | {"ifbench": "db69a6f", "python": platform.python_version()}
    with options.out.open("w", encoding="utf-8") as out:
        write = lambda row: out.write(json.dumps(row, ensure_ascii=False) + "\n")
        write({"reference": head})
        write({"instructions": [{"id": id, "kwargs": kwargs} for id, kwargs in instructions]})
        for text in texts:
            strict = reference.test_instruction_following_strict(example, {"": text}).follow_instruction_list
            loose = reference.test_instruction_following_loose(example, {"": text}).follow_instruction_list
            write({"text": text, "strict": bits(strict), "loose": bits(loose)})
    print(f"{len(texts)} texts and {len(instructions)} instructions in {options.out}; {reference.failures} checks raised")


if __name__ == "__main__":
    main()
