"""Frames that exist already, as `data/imported/<CORPUS>.parquet`: path, emotion, speaker, gender, part; the catalogue reads them.

Two sources: the `D.{CORPUS}_{train,test}_DF.p` pickles of SER notebooks (columns path, labels, emotions; RAVDESS with gender, calm and the
label 7), read without running what a pickle may carry, and the annotations of MSP-Podcast.
"""

import pickle
import struct
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any, BinaryIO, ClassVar

import pandas as pd
import pyarrow as pa
from pandas.compat.pickle_compat import Unpickler as PandasUnpickler

from ser_mlops.data.corpora.base import AUDIO_SUFFIXES, UNKNOWN, Corpus, walk
from ser_mlops.data.corpora.msp_podcast import COLUMNS as MSP_COLUMNS
from ser_mlops.data.corpora.msp_podcast import MSP_PODCAST
from ser_mlops.data.corpora.msp_podcast import PARTS as MSP_PARTS
from ser_mlops.data.corpora.scan import IMPORTED, IMPORTED_COLUMNS, path_in_tables
from ser_mlops.emotions import EMOTIONS, LABELS
from ser_mlops.errors import DataError, one_of
from ser_mlops.files import replacing

PARTS = ("train", "test")
CALM = 7
"""The label of calm in old RAVDESS frames."""
GENDERS = {"f": "female", "female": "female", "m": "male", "male": "male"}
FOUND, MOVED, LOST = "found", "moved", "lost"

HARMLESS = {
    "builtins": {"bytearray", "complex", "frozenset", "object", "set", "slice"},
    "collections": {"OrderedDict"},
    "copyreg": {"_reconstructor"},
    "numpy": {"dtype", "ndarray"},
    "numpy.core.multiarray": {"_reconstruct", "scalar"},
    "numpy.core.numeric": {"_frombuffer"},
    "pandas": {
        "BooleanDtype",
        "Categorical",
        "CategoricalDtype",
        "DataFrame",
        "Index",
        "Int64Dtype",
        "NA",
        "RangeIndex",
        "StringDtype",
    },
    "pandas._libs.arrays": {"__pyx_unpickle_NDArrayBacked"},
    "pandas._libs.internals": {"BlockPlacement", "_unpickle_block"},
    "pandas._libs.missing": {"NA", "NAType"},
    "pandas.arrays": {"ArrowStringArray", "BooleanArray", "IntegerArray", "StringArray"},
    "pandas.core.arrays.boolean": {"BooleanArray", "BooleanDtype"},
    "pandas.core.arrays.categorical": {"Categorical"},
    "pandas.core.arrays.integer": {"Int64Dtype", "IntegerArray"},
    "pandas.core.arrays.string_": {"StringArray", "StringDtype"},
    "pandas.core.arrays.string_arrow": {"ArrowStringArray"},
    "pandas.core.dtypes.dtypes": {"CategoricalDtype"},
    "pandas.core.frame": {"DataFrame"},
    "pandas.core.indexes.base": {"Index", "_new_Index"},
    "pandas.core.indexes.numeric": {"Float64Index", "Int64Index", "UInt64Index"},
    "pandas.core.indexes.range": {"RangeIndex"},
    "pandas.core.internals.blocks": {"new_block"},
    "pandas.core.internals.managers": {"BlockManager"},
    "pyarrow.lib": {"chunked_array", "py_buffer", "type_for_alias"},
}
"""Everything that a pickled DataFrame of numbers and strings needs, of pandas 1.0 to 3; nothing here runs or reads anything."""
FORMER_MODULES = {
    "__builtin__": "builtins",
    "copy_reg": "copyreg",
    "numpy._core.multiarray": "numpy.core.multiarray",
    "numpy._core.numeric": "numpy.core.numeric",
}


class RestrictedUnpickler(PandasUnpickler):
    """Unpickles DataFrames, old ones too, and refuses by name whatever is not in HARMLESS."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):
            return encode_latin1
        if (module, name) == ("pyarrow.lib", "_restore_array"):
            return restore_array
        if name not in HARMLESS.get(FORMER_MODULES.get(module, module), ()):
            raise DataError(f"refused: the pickle asks for {module}.{name}, expected nothing but pandas, numpy and plain containers")
        return super().find_class(module.replace("numpy.core.", "numpy._core."), name)

    def load_build(self) -> None:
        if isinstance(self.stack[-2], type):
            raise DataError(f"refused: the pickle changes the class {self.stack[-2].__name__}")
        super().load_build()

    dispatch: ClassVar = {**PandasUnpickler.dispatch, pickle.BUILD[0]: load_build}


def encode_latin1(text: str, encoding: str) -> bytes:
    """Stand in for codecs.encode as pickle uses it for bytes: one encoding, none looked up."""
    if encoding != "latin1":
        raise DataError(f"refused: the pickle asks for the encoding {encoding!r}, expected 'latin1'")
    return text.encode("latin1")


def restore_array(data: tuple[Any, ...]) -> pa.Array:
    """Stand in for pyarrow's own function, which believes what a pickle says of lengths and buffers, beyond their ends too."""
    kind, length, null_count, offset, buffers, children, dictionary, *_ = data
    if children or dictionary is not None:
        raise DataError(f"refused: the pickle holds an array of {kind}, expected numbers and strings")
    array = pa.Array.from_buffers(kind, length, buffers, null_count, offset)
    array.validate(full=True)
    return array


