"""Writes filters.jsonl: made-up replies with the verdicts of lm-evaluation-harness 0.4.13's own filters and metric, and of
rouge_score 0.1.2.

    PYTHON make_filters.py > filters.jsonl        # a Python with lm_eval==0.4.13 and word2number
"""

import importlib.util
import json
import os
import random

import lm_eval.tasks
import yaml
from lm_eval.api.metrics import exact_match_hf_evaluate
from lm_eval.filters import build_filter_ensemble
from rouge_score.rouge_scorer import RougeScorer

ROOT = os.path.dirname(lm_eval.tasks.__file__)
TASKS = {
    "gsm8k": "gsm8k/gsm8k.yaml",
    "gsm8k_cot": "gsm8k/gsm8k-cot.yaml",
    "triviaqa": "triviaqa/default.yaml",
    "nq_open": "nq_open/nq_open.yaml",
    "bbh_cot_fewshot_boolean_expressions": "bbh/cot_fewshot/_cot_fewshot_template_yaml",
    "mmlu_pro_biology": "mmlu_pro/_default_template_yaml",
}
# Tasks whose filters read the question, too: with and without a chain of thought.
ZEROSHOT = ["boolean_expressions", "causal_judgement", "date_understanding", "dyck_languages", "formal_fallacies",
            "object_counting", "sports_understanding", "web_of_lies", "word_sorting"]
TASKS |= {f"bbh_{form}_{name}": f"bbh/{form}/{name}.yaml" for form in ("zeroshot", "cot_zeroshot") for name in ZEROSHOT}
COUNT = 400
ZEROSHOT_COUNT = 80

PIECES = {
    "gsm8k": ["#### ", "####", "18", "1,800", "$18", "18.00", "-5", "- 5", ".", "\n", " so ", "the answer is ", "3.5",
              "$", ",", "%", "0", "٣", "1e5", "18.", "$1,234.50", "#### 18 apples", "x", "\u00a0", "½"],
    "gsm8k_cot": ["The answer is ", "the answer is ", "18", "1,800", "$18", "18.", "-5", ".", "\n", "So ", "3.5", ",",
                  " ", "The answer is 42.", "The answer is $5.", "é"],
    "triviaqa": ["Paris", "the ", "The ", "paris", "PARIS", " ", "\n", "!", "'s", "St", "-", "é", "É", "ß", "\u00a0", "“", "İ",
                 "\t", "\x1c", "Σ", "a ", "An "],
    "bbh_cot_fewshot_boolean_expressions": ["So the answer is ", "the answer is ", "True", "False", ".", "\n", "(A)", " ",
                                            "The answer is ", "the answer is True.", "é.", "the answer is", "\u2028",
                                            "\r", "valid"],
    "mmlu_pro_biology": ["The answer is (", "answer is ", "answer is (A)", "A", "B", "J", "K", ")", ".", "\n", "(B)",
                         "Answer is (C)", " ", "answer is\n", "answer is ((D)"],
}
PIECES["nq_open"] = PIECES["triviaqa"]
COMMON = [".", "\n", " ", ",", "The answer is ", "the answer is ", "The final answer: ", "So ", '"', "\\", ":", "é.", "\r"]
OWN_PIECES = {
    "boolean_expressions": ["True", "False", "true", "not ", "Truest"],
    "causal_judgement": ["Yes", "No", "yes", "no", "know", "NO"],
    "date_understanding": ["(A)", "(B)", "(Z)", "05/01/2021", "05012021", "A", ": B", ":\t A", "december 25", "DECEMBER 25!", "b)"],
    "dyck_languages": ["]", ")", "}", ">", "> ]", "[ (", "x", "<"],
    "formal_fallacies": ["valid", "invalid", "Valid", "is ", "invalidity"],
    "object_counting": ["12", "-3", "4-5", "twenty one", "seven", "eight", "eighteen", "one hundred and five", "two thousand",
                        "two million three thousand", "and", "&", "ten", "Four", "trillion", "six", "sixteen", "fivety"],
    "sports_understanding": ["yes", "no", "plausible", "not plausible", "Not plausible", "YES", "not", "implausible"],
    "web_of_lies": ["yes", "no", "tells the truth", "does not tell the truth", "is telling the truth", "Is not telling the truth"],
    "word_sorting": ["apple", "bee", "don't", "apples", "Bee", "cat", "apple bee", "apple, "],
}
QUESTIONS = {
    "date_understanding": [
        "It is late.\nOptions:\n(A) 05/01/2021\n(B) 05/01/2021x\n(C) December 25!\n(D) 05/01/2021",
        "Which?\nOptions:\n(A) ...\n(B) december", "No options."],
    "word_sorting": ["Sort the words. List: cat bee apple", "Sort. List: don't apple bee List: x"],
}
for name in ZEROSHOT:
    for form in ("zeroshot", "cot_zeroshot"):
        PIECES[f"bbh_{form}_{name}"] = COMMON + 2 * OWN_PIECES[name]
