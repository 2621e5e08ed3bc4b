"""Checks OCSF events, one JSON object a line on standard input, against the published schema.

Prints one line per event: "ok", or what the schema says is wrong. Uses the packages
ocsf-json-schema (the schema as OCSF publishes it) and jsonschema (the validator).
"""

import json
import sys

from jsonschema import Draft202012Validator
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema


def main():
    schemas = OcsfJsonSchemaEmbedded(get_ocsf_schema(version="1.5.0"))
    validators = {}
    for line in sys.stdin:
        event = json.loads(line)
        uid = event.get("class_uid")
        if uid not in validators:
            try:
                name = schemas.lookup_class_name_from_uid(class_uid=uid)
                schema = schemas.get_class_schema(class_name=name, profiles=[])
            except Exception as error:  # an unknown class is the event's fault
                print(f"class_uid {uid}: {error}")
                continue
            validators[uid] = Draft202012Validator(schema)
        errors = [f"{e.json_path}: {e.message}"[:300] for e in validators[uid].iter_errors(event)]
        print("; ".join(errors) if errors else "ok")


main()
