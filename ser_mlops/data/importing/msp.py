"""MSP-Podcast's own label file, checked against the audio and imported like old frames (see old_frames.py)."""

import pickle
from pathlib import Path, PurePosixPath

import pandas as pd

from ser_mlops.data.audio.format import AUDIO_SUFFIXES
from ser_mlops.data.corpora.base import walk
from ser_mlops.data.corpora.msp_podcast import MSP_PODCAST, gender_in, part_in, read_labels, speaker_in
from ser_mlops.data.corpora.scan import path_in_tables
from ser_mlops.data.folders import IMPORTED
from ser_mlops.data.importing.old_frames import FOUND, LOST, write_imported
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
        DataError: a file or folder is missing, the label file is refused (see `read_labels`), or a label is unknown.
    """
    labels = read_labels(annotations)
    unknown = [row["EmoClass"] for row in labels.values() if row["EmoClass"].strip() not in MSP_PODCAST.emotions]
    if unknown:
        raise DataError(f"{annotations}: {one_of('EmoClass', unknown[0], MSP_PODCAST.emotions)}")
    if not audio_dir.is_dir():
        raise DataError(f"no folder {audio_dir}, expected the audio files of MSP-Podcast")
    rows = pd.DataFrame(
        {
            "stem": stem,
            "name": PurePosixPath(row["FileName"].strip()).name,
            "emotion": MSP_PODCAST.emotions[row["EmoClass"].strip()],
            "speaker": speaker_in(row),
            "gender": gender_in(row),
            "part": part_in(row),
        }
        for stem, row in labels.items()
    )
    files = {file.stem: file for file in walk(audio_dir) if file.suffix.lower() in AUDIO_SUFFIXES}
    rows["file"] = rows["stem"].map(files)
    has_part = rows["part"].notna()
    is_lost = rows["file"].isna()
    counts = {FOUND: int((has_part & ~is_lost).sum()), LOST: int((has_part & is_lost).sum()), "without a partition": int((~has_part).sum())}
    if not counts[FOUND]:
        raise DataError(f"none of the {len(rows)} files that {annotations} names is in {audio_dir}")
    home = raw / MSP_PODCAST.name
    paths = {stem: f"{MSP_PODCAST.name}/{file.relative_to(audio_dir).as_posix()}" for stem, file in files.items()}
    inside = (file for file in (walk(home) if home.is_dir() else ()) if file.suffix.lower() in AUDIO_SUFFIXES)
    paths |= {file.stem: file.relative_to(raw).as_posix() for file in inside}
    placed = rows["stem"].map(paths).map(path_in_tables, na_action="ignore")
    table = rows.assign(path=placed.fillna(f"{MSP_PODCAST.name}/" + rows["name"]))[has_part]
    write_imported(table, imported / f"{MSP_PODCAST.name}.parquet")
    if output is not None:
        write_pickles(table[table["file"].notna()], output)
    return counts


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
