"""What of a file of own corpora defines one of them: all that it reaches, and nothing of the others unless it may act on it."""

import pytest

from ser_mlops.data.corpora.definitions import definition_of, statements_of
from ser_mlops.errors import DataError

TWO = """
import re
from ser_mlops.data.corpora.base import Clip, Corpus

SEXES = {"F": "female", "M": "male"}
FEMALE = "08 09".split()

def sex(code):
    return SEXES[code]

def parse_a(path, table):
    return Clip(code=path.stem, speaker="1", recording=path.stem, gender=sex("F"))

def parse_b(path, table):
    return Clip(code=path.stem, speaker=FEMALE[0], recording=path.stem)

A = Corpus(name="A", title="", language="en", num_files=1, num_speakers=1, licence="", source="", citation="", layout="",
           emotions={"a": "happy"}, num_folds=1, parse=parse_a)
B = Corpus(name="B", title="", language="en", num_files=1, num_speakers=1, licence="", source="", citation="", layout="",
           emotions={"b": "sad"}, num_folds=1, parse=parse_b)
CORPORA = [A, B]
"""


def texts(text: str) -> list[str]:
    return [statements_of(position, 2, text) for position in range(2)]


@pytest.mark.parametrize(
    ("old", "new", "changes_a", "changes_b"),
    [
        ('"female"', '"f"', True, False),  # reached through two functions
        ("08 09", "08 10", False, True),
        ('{"b": "sad"}', '{"b": "fear"}', False, True),
        ("def sex(code):", "def sex(code):  # a comment", False, False),
        ("import re", "import re, os", True, True),
        ("CORPORA =", "THIRD = 3\nCORPORA =", False, False),
        ("CORPORA =", "SEXES['F'] = 'f'\nCORPORA =", True, True),
        ("CORPORA =", "for sign in 'xy':\n    SEXES[sign] = 'male'\nCORPORA =", True, True),
        ("CORPORA =", "last = SEXES.pop('F')\nCORPORA =", True, True),
        ("return SEXES[code]", "return globals()['SEXES'][code]", True, True),
        ("CORPORA = [A, B]", "CORPORA = [A] + [B]", True, True),
        ("CORPORA = [A, B]", "PAIR, NONE = [A, B], []\nCORPORA = [*PAIR, *NONE]", True, True),
    ],
)
def test_a_change_changes_the_corpora_that_it_may_concern(old, new, changes_a, changes_b):
    assert old in TWO
    before, after = texts(TWO), texts(TWO.replace(old, new))
    assert [one != other for one, other in zip(before, after, strict=True)] == [changes_a, changes_b]


def test_a_corpus_of_the_package_does_not_depend_on_the_file(tmp_path):
    own = tmp_path / "own.py"
    own.write_text(TWO)
    assert definition_of("CREMA", own) == "CREMA: a corpus of the package\n"
    assert definition_of("B", own) == statements_of(1, 2, TWO)
    with pytest.raises(DataError, match=r"unknown corpus 'C', expected one of: .*A, B"):
        definition_of("C", own)
