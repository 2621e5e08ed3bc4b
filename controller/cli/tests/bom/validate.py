"""Checks CycloneDX documents, files named as arguments, with the official library's strict validator.

Prints one line per file: "ok", or what the schema says is wrong.
"""

import sys

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator


def main():
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    for name in sys.argv[1:]:
        with open(name, encoding="utf-8") as file:
            found = validator.validate_str(file.read())
        print("ok" if found is None else str(found.data)[:300].replace("\n", " "))


main()
