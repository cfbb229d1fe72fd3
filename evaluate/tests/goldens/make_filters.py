"""Writes filters.jsonl: made-up replies with the verdicts of lm-evaluation-harness 0.4.13's own filters and metric.

    PYTHON make_filters.py > filters.jsonl        # a Python with lm_eval==0.4.13
"""

import json
import os
import random

import lm_eval.tasks
import yaml
from lm_eval.api.metrics import exact_match_hf_evaluate
from lm_eval.filters import build_filter_ensemble

ROOT = os.path.dirname(lm_eval.tasks.__file__)
TASKS = {
    "gsm8k": "gsm8k/gsm8k.yaml",
    "gsm8k_cot": "gsm8k/gsm8k-cot.yaml",
    "triviaqa": "triviaqa/default.yaml",
    "nq_open": "nq_open/nq_open.yaml",
    "bbh_cot_fewshot_boolean_expressions": "bbh/cot_fewshot/_cot_fewshot_template_yaml",
    "mmlu_pro_biology": "mmlu_pro/_default_template_yaml",
}
COUNT = 400

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
GOLDS = {
    "gsm8k": ["6 * 3 = <<6*3=18>>18\n#### 18", "#### 1,800", "#### -5", "x\n#### 3.5"],
    "gsm8k_cot": ["18", "1,800", "-5", "42"],
    "triviaqa": [["Paris", "paris, france"], ["St. Paris"], ["The É"], ["ß", "SS"]],
    "nq_open": [["Paris", "the Paris"], ["a Paris"], ["An É"], ["İ"]],
    "bbh_cot_fewshot_boolean_expressions": ["True", "False", "(A)", "valid"],
    "mmlu_pro_biology": ["A", "B", "J", "C", "D"],
}


def config(path):
    yaml.SafeLoader.add_constructor("!function", lambda loader, node: None)
    with open(os.path.join(ROOT, path)) as file:
        return yaml.safe_load(file)


def reply(pieces, draw):
    text = "".join(draw.choice(pieces) for _ in range(draw.randrange(0, 9)))
    return text


class Instance:
    def __init__(self, text):
        self.resps = [text]
        self.filtered_resps = {}
        self.doc = {}


def main():
    for task, path in TASKS.items():
        draw = random.Random(task)
        settings = config(path)
        metric = next(one for one in settings["metric_list"] if one["metric"] == "exact_match")
        names = ("ignore_case", "ignore_punctuation", "regexes_to_ignore")
        kwargs = {name: metric[name] for name in names if metric.get(name)}
        filters = settings["filter_list"]
        for _ in range(COUNT):
            text, answers = reply(PIECES[task], draw), {}
            for one in filters:
                parts = [[part["function"], {k: v for k, v in part.items() if k != "function"}] for part in one["filter"]]
                instance = Instance(text)
                build_filter_ensemble(one["name"], parts).apply([instance])
                answers[one["name"]] = instance.filtered_resps[one["name"]]
            gold = draw.choice(GOLDS[task])
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
            print(json.dumps({"task": task, "gold": gold, "response": text, "metrics": verdicts}, ensure_ascii=False))


main()
