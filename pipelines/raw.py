"""Link data/raw to a folder of real recordings, which holds one folder per corpus."""

import argparse
from collections.abc import Collection, Sequence
from pathlib import Path

from ser_mlops.commands import run_command
from ser_mlops.data.folders import LINK_TO_RAW
from ser_mlops.errors import DataError, SettingsError, one_of
from ser_mlops.settings.reading import read_settings


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m pipelines.raw", description=__doc__)
    parser.add_argument("--folder", required=True, help="folder with one folder per corpus (CREMA, RAVDESS, …)")
    folder = parser.parse_args().folder
    if not folder:
        raise SettingsError("FROM is missing: run make raw FROM=FOLDER with the folder that holds one folder per corpus")
    link_raw(Path(folder).expanduser(), LINK_TO_RAW, read_settings().data.own_corpora)


def link_raw(folder: Path, link: Path, own_corpora: str | None = None) -> None:
    """Make `link` point to `folder`, and say what comes next. An existing link is replaced; anything else is refused."""
    from ser_mlops.data.corpora.base import walk
    from ser_mlops.data.corpora.registry import all_corpora
    from ser_mlops.data.corpora.scan import path_in_tables

    corpora = all_corpora(own_corpora)
    if not folder.is_dir():
        what = f"{folder} is a file" if folder.is_file() else f"no folder {folder}"
        raise DataError(f"{what}, expected a folder that holds one folder per corpus: {', '.join(corpora)}")
    folders = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    found, others = [name for name in folders if name in corpora], [name for name in folders if name not in corpora]
    for link_inside in folder.iterdir():
        if link_inside.is_symlink() and not link_inside.exists():
            raise DataError(f"{link_inside} is a broken link, and DVC stops at those: fix it or remove it")
    if not found:
        unknown = one_of("corpus folder", ", ".join(others) or "none", corpora)
        hint = _hint(folder, others, corpora)
        raise DataError(f"{folder}: {unknown}{hint}; define corpora of your own in {own_corpora or 'data/own_corpora.py'}")
    for file in (file for name in found for file in walk(folder / name)):
        if not file.exists():
            raise DataError(f"{path_in_tables(str(file))} is a broken link, and DVC stops at those: fix it or remove it")
        if not _is_utf8(file):
            raise DataError(
                f"the name of {path_in_tables(str(file))} is not UTF-8, and DVC keeps only UTF-8 names: "
                f"`convmv -r -f cp850 -t utf8 --notest {folder}` fixes such names from old zip files"
            )
    if link.exists() and not link.is_symlink():
        raise DataError(f"{link} exists and is not a link: move it away first")
    link.unlink(missing_ok=True)
    link.symlink_to(folder.resolve(), target_is_directory=True)
    print(f"{link} links to {folder}, which holds: {', '.join(found)}")
    if others:
        print(f"not corpora by their names: {', '.join(others)} (define corpora of your own in {own_corpora or 'data/own_corpora.py'})")
    print(f"now set in params.yaml\n\n  data:\n    raw: {link.as_posix()}\n    corpora: [{', '.join(found)}]\n\nand run: dvc repro")


def _hint(folder: Path, others: Sequence[str], corpora: Collection[str]) -> str:
    """Say what a folder without a corpus was probably meant to be, as the end of a message; empty if nothing is near."""
    if folder.resolve().name in corpora:
        return f". It is a corpus itself: FROM={folder.resolve().parent}"
    for name in others:
        held = sorted(path.name for path in (folder / name).iterdir() if path.name in corpora and path.is_dir())
        if held:
            return f". {name} holds {', '.join(held)}: FROM={folder / name}"
    for name in others:
        meant = [corpus for corpus in corpora if name.upper().replace("-", "_").startswith(corpus)]
        if meant:
            return f". Rename {name} to {meant[0]}, if it is that corpus"
    return ""


def _is_utf8(file: Path) -> bool:
    try:
        str(file).encode()
    except UnicodeEncodeError:
        return False
    return True


if __name__ == "__main__":
    run_command(main)
