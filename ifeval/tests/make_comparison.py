"""Writes pairs of instruction and response with the verdicts of lm-evaluation-harness, one JSON object per line.

    pip install --no-deps lm_eval && pip install nltk langdetect immutabledict packaging
    NLTK_DATA=folder python make_comparison.py --out ifeval.jsonl
    python make_comparison.py --out big.jsonl --each 800 --texts DIR --prompts input_data.jsonl

NLTK needs its `punkt_tab` data in NLTK_DATA. Without --texts the responses are made of the sentences below, so that
the committed file (`ifeval.jsonl`) contains no text of others. With it they are cut from the .txt and .jsonl files of a
folder, and --prompts adds IFEval's own instructions and prompts. The counts in the instructions equal the true count or
differ from it by one, so that an error of one shows. The first line names the versions that the verdicts come from.
"""

import argparse
import importlib
import importlib.metadata
import importlib.util
import json
import logging
import pathlib
import platform
import random
import re
import sys
import types

ENGLISH = """The train from St. Albans was late again, so we walked. | Dr. Meyer paid $3.50 for the tea; Mrs. Okafor paid nothing.
"Are you coming?" she asked. | "No," he said, "not today..." | It costs 4.25 per kg, i.e. far too much! | We met at 5 p.m. on Jan. 3 in Washington, D.C. and left.
Who knows?! | The U.S. team won 3-2, didn't it? | J. R. Hill wrote that (see p. 12.) Nobody read it. | Prices rose by 2.5% in Q3... Then they fell.
I can't say. I won't try. | NASA and the EU signed it; the UN did NOT. | He works at Acme Inc. She works at Bolt Ltd. in York.
Open the file, read line no. 7, close it. | Email me at kim@example.com or see www.example.org. | Version 2.0.1 shipped — finally! | Wait . . . is that all?
Add salt, pepper, etc. Stir well. | The answer is C++, not C. | "It's fine." That was all. | A dog barked. B. did not.
Rivers carve valleys slowly over thousands of years. | Bread needs flour, water, salt and time. | My grandmother kept bees behind the old school.
Light travels faster than sound, which is why thunder comes late. | They planted 1,200 trees along the road to the coast. | Nobody answered the phone, so the message was left on the door.
The committee (all five of them) agreed. | Some say 'yes', some say 'no'. | Is it 10:30 or 11? | Mr. and Mrs. Lee live on Elm St. near the park. | vs. the world... and so on.
First, measure twice. Second, cut once. | It was cold; it was dark, too. | Well-made things last: e.g. chairs, tables, spoons."""

