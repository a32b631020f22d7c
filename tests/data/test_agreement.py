"""What listeners heard: agreement worked out by hand, and the report on a corpus's own votes."""

import numpy as np
import pandas as pd
import pytest

from ser_mlops.data.agreement import agreement, entropies, heard_by_label
from ser_mlops.data.corpora.base import TIE, Clip
from ser_mlops.data.corpora.catalogue import catalogue
from ser_mlops.data.corpora.crema import CREMA
from ser_mlops.data.corpora.scan import Found, Scan, _check_clip
from ser_mlops.emotions import VOTES
from ser_mlops.errors import DataError

RULES = {"calm": "neutral", "contempt": "drop", "labels": "acted", "ties": "drop"}


def catalogued(tmp_path, *clips: tuple[str, str, dict[str, int]]) -> pd.DataFrame:
    """A catalogue of clips, each with its code, what most heard, and the votes."""
    found = [
        Found(f"CREMA/{number}.wav", tmp_path, Clip(code, "1001", str(number), perceived=heard, votes=votes), CREMA.emotions[code], "")
        for number, (code, heard, votes) in enumerate(clips)
    ]
    return catalogue(CREMA, Scan(found, {}), RULES)


def test_entropy_is_nothing_where_all_agree():
    assert entropies(np.array([[4, 0, 0, 0], [1, 1, 1, 1]])).tolist() == [0.0, 2.0]


def test_agreement_says_how_often_the_label_is_heard(tmp_path):
    table = catalogued(
        tmp_path,
        ("ANG", "ANG", {"ANG": 8, "NEU": 2}),
        ("ANG", "NEU", {"ANG": 2, "NEU": 8}),
        ("SAD", TIE, {"SAD": 5, "NEU": 5}),
        ("NEU", "", {}),
    )
    rows = agreement(table, CREMA.emotions).set_index("label")
    assert rows["clips"].to_dict() == {"sad": 1, "angry": 2, "all": 3}
    assert rows.loc["all", "as_label"] == pytest.approx(1 / 3)
    assert rows.loc["sad", ["as_label", "ties", "votes", "entropy"]].tolist() == [0.0, 1.0, 10.0, 1.0]
    heard = heard_by_label(table, CREMA.emotions)
    assert heard.loc["angry", ["neutral", "angry"]].tolist() == [1, 1]
    assert heard.loc["sad", TIE] == 1


def test_votes_for_what_is_none_of_the_seven_count_as_other(tmp_path):
    table = catalogued(tmp_path, ("ANG", "ANG", {"ANG": 3, "happy": 2, "annoyed": 1}))
    votes = dict(zip(VOTES, table[list(VOTES)].iloc[0], strict=True))
    assert {name: number for name, number in votes.items() if number} == {"votes_happy": 2, "votes_angry": 3, "votes_other": 1}


@pytest.mark.parametrize("votes", [{"angry": -1}, {"angry": 1.5}, {"angry": True}, [3, 2]])
def test_votes_of_an_own_corpus_that_are_no_numbers_are_refused(votes):
    with pytest.raises(DataError, match=r"votes of 'MINE/a.wav' is .*, expected numbers of listeners by what they heard"):
        _check_clip(Clip("A", "1", "1", votes=votes), "MINE/a.wav")
