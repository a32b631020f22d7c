"""Checks, on a node, what jobs will need there, and prints a line for everything that is missing."""

import json
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

SERVER_SECONDS = 10.0


def complaints_about(checks: Mapping[str, Any]) -> Iterator[str]:
    node = socket.gethostname()
    for name, path in checks["tokens"].items():
        if not Path(path).is_file() or Path(path).read_text(encoding="utf-8") != checks["token"]:
            yield f"node {node} cannot see {name} ({Path(path).parent}), expected a folder on storage that all nodes share"
            return
    try:
        with FileLock(checks["lock"], timeout=0):
            yield f"locks of {Path(checks['lock']).parent} do not hold between machines (node {node} got one that is held): set paths"
    except Timeout:
        pass
    except (OSError, NotImplementedError) as error:
        yield f"{Path(checks['lock']).parent} has no locks on node {node} ({error}): set paths"
    unseen = [path for path in checks["files"] if not Path(path).is_file()]
    if unseen:
        yield f"node {node} cannot see {unseen[0]} of the model, expected HF_HOME, or model=FOLDER, on storage that all nodes share"
    if checks["server"] is None:
        return
    try:
        urllib.request.urlopen(f"{checks['server'].rstrip('/')}/health", timeout=SERVER_SECONDS).close()
    except urllib.error.HTTPError:
        pass  # it answers
    except OSError as error:
        yield f"node {node} cannot reach the tracking server {checks['server']} ({getattr(error, 'reason', error)})"


if __name__ == "__main__":
    for complaint in complaints_about(json.loads(sys.argv[1])):
        print(f"complaint: {complaint}")
