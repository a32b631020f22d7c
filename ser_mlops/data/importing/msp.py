"""MSP-Podcast's own label file, checked against the audio and imported like old frames (see old_frames.py)."""

import pickle
from pathlib import Path

import pandas as pd

from ser_mlops.data.audio.format import AUDIO_SUFFIXES
from ser_mlops.data.corpora.base import UNKNOWN, walk
from ser_mlops.data.corpora.msp_podcast import COLUMNS, MSP_PODCAST, PARTS
from ser_mlops.data.corpora.scan import path_in_tables
from ser_mlops.data.folders import IMPORTED
from ser_mlops.data.importing.old_frames import FOUND, GENDERS, LOST, write_imported
from ser_mlops.emotions import EMOTIONS, LABELS
from ser_mlops.errors import DataError, one_of
from ser_mlops.files import replacing


def prepare_msp(annotations: Path, audio_dir: Path, raw: Path, output: Path | None, imported: Path = IMPORTED) -> dict[str, int]:
    """Import MSP-Podcast from its label file; return how many rows were found, lost (without audio) and without a partition.

    Args:
        annotations: `labels_consensus.csv`.
        audio_dir: folder with the audio files, in subfolders or not.
        raw: folder with one folder per corpus; paths are stored relative to `raw/MSP_PODCAST`, or as if `audio_dir` were that folder.
        output: folder for the pair of pickles of the seven emotions (Train and Development, Test1 and Test2), or None.
        imported: folder to write to.

    Raises:
        DataError: a file is missing, a column is missing, or a name leaves the audio folder.
    """
    rows = read_annotations(annotations)
    if not audio_dir.is_dir():
        raise DataError(f"no folder {audio_dir}, expected the audio files of MSP-Podcast")
    files = {file.name: file for file in walk(audio_dir) if file.suffix.lower() in AUDIO_SUFFIXES}
    names = rows["FileName"].str.rpartition("/")[2]
    rows["file"] = names.map(files)
    has_part = rows["part"].notna()
    is_lost = rows["file"].isna()
    counts = {FOUND: int((has_part & ~is_lost).sum()), LOST: int((has_part & is_lost).sum()), "without a partition": int((~has_part).sum())}
    if not counts[FOUND]:
        raise DataError(f"none of the {len(rows)} files that {annotations} names is in {audio_dir}")
    home = raw / MSP_PODCAST.name
    paths = {name: f"{MSP_PODCAST.name}/{file.relative_to(audio_dir).as_posix()}" for name, file in files.items()}
    paths |= {file.name: file.relative_to(raw).as_posix() for file in (walk(home) if home.is_dir() else ())}
    table = rows.assign(path=names.map(paths).map(path_in_tables, na_action="ignore").fillna(f"{MSP_PODCAST.name}/" + names))[has_part]
    write_imported(table, imported / f"{MSP_PODCAST.name}.parquet")
    if output is not None:
        write_pickles(table[table["file"].notna()], output)
    return counts


def read_annotations(path: Path) -> pd.DataFrame:
    """Read the label file: its columns, and emotion, speaker, gender, part (missing where there is no official partition)."""
    try:
        rows = pd.read_csv(path, dtype="str", keep_default_na=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not a readable csv file: {error}") from None
    missing = [column for column in COLUMNS if column not in rows.columns]
    if missing:
        raise DataError(f"{path} has no column {missing[0]!r}, expected the columns: {', '.join(COLUMNS)}")
    rows = rows.apply(lambda column: column.str.strip())
    leaving = rows[rows["FileName"].str.contains(r"^/|^[A-Za-z]:|\\|(?:^|/)\.\.(?:/|$)", regex=True)]
    if not leaving.empty:
        raise DataError(f"{path}: {leaving['FileName'].iloc[0]!r} leaves the audio folder ({len(leaving)} such), expected plain file names")
    unknown = rows[~rows["EmoClass"].isin(MSP_PODCAST.emotions)]
    if not unknown.empty:
        raise DataError(f"{path}: {one_of('EmoClass', unknown['EmoClass'].iloc[0], MSP_PODCAST.emotions)}")
    return rows.assign(
        emotion=rows["EmoClass"].map(dict(MSP_PODCAST.emotions)),
        speaker=rows["SpkrID"].mask(rows["SpkrID"].str.lower().isin(("", UNKNOWN)), UNKNOWN),
        gender=rows["Gender"].str.lower().map(GENDERS).fillna(UNKNOWN),
        part=rows["Split_Set"].str.lower().map(PARTS),
    )


def write_pickles(table: pd.DataFrame, output: Path) -> None:
    """Write the pair of frames that older scripts read, with absolute paths and plain objects, so that older pandas reads them too."""
    table = table[table["emotion"].isin(EMOTIONS)]
    frame = pd.DataFrame({"path": table["file"].map(lambda file: str(Path(file).resolve())), "labels": table["emotion"].map(LABELS)})
    frame = frame.assign(emotions=table["emotion"], part=table["part"]).astype({"path": object, "emotions": object, "part": object})
    frame.columns = frame.columns.astype(object)
    is_test = frame["part"].str.startswith("test")
    for part, side in (("train", frame[~is_test]), ("test", frame[is_test])):
        with replacing(output / f"D.{MSP_PODCAST.name}_{part}_DF.p") as aside, aside.open("wb") as file:
            pickle.dump(side.reset_index(drop=True), file, protocol=4)
