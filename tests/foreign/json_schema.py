"""The JSON-Schema-Test-Suite against a running `smolserve`: no answer breaks its schema, and each refusal names a place.

    pip install 'jsonschema[format]==4.26.0'
    python tests/foreign/json_schema.py FOLDER http://127.0.0.1:8000 MODEL...

FOLDER is what tests/foreign/fetch has filled. Each schema of the drafts 2020-12 and 7 is sent with eight answers at a high
temperature to each model; answers that ended are validated by the package jsonschema, with numbers as decimals. It prints
counts and violations, and ends with status 1 if there is one or if a refusal has no place.
`engine/src/constraint/suite.rs` follows the suite's own instances, which needs no model.
"""

import collections
import decimal
import json
import re
import sys
import urllib.error
import urllib.request
from pathlib import Path

from jsonschema import Draft7Validator, Draft202012Validator, ValidationError, validators

ANSWERS, TOKENS, TEMPERATURE = 8, 110, 1.6
PLACE = re.compile(r"at (/\S*|its root)")


def exact_multiple(validator, divisor, instance, schema):
    if validator.is_type(instance, "number") and instance % divisor:
        yield ValidationError(f"{instance} is not a multiple of {divisor}")


def is_integer(checker, value):
    if isinstance(value, decimal.Decimal):
        return value == value.to_integral_value()
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(checker, value):
    return isinstance(value, (int, decimal.Decimal)) and not isinstance(value, bool)


def exact(validator):
    """The validator with decimals in place of floats, whose rounding is not the answer's fault."""
    checker = validator.TYPE_CHECKER.redefine_many({"integer": is_integer, "number": is_number})
    return validators.extend(validator, {"multipleOf": exact_multiple}, type_checker=checker)


def loads(text):
    return json.loads(text, parse_float=decimal.Decimal)


def ask(address, model, schema):
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "Write JSON."}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
        "n": ANSWERS,
        "temperature": TEMPERATURE,
        "max_tokens": TOKENS,
        "seed": 11,
    }
    request = urllib.request.Request(f"{address}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=300) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def check(address, models, validator, name, schema, exact_schema, counts):
    """The violations of one schema."""
    found = []
    for model in models:
        status, reply = ask(address, model, schema)
        if status != 200:
            error = reply["error"]
            counts["refused"] += model == models[0]
            if status != 400 or not error.get("param") or not (PLACE.search(error["message"]) or not isinstance(schema, dict)):
                found.append(f"{name}: refused without a place: {status} {error}")
            break
        counts["accepted"] += model == models[0]
        for choice in reply["choices"]:
            if choice["finish_reason"] != "stop":
                counts["cut off"] += 1
                continue
            text = choice["message"]["content"]
            try:
                validator(exact_schema, format_checker=validator.FORMAT_CHECKER).validate(loads(text))
                counts["valid"] += 1
            except (json.JSONDecodeError, ValidationError) as error:
                found.append(f"{name}: {json.dumps(schema)[:300]} gave {text[:200]!r}: {str(error).splitlines()[0]}")
            except Exception as error:  # Python cannot compile every pattern that the suite has.
                counts["not checked"] += 1
                print(f"  not checked: {name}: {error!r}"[:160])
    return found


def main(folder, address, *models):
    violations = []
    for draft, validator in (("draft2020-12", Draft202012Validator), ("draft7", Draft7Validator)):
        counts, validator = collections.Counter(), exact(validator)
        root = Path(folder) / "json_schema" / "tests" / draft
        for path in [path for part in (".", "optional", "optional/format") for path in sorted((root / part).glob("*.json"))]:
            text = path.read_text()
            for case, exact_case in zip(json.loads(text), loads(text)):
                schemas = [case["schema"], exact_case["schema"]]
                if draft == "draft7":
                    drafted = {"$schema": "http://json-schema.org/draft-07/schema#"}
                    schemas = [drafted | schema if isinstance(schema, dict) else schema for schema in schemas]
                counts["schemas"] += 1
                name = f"{draft}/{path.stem}: {case['description']}"
                violations += check(address, models, validator, name, *schemas, counts)
        print(draft, dict(counts), flush=True)
    print("\n".join(violations))
    print(f"{len(violations)} violations")
    return bool(violations)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