OTHERS = {
    "de": "Der Zug hatte heute Verspätung, deshalb sind wir gelaufen. | Meine Großmutter hielt Bienen hinter der alten Schule. | Das Brot braucht Mehl, Wasser und Zeit, z. B. über Nacht.",
    "fr": "Le train était encore en retard, alors nous avons marché. | Ma grand-mère élevait des abeilles derrière l'école. | « Où vas-tu ? » demanda-t-elle.",
    "es": "El tren llegó tarde otra vez, así que caminamos. | Mi abuela criaba abejas detrás de la vieja escuela. | ¿Quién sabe? ¡Nadie contestó el teléfono!",
    "pt": "O trem atrasou outra vez, então fomos a pé. | Minha avó criava abelhas atrás da escola velha. | Ninguém atendeu o telefone.",
    "it": "Il treno era di nuovo in ritardo, così abbiamo camminato. | Mia nonna teneva le api dietro la vecchia scuola. | Nessuno ha risposto al telefono.",
    "ru": "Поезд снова опоздал, поэтому мы пошли пешком. | Моя бабушка держала пчёл за старой школой. | Никто не ответил на звонок.",
    "uk": "Потяг знову запізнився, тому ми пішли пішки. | Моя бабуся тримала бджіл за старою школою. | Ніхто не відповів на дзвінок.",
    "bg": "Влакът отново закъсня, затова тръгнахме пеша. | Баба ми гледаше пчели зад старото училище.",
    "pl": "Pociąg znowu się spóźnił, więc poszliśmy pieszo. | Moja babcia hodowała pszczoły za starą szkołą.",
    "fi": "Juna oli taas myöhässä, joten kävelimme. | Isoäitini piti mehiläisiä vanhan koulun takana.",
    "sw": "Treni ilichelewa tena, kwa hiyo tulitembea. | Bibi yangu alifuga nyuki nyuma ya shule ya zamani.",
    "vi": "Tàu lại đến muộn nên chúng tôi đi bộ. | Bà tôi nuôi ong sau ngôi trường cũ.",
    "ar": "تأخر القطار مرة أخرى، لذلك مشينا. | كانت جدتي تربي النحل خلف المدرسة القديمة.",
    "fa": "قطار دوباره دیر کرد، پس پیاده رفتیم. | مادربزرگم پشت مدرسه قدیمی زنبور نگه می‌داشت.",
    "ur": "ٹرین پھر دیر سے آئی، اس لیے ہم پیدل چلے۔ | میری دادی پرانے اسکول کے پیچھے شہد کی مکھیاں پالتی تھیں۔",
    "he": "הרכבת איחרה שוב, אז הלכנו ברגל. | סבתא שלי גידלה דבורים מאחורי בית הספר הישן.",
    "hi": "ट्रेन फिर से देर से आई, इसलिए हम पैदल चले। | मेरी दादी पुराने स्कूल के पीछे मधुमक्खियाँ पालती थीं।",
    "mr": "गाडी पुन्हा उशिरा आली, म्हणून आम्ही चालत गेलो. | माझी आजी जुन्या शाळेच्या मागे मधमाश्या पाळत असे.",
    "ne": "रेल फेरि ढिलो आयो, त्यसैले हामी हिँड्यौं। | मेरी हजुरआमा पुरानो विद्यालय पछाडि माहुरी पाल्नुहुन्थ्यो।",
    "bn": "ট্রেন আবার দেরি করেছে, তাই আমরা হেঁটে গেলাম। | আমার দাদি পুরানো স্কুলের পিছনে মৌমাছি পালন করতেন।",
    "ta": "ரயில் மீண்டும் தாமதமாக வந்தது, எனவே நாங்கள் நடந்தோம். | என் பாட்டி பழைய பள்ளிக்குப் பின்னால் தேனீ வளர்த்தார்.",
    "te": "రైలు మళ్ళీ ఆలస్యమైంది, కాబట్టి మేము నడిచాము. | మా అమ్మమ్మ పాత బడి వెనుక తేనెటీగలు పెంచేది.",
    "kn": "ರೈಲು ಮತ್ತೆ ತಡವಾಯಿತು, ಆದ್ದರಿಂದ ನಾವು ನಡೆದೆವು.",
    "ml": "ട്രെയിൻ വീണ്ടും വൈകി, അതിനാൽ ഞങ്ങൾ നടന്നു.",
    "gu": "ટ્રેન ફરી મોડી આવી, તેથી અમે ચાલ્યા ગયા.",
    "pa": "ਰੇਲਗੱਡੀ ਫਿਰ ਲੇਟ ਹੋ ਗਈ, ਇਸ ਲਈ ਅਸੀਂ ਤੁਰ ਪਏ।",
    "th": "รถไฟมาสายอีกแล้ว เราจึงเดินไป คุณยายของฉันเลี้ยงผึ้งไว้หลังโรงเรียนเก่า",
    "ko": "기차가 또 늦어서 우리는 걸어갔다. | 할머니는 오래된 학교 뒤에서 벌을 키우셨다.",
    "ja": "電車がまた遅れたので、私たちは歩きました。 | 祖母は古い学校の裏で蜂を飼っていました。",
}

