"""Which label a clip gets by each rule, and which corpora cannot have it."""

import re

import pytest

from ser_mlops.data.corpora.base import TIE, Clip, majority_of
from ser_mlops.data.corpora.catalogue import catalogue
from ser_mlops.data.corpora.crema import CREMA
from ser_mlops.data.corpora.labels import CHOICES, TIES, choose_label
from ser_mlops.data.corpora.msp_podcast import MSP_PODCAST
from ser_mlops.data.corpora.scan import Found, Scan
from ser_mlops.data.corpora.tess import TESS
from ser_mlops.data.frames import conform
from ser_mlops.errors import DataError

RULES = {"calm": "neutral", "contempt": "drop", "labels": "acted", "ties": "drop"}


def scanned(tmp_path, corpus, *clips: tuple[str, dict[str, int], str]) -> Scan:
    """Clips with a code, votes and, where these are not known, what most heard."""
    found = []
    for number, (code, votes, heard) in enumerate(clips):
        clip = Clip(code, "1", str(number), perceived=heard or majority_of(votes), votes=votes)
        found.append(Found(f"{corpus.name}/{number}.wav", tmp_path, clip, corpus.emotions[code], ""))
    return Scan(found, {})


AGREED = ("ANG", {"ANG": 7, "NEU": 3}, "")
HEARD_OTHERWISE = ("ANG", {"NEU": 6, "ANG": 4}, "")
TIED_WITH_THE_ACTED = ("SAD", {"SAD": 4, "NEU": 4, "FEA": 2}, "")
TIED_WITHOUT_IT = ("DIS", {"FEA": 5, "NEU": 5}, "")
CLIPS = (AGREED, HEARD_OTHERWISE, TIED_WITH_THE_ACTED, TIED_WITHOUT_IT)
LEFT_OUT = ("", 0)

TABLE = [
    # labels, ties, then emotion and number of labels of each of CLIPS
    ("acted", "both", ("angry", 1), ("angry", 1), ("sad", 1), ("disgust", 1)),
    ("perceived", "drop", ("angry", 1), ("neutral", 1), LEFT_OUT, LEFT_OUT),
    ("perceived", "acted", ("angry", 1), ("neutral", 1), ("sad", 1), LEFT_OUT),
    ("perceived", "both", ("angry", 1), ("neutral", 1), ("sad", 2), ("neutral", 2)),
    ("votes", "drop", ("angry", 1), ("neutral", 1), ("sad", 0), ("neutral", 0)),
    ("votes", "acted", ("angry", 1), ("neutral", 1), ("sad", 1), ("neutral", 0)),
    ("votes", "both", ("angry", 1), ("neutral", 1), ("sad", 2), ("neutral", 2)),
]


@pytest.mark.parametrize(("choice", "ties", "expected"), [(choice, ties, expected) for choice, ties, *expected in TABLE])
def test_every_rule_gives_the_labels_that_it_states(tmp_path, choice, ties, expected):
    table = catalogue(CREMA, scanned(tmp_path, CREMA, *CLIPS), RULES | {"labels": {"CREMA": choice}, "ties": ties})
    assert list(zip(table["emotion"], table["num_labels"], strict=True)) == expected
    assert (table["reason"] != "").tolist() == [label == LEFT_OUT for label in expected]
    clips = table[table["reason"] == ""].assign(corpus="CREMA", fold=0, start=0, num_samples=1, sha256="0" * 64)
    assert conform(clips, "frame")["num_labels"].tolist() == [number for emotion, number in expected if emotion]


def test_rules_that_were_applied_are_written_down_to_be_counted(tmp_path):
    scan = scanned(tmp_path, CREMA, *CLIPS)
    rules = {choice: catalogue(CREMA, scan, RULES | {"labels": choice, "ties": "acted"})["rule"].tolist() for choice in CHOICES}
    assert rules["acted"] == ["", "", "", ""]
    assert rules["perceived"] == ["", "labels: perceived", "ties: acted", "labels: perceived"]
    assert rules["votes"] == ["", "labels: votes", "ties: acted", "labels: votes, no majority"]


