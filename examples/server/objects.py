"""Copy a bucket of S3 storage into a folder, or back: python objects.py save BUCKET FOLDER, python objects.py load BUCKET FOLDER.

Only what differs is copied: an object that has the size and the time of its file is left alone. Nothing is deleted on either side.
"""

import os
import sys
from pathlib import Path
from typing import Any

import boto3


def main() -> None:
    if len(sys.argv) != 4 or sys.argv[1] not in ("save", "load"):
        sys.exit(f"error: unexpected {' '.join(sys.argv[1:])!r}, expected: save BUCKET FOLDER, or load BUCKET FOLDER")
    action, name, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    bucket = boto3.resource("s3", endpoint_url=os.environ["MLFLOW_S3_ENDPOINT_URL"]).Bucket(name)
    num_copied, num_bytes = (save if action == "save" else load)(bucket, folder)
    print(f"{action}: {num_copied} of {len(files_of(folder))} files copied, {num_bytes / 1e6:,.1f} MB")


def save(bucket: Any, folder: Path) -> tuple[int, int]:
    """Copy what the folder does not have yet; return how many files and bytes that were."""
    num_copied = num_bytes = 0
    for key, (size, changed) in objects_of(bucket).items():
        file = folder / key
        if file.is_file() and (file.stat().st_size, int(file.stat().st_mtime)) == (size, changed):
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        aside = file.with_name(f".{file.name}.part")
        bucket.download_file(key, str(aside))
        os.utime(aside, (changed, changed))
        aside.replace(file)
        num_copied, num_bytes = num_copied + 1, num_bytes + size
    return num_copied, num_bytes


def load(bucket: Any, folder: Path) -> tuple[int, int]:
    """Copy what the bucket does not have; return how many files and bytes that were."""
    there = objects_of(bucket)
    files = files_of(folder)
    wanted = {key: file for key, file in files.items() if there.get(key) != (file.stat().st_size, int(file.stat().st_mtime))}
    for key, file in wanted.items():
        bucket.upload_file(str(file), key)
    for key, (_, changed) in objects_of(bucket).items():
        if key in wanted:  # an object has the time of its upload: the next backup need not fetch it again
            os.utime(wanted[key], (changed, changed))
    return len(wanted), sum(file.stat().st_size for file in wanted.values())


def objects_of(bucket: Any) -> dict[str, tuple[int, int]]:
    """Return size and time of every object, by key."""
    return {found.key: (found.size, int(found.last_modified.timestamp())) for found in bucket.objects.all() if not found.key.endswith("/")}


def files_of(folder: Path) -> dict[str, Path]:
    """Return every file of a copy, by key; what a broken copy left is not one."""
    files = (path for path in folder.rglob("*") if path.is_file() and not (path.name.startswith(".") and path.suffix == ".part"))
    return {path.relative_to(folder).as_posix(): path for path in files}


if __name__ == "__main__":
    main()