ODD = ["", " ", "\n", "\n\n\n", "***", "******", "\"", "\"\"", "...", "?!", ". . . .", "\x1c", "\u200b", "🙂🙂", "²½ ①", "ǅ", "ΟΔΟΣ ΣΑΣ", "İstanbul",
       "e\u0301te\u0301", "1234 5678", "{}", "[]", "null", "NaN", "<<>>", "[[]]", "**", "* * *", "- ", "-\n-", "A", "I", "a.b.c.", "(\")", "\u00a0\u3000",
       "My answer is yes.", "P.S.", "U.S.A. IS HERE.", "``x'' 'y'", "--- -- -", "a\r\nb\r\n", "line\u2028sep", "STRASSE ẞ ß", "www.X.com!!! \"OK.\" (NO.) [YES.] A.B."]

AROUND = ["", "", "", "Sure, here it is:\n", "Here is my answer:\n\n", "*", "**", "\n"]
AFTER = ["", "", "", "\nI hope this helps!", "\n\nAny other questions?", "*", "**", "\n"]
RELATIONS = ["less than", "at least"]


class Source:
    """Texts to build responses from: the sentences above, or pieces of real texts."""

    def __init__(self, rng, texts):
        self.rng = rng
        self.texts = texts
        self.sentences = [part.strip() for line in ENGLISH.split("\n") for part in line.split(" | ")]

    def prose(self, low=1, high=6):
        if self.texts:
            text = self.rng.choice(self.texts)
            start = self.rng.randrange(max(1, len(text) - 50))
            return text[start : start + self.rng.randint(20, 250 * high)].strip() or "None."
        chosen = [self.rng.choice(self.sentences) for _ in range(self.rng.randint(low, high))]
        return self.rng.choice([" ", " ", " ", "\n", "  ", "\n\n"]).join(chosen)

    def any(self):
        """Mostly English prose, sometimes another language or an oddity in it."""
        kind = self.rng.random()
        if kind < 0.08:
            return self.rng.choice(ODD)
        if kind < 0.2:
            return self.foreign(self.rng.choice(list(OTHERS)))
        if kind < 0.3:
            return self.prose() + " " + self.rng.choice(ODD) + " " + self.prose()
        return self.prose()

    def foreign(self, language):
        sentences = OTHERS[language].split(" | ")
        return " ".join(self.rng.choice(sentences) for _ in range(self.rng.randint(1, 3)))

    def dressed(self, text):
        return self.rng.choice(AROUND) + text + self.rng.choice(AFTER)

    def near(self, count):
        return max(1, count + self.rng.choice([-1, 0, 0, 1, 1]))

    def word(self, text):
        words = re.findall(r"\w+", text) or ["none"]
        return self.rng.choice([self.rng.choice(words), self.rng.choice(words)[:3], self.rng.choice(words).upper(), "zebra", "salt", "C++", "e.g.", "Mr. ", "in", "the"])