GOLDS = {
    "gsm8k": ["6 * 3 = <<6*3=18>>18\n#### 18", "#### 1,800", "#### -5", "x\n#### 3.5"],
    "gsm8k_cot": ["18", "1,800", "-5", "42"],
    "triviaqa": [["Paris", "paris, france"], ["St. Paris"], ["The É"], ["ß", "SS"]],
    "nq_open": [["Paris", "the Paris"], ["a Paris"], ["An É"], ["İ"]],
    "bbh_cot_fewshot_boolean_expressions": ["True", "False", "(A)", "valid"],
    "mmlu_pro_biology": ["A", "B", "J", "C", "D"],
}


def config(path):
    folder = os.path.join(ROOT, os.path.dirname(path))

    def function(loader, node):
        """A filter of the task's own, such as `utils.WordSortFilter`."""
        module, _, name = node.value.rpartition(".")
        source = os.path.join(folder, f"{module}.py")
        if not os.path.exists(source):
            return None
        spec = importlib.util.spec_from_file_location(module, source)
        loaded = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded)
        return getattr(loaded, name, None)

    yaml.SafeLoader.add_constructor("!function", function)
    with open(os.path.join(ROOT, path)) as file:
        settings = yaml.safe_load(file)
    if "include" in settings:
        with open(os.path.join(folder, settings["include"])) as file:
            settings = yaml.safe_load(file) | settings
    return settings


def reply(pieces, draw):
    text = "".join(draw.choice(pieces) for _ in range(draw.randrange(0, 9)))
    return text


class Instance:
    def __init__(self, text, document):
        self.resps = [text]
        self.filtered_resps = {}
        self.doc = document


def rouge():
    """Texts with the ROUGE-L of rouge_score."""
    draw, scorer = random.Random("rouge"), RougeScorer(["rougeL"], use_stemmer=False)
    pieces = ["the ", "cat ", "sat", " on ", "a ", "mat.", "Cats", "É", "x1", "-", "\n", "  ", "İs ", "3.5"]
    for _ in range(150):
        target, text = reply(pieces, draw) * draw.randrange(1, 4), reply(pieces, draw) * draw.randrange(1, 3)
        metrics = {"rougeL": float(scorer.score(target, text)["rougeL"].fmeasure)}
        print(json.dumps({"task": "open_rewrite", "gold": target, "response": text, "metrics": metrics}, ensure_ascii=False))


def main():
    rouge()
    for task, path in TASKS.items():
        draw = random.Random(task)
        settings = config(path)
        metric = next(one for one in settings["metric_list"] if one["metric"] == "exact_match")
        names = ("ignore_case", "ignore_punctuation", "regexes_to_ignore")
        kwargs = {name: metric[name] for name in names if metric.get(name)}
        filters = settings["filter_list"]
        is_zeroshot = "zeroshot" in task
        for _ in range(ZEROSHOT_COUNT if is_zeroshot else COUNT):
            text, answers = reply(PIECES[task], draw), {}
            name = task.removeprefix("bbh_").removeprefix("cot_").removeprefix("zeroshot_")
            document = {"input": draw.choice(QUESTIONS.get(name, ["Well?"]))} if is_zeroshot else {}
            for one in filters:
                parts = [[part["function"], {k: v for k, v in part.items() if k != "function"}] for part in one["filter"]]
                instance = Instance(text, document)
                try:
                    for function, options in parts:
                        if not isinstance(function, str):
                            instance.resps = list(next(iter(function(**options).apply([instance.resps], [document]))))
                    parts = [part for part in parts if isinstance(part[0], str)]
                    build_filter_ensemble(one["name"], parts).apply([instance])
                    answers[one["name"]] = instance.filtered_resps[one["name"]]
                except (ValueError, IndexError):
                    # The harness stops here: word2number cannot read the number.
                    answers[one["name"]] = "[invalid]"
            gold = draw.choice(GOLDS.get(task, ["True", "Yes", "(A)", "valid", "21", "yes", "apple bee", "]"]))
            if draw.random() < 0.6:
                # What was extracted, so that most verdicts say that it was extracted alike.
                gold = draw.choice(sorted(answers.values()))
                gold = draw.choice([gold, gold.upper(), gold.lower(), gold + ".", "the " + gold])
                gold = {"gsm8k": f"#### {gold}", "triviaqa": [gold], "nq_open": ["none", gold]}.get(task, gold)
            golds = gold if isinstance(gold, list) else [gold]
            verdicts = {}
            for name, answer in answers.items():
                right = any(
                    exact_match_hf_evaluate(predictions=[answer], references=[g], **kwargs)["exact_match"] for g in golds
                )
                name = "exact_match" if len(filters) == 1 else f"exact_match,{name}"
                verdicts[name] = float(right)
            if is_zeroshot:
                verdicts = {name: verdicts[name] for name in ("exact_match,strict-match", "exact_match,flexible-extract")}
                gold = document | {"target": gold}
            print(json.dumps({"task": task, "gold": gold, "response": text, "metrics": verdicts}, ensure_ascii=False))


main()
