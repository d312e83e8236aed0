"""Checks JSON lines against a schema: format_schema_check.py SCHEMA LINES. Names the first line that fails."""
import json
import sys

import jsonschema

with open(sys.argv[1], encoding="utf-8") as file:
    schema = json.load(file)
jsonschema.Draft202012Validator.check_schema(schema)
validator = jsonschema.Draft202012Validator(schema)


def refuse_constant(name):
    raise ValueError(f"{name} is not JSON")


with open(sys.argv[2], "rb") as file:
    lines = file.read().decode("utf-8", "strict").split("\n")
if lines.pop() != "" or not lines:
    sys.exit("the last line does not end, or there is none")
for number, line in enumerate(lines, 1):
    flow = json.loads(line, parse_constant=refuse_constant)
    for error in validator.iter_errors(flow):
        sys.exit(f"line {number}: {'/'.join(map(str, error.absolute_path))}: {error.message}\n{line}")