def builders(source, reference):
    """One function per id that returns arguments and a response."""
    rng, near = source.rng, source.near
    util, nltk = reference.instructions_util, reference.instructions_util.nltk

    def words():
        text = source.any()
        return {"num_words": near(util.count_words(text)), "relation": rng.choice(RELATIONS)}, text

    def sentences():
        text = source.any()
        return {"num_sentences": near(util.count_sentences(text)), "relation": rng.choice(RELATIONS)}, text

    def joined(separators, low=1, high=5):
        parts = [rng.choice([source.prose(1, 2)] * 8 + [" ", ""]) for _ in range(rng.randint(low, high))]
        return len(parts), "".join(part + rng.choice(separators) for part in parts[:-1]) + parts[-1]

    def paragraphs():
        count, text = joined(["***", "\n***\n", " *** ", "\n\n***\n\n", "\n* * *\n"])
        return {"num_paragraphs": rng.choice([count, near(count)])}, text

    def first_word():
        count, text = joined(["\n\n", "\n\n", "\n\n\n", "\n\n\n\n", "\n"])
        nth = rng.randint(1, count)
        parts = [part for part in text.split("\n\n") if part.strip()] or ["x"]
        first = (parts[min(nth, len(parts)) - 1].split() or ["x"])[0].strip("'\"").rstrip(".,?!'\"")
        total = max(1, rng.choice([len(parts), len(parts), near(len(parts))]))
        return {"num_paragraphs": total, "nth_paragraph": min(nth, total), "first_word": rng.choice([first, first, first.upper(), "the"]) or "the"}, text

    def existence():
        text = source.any()
        return {"keywords": [source.word(text) for _ in range(rng.randint(1, 3))]}, text

    def forbidden():
        text = source.any()
        return {"forbidden_words": [rng.choice([source.word(text), "zebra", "quartz"]) for _ in range(rng.randint(1, 2))]}, text

    def frequency():
        text = source.any()
        word = source.word(text)
        count = len(re.findall(word.strip(), text, re.IGNORECASE))
        return {"keyword": word, "frequency": near(count), "relation": rng.choice(RELATIONS)}, text

    def letter():
        text, chosen = source.any(), rng.choice("abcdefghijklmnopqrstuvwxyzAEK")
        return {"letter": chosen, "let_frequency": near(text.lower().count(chosen.lower())), "let_relation": rng.choice(RELATIONS)}, text

    def language():
        code = rng.choice(list(OTHERS) + ["en"] * 5)
        text = source.foreign(code) if code in OTHERS else source.prose(1, 2)
        if rng.random() < 0.2:
            text += " " + rng.choice([source.prose(1, 1), source.foreign(rng.choice(list(OTHERS))), rng.choice(ODD)])
        if rng.random() < 0.15:
            text = rng.choice([text.upper(), text[: rng.randint(3, 12)], rng.choice(ODD)])
        return {"language": rng.choice([code, code, rng.choice(list(OTHERS))])}, text

    def marked(make, low=0, high=5):
        """Prose with results of `make()` between its words."""
        parts = source.prose(1, 3).split(" ")
        count = rng.randint(low, high)
        for _ in range(count):
            parts.insert(rng.randint(0, len(parts)), make())
        return count, " ".join(parts)

    def placeholders():
        count, text = marked(lambda: rng.choice(["[name]", "[a [b]]", "[]", "[two\nlines]", "[x", "y]", "[date], [time]"]))
        return {"num_placeholders": near(count)}, text

    def highlights():
        count, text = marked(lambda: rng.choice(["*so*", "**bold**", "***all***", "* *", "**", "*a\nb*", "*x* *y*", "****"]))
        return {"num_highlights": near(count)}, text

    def postscript():
        marker = rng.choice(["P.S.", "P.P.S", "PS:", "Note.", "P.S. "])
        added = rng.choice(["", "P.S. Bye.", "p.s. bye", "P. S. Bye", "P.P.S. More", "P.P.S", "p. p. s more", "PS: x", "note, x", "ps", "P.S"])
        return {"postscript_marker": marker}, source.prose(1, 2) + rng.choice(["\n\n", " ", "\n"]) + added

    def bullets():
        count = rng.randint(0, 5)
        lines = [rng.choice(["* ", "- ", "  * ", "*", "-", "** ", "• ", "1. ", "\t- ", "*\n"]) + source.prose(1, 1) for _ in range(count)]
        return {"num_bullets": near(count)}, "\n".join([source.prose(1, 1), *lines])

    def constrained():
        return {}, rng.choice(["My answer is yes.", "My answer is no.", "my answer is maybe.", "My answer is maybe.", "My answer is no", "Yes.", source.any()])

    def sections():
        mark = rng.choice(["Section", "SECTION", "Part", "Chapter ", "Day"])
        count = rng.randint(0, 4)
        heads = [rng.choice([f"{mark.strip()} {n}", f"{mark.strip()}{n}", f"{mark.lower()} {n}", f"**{mark.strip()} {n}:**", f"{mark.strip()}  {n}", f"{mark.strip()} {n}.1"]) for n in range(1, count + 1)]
        return {"section_spliter": mark, "num_sections": near(count)}, "\n".join(f"{head}\n{source.prose(1, 1)}" for head in heads) or source.prose()

    def json_text():
        value = rng.choice([{"a": [1, 2.5, None]}, [], "text", 7, {"quote": source.prose(1, 1)}, {"deep": {"er": [True, "\u00e9"]}}, float("nan"), [float("-inf")]])
        text = json.dumps(value, ensure_ascii=rng.random() < 0.5, indent=rng.choice([None, 2]))
        text = rng.choice([text] * 5 + [text[:-1], text + ",", text.replace('"', "'"), text + "\n// end", '{"a": 1,}', '{"s": "\\ud800"}', '["tab\there"]', "01", "-", "1.", '{"a": 1 "b": 2}', '"NaN', '["\\\\", NaN]', "Infinity", "nan", "{NaN: 1}", "- 1", "1e5", "[1e400]", "True"])
        fence = rng.choice(["", "", "```json\n", "```\n", "```JSON\n", "```Json ", "```python\n", "~~~\n"])
        return {}, fence + text + rng.choice(["", "\n```" if fence else "", "```", "\n"])

    def title():
        return {}, rng.choice(["<<Bees>>\n", "<Bees>\n", "<<>>\n", "<< >>\n", "<<a\nb>>\n", "x <<y>> ", "<<<z>>>\n", "<<a> >\n", ""]) + source.prose(1, 2)

    def two():
        first, second = source.prose(1, 1), source.prose(1, 1)
        return {}, rng.choice([f"{first}******{second}", f"{first}\n******\n{second}", f"{first}\n******\n{first}", f"{first}\n***\n{second}", f"******\n{first}\n******\n{second}\n******", f"{first}******{second}******{first}", f"{first}\n******\n\n******\n{second}", f"{first}*******{second}", source.any()])

    def repeat():
        prompt = source.prose(1, 2)
        return {"prompt_to_repeat": prompt}, rng.choice([prompt, prompt.upper(), "Sure. " + prompt, prompt[1:], " " + prompt, prompt.strip() + "!"]) + rng.choice(["", "\n\n" + source.prose(1, 2)])

    def end():
        phrase = rng.choice(["Any other questions?", "Is there anything else I can help with?", "the end", " So be it. ", source.prose(1, 1)])
        ending = rng.choice([phrase, phrase.upper(), phrase + '"', phrase + ".", phrase + "\n", phrase[:-2], '"' + phrase + '""'])
        return {"end_phrase": phrase}, source.prose(1, 2) + " " + ending

    def quotation():
        text = source.prose(1, 2)
        return {}, rng.choice([f'"{text}"', f' "{text}" ', f'"{text}', f"“{text}”", f"'{text}'", '"', '""', f'"{text}".', text, f'Here:\n"{text}"\nDone.'])

    def capital_words():
        text = " ".join(rng.choice([str.upper, str, str, str.title])(word) for word in source.any().split(" "))
        count = sum(word.isupper() for word in nltk.word_tokenize(text))
        return {"capital_frequency": near(count), "capital_relation": rng.choice(RELATIONS)}, text

    def cased(change):
        text = rng.choice([source.prose, source.prose, source.prose, source.any])()
        text = rng.choice([change(text)] * 5 + [text, change(text) + "x", change(text) + "X", change(source.foreign(rng.choice(list(OTHERS)))), change(text[: rng.randint(2, 20)])])
        return {}, text

    def comma():
        text = source.any()
        return {}, rng.choice([text, text.replace(",", ""), text.replace(",", "，"), "Well, yes.\n" + text.replace(",", ";")])

    return {
        "keywords:existence": existence,
        "keywords:frequency": frequency,
        "keywords:forbidden_words": forbidden,
        "keywords:letter_frequency": letter,
        "language:response_language": language,
        "length_constraints:number_sentences": sentences,
        "length_constraints:number_paragraphs": paragraphs,
        "length_constraints:number_words": words,
        "length_constraints:nth_paragraph_first_word": first_word,
        "detectable_content:number_placeholders": placeholders,
        "detectable_content:postscript": postscript,
        "detectable_format:number_bullet_lists": bullets,
        "detectable_format:constrained_response": constrained,
        "detectable_format:number_highlighted_sections": highlights,
        "detectable_format:multiple_sections": sections,
        "detectable_format:json_format": json_text,
        "detectable_format:title": title,
        "combination:two_responses": two,
        "combination:repeat_prompt": repeat,
        "startend:end_checker": end,
        "startend:quotation": quotation,
        "change_case:capital_word_frequency": capital_words,
        "change_case:english_capital": lambda: cased(str.upper),
        "change_case:english_lowercase": lambda: cased(str.lower),
        "punctuation:no_comma": comma,
    }


