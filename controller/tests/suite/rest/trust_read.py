"""Reads a tenant's repository with python-tuf's client, with the tenant's token, and prints the
SHA-256 of each target by its path, null for what nobody lists."""

import hashlib
import json
import sys
import urllib.error
import urllib.request
from pathlib import Path

from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface, Updater

metadata_dir, target_dir, url, token, *paths = sys.argv[1:]


class Fetcher(FetcherInterface):
    def _fetch(self, url):
        request = urllib.request.Request(url, headers={"authorization": f"Bearer {token}"})
        try:
            yield urllib.request.urlopen(request).read()
        except urllib.error.HTTPError as error:
            raise DownloadHTTPError(str(error), error.code) from error


updater = Updater(
    metadata_dir,
    f"{url}/metadata/",
    target_dir,
    f"{url}/targets/",
    fetcher=Fetcher(),
    bootstrap=None,
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
