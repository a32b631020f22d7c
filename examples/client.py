"""Ask a served model for the emotions in recordings: python examples/client.py FILE [FILE ...] [--url http://127.0.0.1:5001]."""

import argparse
import base64
import json
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any


def classify(files: list[Path], url: str) -> list[dict[str, Any]]:
    """Return one row per window: clip (position of the file), start and end in seconds, emotion, and a probability per emotion."""
    clips = [{"audio": base64.b64encode(file.read_bytes()).decode()} for file in files]
    request = urllib.request.Request(
        f"{url}/invocations", json.dumps({"dataframe_records": clips}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)["predictions"]


def message_of(error: urllib.error.HTTPError) -> str:
    """Return what the server says of a request that it refuses, or what answered in its place."""
    body = error.read().decode(errors="replace")
    try:
        return json.loads(body)["message"]
    except (ValueError, KeyError, TypeError):
        return f"{error.url} answered {error.code} {error.reason}, expected a model served by MLflow"


def main() -> None:
    parser = argparse.ArgumentParser(description="Classify recordings with a served model.")
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--url", default="http://127.0.0.1:5001")
    given = parser.parse_args()
    try:
        rows = classify(given.files, given.url)
    except urllib.error.HTTPError as error:
        sys.exit(f"error: {message_of(error)}")
    except OSError as error:
        sys.exit(f"error: {error}")
    for row in rows:
        print(f"{given.files[row['clip']]}\t{row['start']:.2f}-{row['end']:.2f} s\t{row['emotion']}\t{row[row['emotion']]:.3f}")


if __name__ == "__main__":
    main()