@pytest.mark.parametrize(
    ("clip", "choice", "expected"),
    [
        (Clip("X", "1", "1", votes={"C": 3, "N": 2}), "perceived", ("contempt", 1, "")),  # the rule on contempt decides
        (Clip("X", "1", "1", votes={"C": 3, "N": 2}), "votes", ("neutral", 0, "")),
        (Clip("X", "1", "1", votes={"C": 3}), "votes", ("contempt", 1, "")),
        (Clip("X", "1", "1", votes={"C": 3, "N": 3}), "votes", ("neutral", 0, "")),  # other emotions are no label
        (Clip("X", "1", "1", votes={}), "votes", ("", 1, "no perceived emotion")),
        (Clip("X", "1", "1", perceived=TIE), "votes", ("", 1, "listeners disagree")),
    ],
)
def test_emotions_other_than_the_seven_are_heard_but_are_no_labels(clip, choice, expected):
    label = choose_label(MSP_PODCAST, clip, "no agreement", choice, "both")
    assert (label.emotion, label.num_labels, label.reason) == expected


def test_a_majority_that_is_known_without_its_votes_will_do_and_so_will_the_letters_of_a_tie(tmp_path):
    scan = scanned(tmp_path, CREMA, ("ANG", {}, "NEU"), ("ANG", {}, "ANG:DIS"), ("ANG", {}, "NEU:DIS"))
    table = catalogue(CREMA, scan, RULES | {"labels": "perceived", "ties": "acted"})
    assert table["emotion"].tolist() == ["neutral", "angry", ""]
    assert table["perceived"].tolist() == ["neutral", TIE, TIE]


def test_one_choice_for_all_leaves_corpora_alone_whose_listeners_nobody_asked(tmp_path):
    scan = scanned(tmp_path, TESS, ("angry", {}, ""))
    assert catalogue(TESS, scan, RULES | {"labels": "votes", "ties": "both"})["emotion"].tolist() == ["angry"]
    assert catalogue(TESS, scan, RULES | {"labels": {"CREMA": "votes"}})["emotion"].tolist() == ["angry"]


@pytest.mark.parametrize(
    ("corpus", "clip", "rules", "message"),
    [
        (TESS, ("angry", {}, ""), {"labels": {"TESS": "votes"}}, "TESS: labels=votes needs Clip.votes of its clips, and nobody was asked"),
        (CREMA, ("ANG", {}, ""), {"labels": "perceived"}, "CREMA: labels=perceived needs processedResults/tabulatedVotes.csv or"),
        (CREMA, ("ANG", {}, "ANG"), {"labels": "votes"}, "CREMA: labels=votes needs processedResults/tabulatedVotes.csv in the"),
        (CREMA, ("ANG", {}, "ANG"), {"labels": "perceived", "ties": "both"}, "CREMA: labels=perceived with ties=both needs processedRes"),
        (
            MSP_PODCAST,
            ("A", {}, ""),
            {"labels": {"MSP_PODCAST": "votes"}},
            "needs Labels/labels_detailed.csv in the corpus's folder, or labels=acted",
        ),
    ],
)
def test_a_corpus_without_what_a_rule_needs_is_refused_by_name(tmp_path, corpus, clip, rules, message):
    with pytest.raises(DataError, match=re.escape(message)):
        catalogue(corpus, scanned(tmp_path, corpus, clip), RULES | rules)


def test_the_settings_name_the_same_choices():
    from typing import get_args

    from ser_mlops.settings.preparation import CatalogueSettings

    assert get_args(CatalogueSettings.model_fields["ties"].annotation) == TIES
    for choice in CHOICES:
        assert CatalogueSettings(calm="drop", contempt="drop", labels=choice, ties="drop").labels == choice