def load_reference():
    """The harness's `tasks/ifeval`, without the imports of the rest of the harness."""
    root = pathlib.Path(importlib.util.find_spec("lm_eval").submodule_search_locations[0])
    for name, folder in [("lm_eval", root), ("lm_eval.tasks", root / "tasks")]:
        package = types.ModuleType(name)
        package.__path__ = [str(folder)]
        sys.modules[name] = package
    import langdetect

    langdetect.DetectorFactory.seed = 0
    logging.disable(logging.ERROR)
    importlib.import_module("lm_eval.tasks.ifeval.instructions_util")
    sys.modules["lm_eval.tasks.ifeval"].utils = importlib.import_module("lm_eval.tasks.ifeval.utils")
    return sys.modules["lm_eval.tasks.ifeval"]


def read_texts(folder):
    texts = []
    for path in sorted(pathlib.Path(folder).iterdir()):
        content = path.read_text(encoding="utf-8")
        if path.suffix == ".jsonl":
            rows = [json.loads(line) for line in content.splitlines()[:3000]]
            texts += [value for row in rows for value in row.values() if isinstance(value, str) and len(value) > 100]
        else:
            texts += [content[at : at + 3000] for at in range(0, min(len(content), 3_000_000), 3000)]
    return texts


def judged(reference, id, kwargs, response):
    example = reference.utils.InputExample(0, [id], "", [kwargs])
    strict = reference.utils.test_instruction_following_strict(example, response).follow_all_instructions
    loose = reference.utils.test_instruction_following_loose(example, response).follow_all_instructions
    return {"id": id, "kwargs": kwargs, "response": response, "strict": strict, "loose": loose}