def read_pickle(path: Path) -> pd.DataFrame:
    """Read a pickled DataFrame without running what the pickle may carry.

    Raises:
        DataError: the file asks for anything but pandas, numpy and plain containers, is damaged, or holds no DataFrame.
    """
    with path.open("rb") as file:
        try:
            frame = _load(file)
        except DataError as refusal:
            raise DataError(f"{path}: {refusal}") from None
    if not isinstance(frame, pd.DataFrame):
        raise DataError(f"{path} holds a {type(frame).__name__}, expected a DataFrame")
    return frame


def _load(file: BinaryIO) -> object:
    damages = (pickle.UnpicklingError, EOFError, AttributeError, ImportError, LookupError, TypeError, ValueError, ArithmeticError)
    try:
        return RestrictedUnpickler(file).load()
    except (*damages, AssertionError, NotImplementedError, MemoryError, struct.error) as damage:
        raise DataError(f"not a readable pickle of a DataFrame ({type(damage).__name__}: {damage})") from None


def import_frames(folder: Path, raw: Path, corpora: Mapping[str, Corpus], imported: Path = IMPORTED) -> dict[str, dict[str, int]]:
    """Import every pair of pickles in a folder; return per corpus how many files were found, found elsewhere (moved) and lost.

    Args:
        folder: where `D.{CORPUS}_train_DF.p` and `D.{CORPUS}_test_DF.p` lie.
        raw: folder with one folder of recordings per corpus; a path that is no longer there is found again by its name.
        corpora: every corpus by name.
        imported: folder to write to.
    """
    if not folder.is_dir():
        raise DataError(f"no folder {folder}, expected one with D.CORPUS_train_DF.p and D.CORPUS_test_DF.p")
    names = sorted({path.name[2:].rpartition(f"_{part}_DF.p")[0] for part in PARTS for path in folder.glob(f"D.*_{part}_DF.p")})
    if not names:
        raise DataError(f"no D.CORPUS_train_DF.p in {folder}")
    unknown = [name for name in names if name not in corpora]
    if unknown:
        raise DataError(one_of("corpus", unknown[0], corpora))
    tables = {}
    for name in names:
        paths = {part: folder / f"D.{name}_{part}_DF.p" for part in PARTS}
        missing = [path for path in paths.values() if not path.is_file()]
        if missing:
            raise DataError(f"no {missing[0]}, expected a pair")
        tables[name] = pd.concat([rows_of(read_pickle(path), str(path), corpora[name], part) for part, path in paths.items()])
    counts = {}
    for name, table in tables.items():
        placed, counts[name] = find_again(table, raw, name)
        write_imported(placed, imported / f"{name}.parquet")
    return counts


def rows_of(frame: pd.DataFrame, origin: str, corpus: Corpus, part: str) -> pd.DataFrame:
    """Turn an old frame into imported rows; the emotion decides, and must agree with the label where both are there."""
    missing = [column for column in ("path", "labels") if column not in frame.columns]
    if missing:
        raise DataError(f"{origin}: no column {missing[0]!r}, expected the columns: path, labels, emotions")
    names = [*EMOTIONS, "calm"] if corpus.rule == "calm" else list(EMOTIONS)
    labels = pd.to_numeric(frame["labels"], errors="coerce").fillna(-1).astype("int64")
    emotions = labels.map(dict(enumerate(names)))
    _refuse(frame, emotions.isna(), origin, "labels", f"0 to {len(names) - 1}")
    if "emotions" in frame.columns:
        given = frame["emotions"].astype(str).str.strip().str.lower()
        _refuse(frame, ~given.isin(names), origin, "emotions", f"one of {', '.join(names)}")
        is_calm_as_neutral = (given == "calm") & (labels == LABELS["neutral"])
        _refuse(frame, (given != emotions) & ~is_calm_as_neutral, origin, "emotions", "the emotion of its label")
        emotions = given
    if "calm" in frame.columns and corpus.rule == "calm":
        is_calm = frame["calm"].astype(str).str.strip().str.lower().isin(("true", "1", "1.0", "calm"))
        emotions = emotions.mask(is_calm & (emotions == "neutral"), "calm")
    genders = frame["gender"].astype(str).str.strip().str.lower() if "gender" in frame.columns else pd.Series("", index=frame.index)
    return pd.DataFrame(
        {
            "path": frame["path"].astype(str).str.replace("\\", "/", regex=False),
            "emotion": emotions,
            "speaker": UNKNOWN,
            "gender": genders.map(GENDERS).fillna(UNKNOWN),
            "part": part,
        }
    ).reset_index(drop=True)


