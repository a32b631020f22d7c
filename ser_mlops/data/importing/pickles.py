"""Pickled DataFrames, read without running what a pickle may carry: the unpickler knows harmless names and refuses all others."""

import pickle
import struct
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import pandas as pd
import pyarrow as pa
from pandas.compat.pickle_compat import Unpickler as PandasUnpickler

from ser_mlops.errors import DataError

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
"""Everything that a pickled DataFrame of numbers and strings needs, from pandas 1.0 to 3; nothing here runs or reads anything."""
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
            raise DataError(f"refused: the pickle asks for {module}.{name}, expected only pandas, numpy and plain containers")
        return super().find_class(module.replace("numpy.core.", "numpy._core."), name)

    def load_build(self) -> None:
        if isinstance(self.stack[-2], type):
            raise DataError(f"refused: the pickle changes the class {self.stack[-2].__name__}")
        super().load_build()

    dispatch: ClassVar = {**PandasUnpickler.dispatch, pickle.BUILD[0]: load_build}


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
        return RestrictedUnpickler(file).load()
    except (*damages, AssertionError, NotImplementedError, MemoryError, struct.error) as damage:
        raise DataError(f"not a readable pickle of a DataFrame ({type(damage).__name__}: {damage})") from None
