"""Pickled DataFrames, read without running what a pickle may carry: the unpickler knows harmless names and refuses all others."""

import bz2
import gzip
import io
import lzma
import pickle
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, BinaryIO, ClassVar, cast

import pandas as pd
import pyarrow as pa
from pandas.compat.pickle_compat import Unpickler as PandasUnpickler

from ser_mlops.errors import DataError

NULLABLE = {f"{kind}{bits}Dtype" for kind in ("Int", "UInt") for bits in (8, 16, 32, 64)} | {"Float32Dtype", "Float64Dtype"}
PURE_PATHS = {
    "PosixPath": PurePosixPath,
    "WindowsPath": PureWindowsPath,
    "PurePosixPath": PurePosixPath,
    "PureWindowsPath": PureWindowsPath,
}
"""What stands in for the paths of a pickle: paths that reach no disk, those of Windows as well."""
HARMLESS = {
    "builtins": {"bytearray", "complex", "frozenset", "object", "set", "slice"},
    "collections": {"OrderedDict"},
    "copyreg": {"_reconstructor"},
    "datetime": {"date", "datetime", "time", "timedelta", "timezone"},
    "numpy": {"dtype", "ndarray"},
    "numpy.core.multiarray": {"_reconstruct", "scalar"},
    "numpy.core.numeric": {"_frombuffer"},
    "pandas": {
        *NULLABLE,
        "BooleanDtype",
        "Categorical",
        "CategoricalDtype",
        "CategoricalIndex",
        "DataFrame",
        "DatetimeIndex",
        "DatetimeTZDtype",
        "Index",
        "MultiIndex",
        "NA",
        "NaT",
        "RangeIndex",
        "Series",
        "StringDtype",
        "Timedelta",
        "TimedeltaIndex",
        "Timestamp",
    },
    "pandas._libs.arrays": {"__pyx_unpickle_NDArrayBacked"},
    "pandas._libs.internals": {"BlockPlacement", "_unpickle_block"},
    "pandas._libs.missing": {"NA", "NAType"},
    "pandas._libs.tslibs.nattype": {"NaTType", "__nat_unpickle", "_nat_unpickle"},
    "pandas._libs.tslibs.timedeltas": {"Timedelta", "_timedelta_unpickle"},
    "pandas._libs.tslibs.timestamps": {"Timestamp", "_unpickle_timestamp"},
    "pandas.arrays": {
        "ArrowStringArray",
        "BooleanArray",
        "DatetimeArray",
        "FloatingArray",
        "IntegerArray",
        "StringArray",
        "TimedeltaArray",
    },
    "pandas.core.arrays.boolean": {"BooleanArray", "BooleanDtype"},
    "pandas.core.arrays.categorical": {"Categorical"},
    "pandas.core.arrays.datetimes": {"DatetimeArray"},
    "pandas.core.arrays.floating": {"Float32Dtype", "Float64Dtype", "FloatingArray"},
    "pandas.core.arrays.integer": {*NULLABLE, "IntegerArray"},
    "pandas.core.arrays.string_": {"StringArray", "StringDtype"},
    "pandas.core.arrays.string_arrow": {"ArrowStringArray"},
    "pandas.core.arrays.timedeltas": {"TimedeltaArray"},
    "pandas.core.dtypes.dtypes": {"CategoricalDtype", "DatetimeTZDtype"},
    "pandas.core.frame": {"DataFrame"},
    "pandas.core.indexes.base": {"Index", "_new_Index"},
    "pandas.core.indexes.category": {"CategoricalIndex"},
    "pandas.core.indexes.datetimes": {"DatetimeIndex", "_new_DatetimeIndex"},
    "pandas.core.indexes.frozen": {"FrozenList"},
    "pandas.core.indexes.multi": {"MultiIndex"},
    "pandas.core.indexes.numeric": {"Float64Index", "Int64Index", "UInt64Index"},
    "pandas.core.indexes.range": {"RangeIndex"},
    "pandas.core.indexes.timedeltas": {"TimedeltaIndex"},
    "pandas.core.internals.blocks": {"new_block"},
    "pandas.core.internals.managers": {"BlockManager", "SingleBlockManager"},
    "pandas.core.series": {"Series"},
    "pyarrow.lib": {"chunked_array", "py_buffer", "type_for_alias"},
}
"""Everything that a pickled DataFrame of numbers, strings, dates and paths needs, from pandas 1 to 3; nothing here runs anything."""
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
        if module in ("pathlib", "pathlib._local") and name in PURE_PATHS:
            return PURE_PATHS[name]
        if name not in HARMLESS.get(FORMER_MODULES.get(module, module), ()):
            raise DataError(f"refused: the pickle asks for {module}.{name}, expected only pandas, numpy and plain containers. {REMEDY}")
        return super().find_class(module.replace("numpy.core.", "numpy._core."), name)

    def load_build(self) -> None:
        if isinstance(self.stack[-2], type):
            raise DataError(f"refused: the pickle changes the class {self.stack[-2].__name__}")
        super().load_build()

    dispatch: ClassVar = {**PandasUnpickler.dispatch, pickle.BUILD[0]: load_build}


REMEDY = (
    "If the file is your own, save its plain columns again: f = pd.read_pickle(FILE); "
    "pd.DataFrame({c: f[c].astype(str).tolist() for c in f if c != 'labels'} "
    "| {'labels': f['labels'].astype(int).tolist()}).to_pickle(FILE)"
)


def encode_latin1(text: str, encoding: str) -> bytes:
    """Replace codecs.encode, which pickle uses for bytes, by one that knows a single encoding."""
    if encoding != "latin1":
        raise DataError(f"refused: the pickle asks for the encoding {encoding!r}, expected 'latin1'")
    return text.encode("latin1")


def restore_array(data: tuple[Any, ...]) -> pa.Array:
    """Replace pyarrow's own function, which trusts the lengths that a pickle states, beyond the ends of its buffers too."""
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
        return RestrictedUnpickler(_decompressed(file)).load()
    except (
        OSError,
        lzma.LZMAError,
        zlib.error,
        zipfile.BadZipFile,
        *damages,
        AssertionError,
        NotImplementedError,
        MemoryError,
        struct.error,
    ) as damage:
        raise DataError(f"not a readable pickle of a DataFrame ({type(damage).__name__}: {damage})") from None


def _decompressed(file: BinaryIO) -> BinaryIO:
    """Open a pickle that pandas compressed (gzip, bz2, xz, zip, zstd), whatever its name says."""
    head = file.read(8)
    file.seek(0)
    if head.startswith(b"\x1f\x8b"):
        return cast(BinaryIO, gzip.open(file))
    if head.startswith(b"BZh"):
        return cast(BinaryIO, bz2.open(file))
    if head.startswith(b"\xfd7zXZ\x00"):
        return cast(BinaryIO, lzma.open(file))
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        return io.BytesIO(pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd").read())
    if head.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            if len(names) != 1:
                raise DataError(f"the zip archive holds {len(names)} files, expected one pickle")
            return io.BytesIO(archive.read(names[0]))
    return file