def real(prompts, rng, source):
    """IFEval's own instructions, each with its prompt and with texts as responses."""
    for line in pathlib.Path(prompts).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        for id, kwargs in zip(row["instruction_id_list"], row["kwargs"]):
            kwargs = {name: value for name, value in kwargs.items() if value}
            if "letter" in kwargs and not kwargs["letter"].isalpha():
                continue  # the reference draws a letter at random
            for response in [row["prompt"], source.dressed(source.any()), row["prompt"] + "\n\n" + source.any()]:
                yield id, kwargs, response


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--each", type=int, default=100, help="pairs per instruction")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--texts", help="a folder of texts to cut responses from")
    parser.add_argument("--prompts", help="IFEval's input_data.jsonl")
    options = parser.parse_args()

    reference = load_reference()
    rng = random.Random(options.seed)
    source = Source(rng, read_texts(options.texts) if options.texts else None)
    version = importlib.metadata.version
    head = {name: version(name) for name in ["lm_eval", "nltk", "langdetect"]} | {"python": platform.python_version()}
    pairs = []
    for id, build in builders(source, reference).items():
        for index in range(options.each):
            kwargs, response = build()
            if index % 3 == 0:
                response = source.dressed(response)
            if index % 25 == 24:
                response = rng.choice(ODD)
            pairs.append((id, kwargs, response))
    if options.prompts:
        pairs += real(options.prompts, rng, source)
    with options.out.open("w", encoding="utf-8") as out:
        for line in [{"reference": head}, *(judged(reference, *pair) for pair in pairs)]:
            out.write(json.dumps(line, ensure_ascii=False) + "\n")
    print(f"{len(pairs)} pairs in {options.out}")


if __name__ == "__main__":
    main()
