"""The card of a model: what it has heard, and for which recordings its scores hold as it is served."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest

from ser_mlops.data.lock import Version
from ser_mlops.emotions import EMOTIONS
from ser_mlops.experiments.model_card import model_card, served_window
from ser_mlops.experiments.plan import plan_trainings
from ser_mlops.scores.metrics import TABLE_SCORES
from ser_mlops.settings.reading import read_settings
from ser_mlops.settings.sections import Settings
from tests.experiments.builders import toy_frame
from tests.project import ROOT

WHOLE = "A recording of at most 30 s is classified as it was evaluated. A longer one was evaluated whole; as served, "
WINDOWS = "A recording of at most 8 s is classified as it was evaluated. A longer one was evaluated by the mean of its windows' logits; "


def card_of(monkeypatch: pytest.MonkeyPatch, frame: pd.DataFrame, given: Mapping[str, str]) -> tuple[str, Settings]:
    monkeypatch.chdir(ROOT)
    (training,) = plan_trainings(
        {"TESS": frame},
        experiment_type="indep",
        train_datasets=(),
        test_dataset="TESS",
        test_split_source=None,
        fold=0,
        validation_share=0.3,
        seed=1,
    )
    settings = read_settings(given=given)
    scores = {name: {**dict.fromkeys(TABLE_SCORES, 0.5), "recall/anger": 0.5} for name in ("", "TESS")}
    versions = {"TESS": Version(Path("f"), "0" * 32, Path("a"), "1" * 32)}
    return model_card(training, 0, 1, scores, settings, versions, ""), settings


@pytest.mark.parametrize(
    ("given", "seconds", "words", "num_longer"),
    [
        ({"train.model": "tiny"}, 30, WHOLE, 1),
        ({"train.model": "tiny", "train.max_seconds": "8"}, 30, WHOLE, 1),
        ({"train.model": "tiny", "train.max_seconds": "8", "train.evaluate_long": "windows"}, 8, WINDOWS, 2),
        ({"train.model": "baseline"}, 30, WHOLE, 1),
    ],
)
def test_a_card_says_up_to_which_length_its_scores_are_those_of_the_served_model(monkeypatch, given, seconds, words, num_longer):
    frame = toy_frame()
    frame.loc[frame["fold"] == 0, "num_samples"] = [30 * 16000 + 1, 30 * 16000, *[8 * 16000] * 4]
    card, settings = card_of(monkeypatch, frame, given)
    assert served_window(settings) == seconds
    assert words in card
    assert f"({num_longer} of 6 test clips are longer)." in card


def test_a_card_names_the_emotions_that_the_model_has_heard_and_warns_of_the_others(monkeypatch):
    frame = toy_frame()
    card, _ = card_of(monkeypatch, frame, {"train.model": "tiny"})
    heard = [emotion for emotion in EMOTIONS if emotion in set(frame["emotions"])]
    unheard = [emotion for emotion in EMOTIONS if emotion not in heard]
    assert heard
    assert unheard
    assert f"Classifies speech into {', '.join(heard)}. It was trained on no clip of {' or '.join(unheard)}, and an answer" in card
