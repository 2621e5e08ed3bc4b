"""Reads a repository with python-tuf's client: refreshes, looks targets up, downloads them, and
prints one JSON object with the SHA-256 of each by its path, null for what nobody lists."""

import hashlib
import json
import sys
from pathlib import Path

from tuf.ngclient import Updater

metadata_dir, target_dir, url, *paths = sys.argv[1:]
# The root that is trusted from the start is in the folder; on later runs, what came of it.
updater = Updater(
    metadata_dir, f"{url}/metadata/", target_dir, f"{url}/targets/", bootstrap=None
)
updater.refresh()
found = {}
for path in paths:
    info = updater.get_targetinfo(path)
    if info is None:
        found[path] = None
        continue
    file = updater.download_target(info, str(Path(target_dir) / str(len(found))))
    found[path] = hashlib.sha256(Path(file).read_bytes()).hexdigest()
print(json.dumps(found))
