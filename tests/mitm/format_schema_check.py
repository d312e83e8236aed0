"""Checks files of JSON lines against a schema: format_schema_check.py SCHEMA FILE... Says of each file on a line of its
own that it is good, or which line of it is the first that fails."""
import json
import sys

import jsonschema

with open(sys.argv[1], encoding="utf-8") as file:
    schema = json.load(file)
jsonschema.Draft202012Validator.check_schema(schema)
validator = jsonschema.Draft202012Validator(schema)


def refuse_constant(name):
    raise ValueError(f"{name} is not JSON")


def verdict(path):
    with open(path, "rb") as file:
        lines = file.read().decode("utf-8", "strict").split("\n")
    if lines.pop() != "" or not lines:
        return "the last line does not end, or there is none"
    for number, line in enumerate(lines, 1):
        try:
            flow = json.loads(line, parse_constant=refuse_constant)
        except ValueError as error:
            return f"line {number}: {error}"
        for error in validator.iter_errors(flow):
            return f"line {number}: {'/'.join(map(str, error.absolute_path))}: {error.message}"
    return "good"


for path in sys.argv[2:]:
    print(verdict(path).replace("\n", " "))
