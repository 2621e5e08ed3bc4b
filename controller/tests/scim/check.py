"""Runs every check of scim2-tester against a SCIM service and prints one line for each.

Usage: TOKEN=efp_… scim_check.py URL. Ends with 1 if a check fails.
"""

import os
import sys

from httpx2 import Client
from scim2_client.engines.httpx2 import SyncSCIMClient
from scim2_tester import Status, check_server

with Client(
    base_url=sys.argv[1],
    headers={"Authorization": f"Bearer {os.environ['TOKEN']}"},
    trust_env=False,
) as http:
    results = check_server(SyncSCIMClient(http))

failed = 0
for result in results:
    bad = result.status not in (Status.SUCCESS, Status.SKIPPED)
    failed += bad
    reason = result.reason if bad else ""
    print(result.status.name, result.title, result.resource_type or "", reason)
sys.exit(1 if failed else 0)
