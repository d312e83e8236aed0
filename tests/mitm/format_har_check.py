"""Checks a HAR: format_har_check.py SCHEMA FLOW_SCHEMA FILE. Beside the schema, what real readers insist on:
Chrome's DevTools (every number is a number, every message is whole), WebKit (a first page with a time), HttpWatch and
Charles (ssl is part of connect, the phases make up the time)."""
import base64
import json
import sys

import jsonschema

with open(sys.argv[1], encoding="utf-8") as file:
    schema = json.load(file)
with open(sys.argv[2], encoding="utf-8") as file:
    flow_schema = json.load(file)
with open(sys.argv[3], "rb") as file:
    har = json.loads(file.read().decode("utf-8", "strict"), parse_constant=lambda name: sys.exit(f"{name} is not JSON"))
jsonschema.Draft202012Validator.check_schema(schema)
for error in jsonschema.Draft202012Validator(schema).iter_errors(har):
    sys.exit(f"{'/'.join(map(str, error.absolute_path))}: {error.message}")
flow_validator = jsonschema.Draft202012Validator(flow_schema)
log = har["log"]
for flow in log.get("_flows", []):
    for error in flow_validator.iter_errors(flow):
        sys.exit(f"_flows: {error.message}")

pages = [page["id"] for page in log["pages"]]
if len(set(pages)) != len(pages) or not log["pages"][0]["startedDateTime"]:
    sys.exit(f"pages {pages}")


def number(value, where):
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        sys.exit(f"{where}: Casting to number results in NaN")
    return value


for index, entry in enumerate(log["entries"]):
    where = f"entry {index}"
    request, response, timings = entry["request"], entry["response"], entry["timings"]
    if entry["pageref"] not in pages:
        sys.exit(f"{where}: pageref {entry['pageref']}")
    for value in (entry["time"], response["status"], response["content"]["size"], *timings.values(),
                  *(side[key] for side in (request, response) for key in ("headersSize", "bodySize"))):
        number(value, where)
    if timings["ssl"] > max(timings["connect"], -1):
        sys.exit(f"{where}: ssl {timings['ssl']} is not part of connect {timings['connect']}")
    phases = sum(max(timings[phase], 0) for phase in ("blocked", "dns", "connect", "send", "wait", "receive"))
    if abs(phases - entry["time"]) > 0.0015:
        sys.exit(f"{where}: time {entry['time']}, phases {phases}")
    content = response["content"]
    if "text" in content and "_encoded" not in content:
        text = base64.b64decode(content["text"], validate=True) if content.get("encoding") else content["text"].encode()
        if "compression" in content and len(text) != content["size"]:
            sys.exit(f"{where}: content of {len(text)} bytes, size {content['size']}")
    if "compression" in content and content["compression"] != content["size"] - response["bodySize"]:
        sys.exit(f"{where}: compression {content['compression']}")
    for message in entry.get("_webSocketMessages", []):
        if entry["_resourceType"] != "websocket":
            sys.exit(f"{where}: type {entry['_resourceType']}")
        number(message["time"], where)
        if message["opcode"] == 2:
            base64.b64decode(message["data"], validate=True)
print(len(log["entries"]), len(log.get("_flows", [])), *pages)
