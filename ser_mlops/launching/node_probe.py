"""Looks, on a node, at what jobs will need there, and prints a line for each thing that is not as it should be."""

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


def complaints_about(looked_at: Mapping[str, Any]) -> Iterator[str]:
    node = socket.gethostname()
    for name, path in looked_at["tokens"].items():
        if not Path(path).is_file() or Path(path).read_text(encoding="utf-8") != looked_at["token"]:
            yield f"node {node} does not see {name} ({Path(path).parent}), expected a folder on storage that all nodes share"
            return
    try:
        with FileLock(looked_at["lock"], timeout=0):
            yield f"locks of {Path(looked_at['lock']).parent} do not hold between machines (node {node} got one that is taken): set paths"
    except Timeout:
        pass
    except (OSError, NotImplementedError) as error:
        yield f"{Path(looked_at['lock']).parent} has no locks on node {node} ({error}): set paths"
    unseen = [path for path in looked_at["files"] if not Path(path).is_file()]
    if unseen:
        yield f"node {node} does not see {unseen[0]} of the model, expected HF_HOME, or model=FOLDER, on storage that all nodes share"
    try:
        urllib.request.urlopen(f"{looked_at['server'].rstrip('/')}/health", timeout=SERVER_SECONDS).close()
    except urllib.error.HTTPError:
        pass  # it answers
    except OSError as error:
        yield f"node {node} does not reach the tracking server {looked_at['server']} ({getattr(error, 'reason', error)})"


if __name__ == "__main__":
    for complaint in complaints_about(json.loads(sys.argv[1])):
        print(f"complaint: {complaint}")