def _refuse(frame: pd.DataFrame, offending: "pd.Series[bool]", origin: str, column: str, expected: str) -> None:
    if offending.any():
        row = frame[offending.to_numpy()].iloc[0]
        raise DataError(f"{origin}: {column} {str(row[column])!r} of {row['path']!r} ({offending.sum()} such), expected {expected}")


def find_again(table: pd.DataFrame, raw: Path, corpus: str) -> tuple[pd.DataFrame, dict[str, int]]:
    """Replace old paths by those of the raw folder: of the files with the same name, the one that shares most folders.

    Raises:
        DataError: no file is found, or two files share the name and as many folders.
    """
    folder = raw / corpus
    if not folder.is_dir():
        raise DataError(f"no folder {folder}, expected the recordings that the imported frames name")
    by_name = defaultdict(list)
    for file in walk(folder):
        if file.suffix.lower() in AUDIO_SUFFIXES:
            by_name[file.name].append(path_in_tables(file.relative_to(raw).as_posix()))
    counts = dict.fromkeys((FOUND, MOVED, LOST), 0)
    paths = []
    for old in table["path"]:
        path = nearest(old, by_name[PurePath(old).name])
        counts[LOST if path is None else FOUND if f"/{old}".endswith(f"/{path}") else MOVED] += 1
        paths.append(path or f"{corpus}/{PurePath(old).name}")
    if counts[LOST] == len(table):
        raise DataError(f"none of the {len(table)} imported clips of {corpus} is in {folder}")
    return table.assign(path=paths), counts


def nearest(old: str, candidates: list[str]) -> str | None:
    """Return the candidate whose last folders equal those of the old path furthest, None if there are no candidates.

    >>> nearest("/home/me/SAVEE/DC/sa01.wav", ["SAVEE/AudioData/DC/sa01.wav", "SAVEE/AudioData/JE/sa01.wav"])
    'SAVEE/AudioData/DC/sa01.wav'
    """
    if len(candidates) < 2:
        return candidates[0] if candidates else None

    def shared(path: str) -> int:
        pairs = list(zip(reversed(old.split("/")), reversed(path.split("/")), strict=False))
        return next((place for place, (one, other) in enumerate(pairs) if one != other), len(pairs))

    most = max(map(shared, candidates))
    best = sorted(path for path in candidates if shared(path) == most)
    if most < 2 and len(best) > 1:
        raise DataError(f"{old!r} may be any of: {', '.join(best)}")
    return best[0]


def write_imported(table: pd.DataFrame, path: Path) -> None:
    """Write imported rows, each file once.

    Raises:
        DataError: a file has two emotions, or is on two sides of the division.
    """
    table = table[list(IMPORTED_COLUMNS)].drop_duplicates().sort_values("path", ignore_index=True)
    twice = table[table["path"].duplicated(keep=False)]
    if not twice.empty:
        first = twice[twice["path"] == twice["path"].iloc[0]]
        sides = "; ".join(f"{row.emotion} in {row.part}" for row in first.itertuples())
        raise DataError(f"{first['path'].iloc[0]!r} is imported twice ({sides}), expected one emotion and one side per file")
    with replacing(path) as aside:
        table.astype("str").to_parquet(aside, index=False)


def prepare_msp(annotations: Path, audio_dir: Path, raw: Path, output: Path | None, imported: Path = IMPORTED) -> dict[str, int]:
    """Import MSP-Podcast from its label file; return how many rows were found, lost (without audio) and without a partition.

    Args:
        annotations: `labels_consensus.csv`.
        audio_dir: folder with the audio files, in folders of its own or not.
        raw: folder with one folder per corpus; paths are stored as they lie in `raw/MSP_PODCAST`, or as if `audio_dir` were that folder.
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
    missing = [column for column in MSP_COLUMNS if column not in rows.columns]
    if missing:
        raise DataError(f"{path} has no column {missing[0]!r}, expected the columns: {', '.join(MSP_COLUMNS)}")
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
        part=rows["Split_Set"].str.lower().map(MSP_PARTS),
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
