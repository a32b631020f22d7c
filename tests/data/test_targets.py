"""Targets out of frames."""

import numpy as np
import pandas as pd
import pytest

from ser_mlops.data.targets import distributions, targets_of
from ser_mlops.emotions import EMOTIONS, vote_columns


def make_frame(*clips: tuple[str, int, dict[str, int]]) -> pd.DataFrame:
    """Make the columns that matter: emotion, num_labels, votes."""
    rows = [
        {"emotions": emotion, "labels": EMOTIONS.index(emotion), "num_labels": number, **dict.fromkeys(vote_columns(), 0)}
        | {f"votes_{name}": count for name, count in votes.items()}
        for emotion, number, votes in clips
    ]
    frame = pd.DataFrame(rows)
    return frame.assign(emotions=pd.Categorical(frame["emotions"], categories=EMOTIONS))


def test_soft_targets_are_shares_of_the_votes_for_the_seven() -> None:
    frame = make_frame(("happy", 1, {"happy": 3, "neutral": 1, "other": 6}), ("sad", 1, {}))
    assert distributions(frame, prior=0).tolist() == [[0.25, 0.75, 0, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0, 0]]


def test_a_prior_moves_few_votes_more_than_many() -> None:
    frame = make_frame(("happy", 1, {"happy": 1}), ("happy", 1, {"happy": 10}))
    few, many = distributions(frame, prior=0.5)
    assert few.tolist() == pytest.approx([0.5 / 4.5, 1.5 / 4.5, *[0.5 / 4.5] * 5])
    assert many[1] == pytest.approx(10.5 / 13.5)


def test_one_vote_each_for_the_label_is_the_label_alone() -> None:
    frame = make_frame(("happy", 1, {"happy": 1}), ("fear", 1, {"fear": 1, "other": 2}))
    assert targets_of(frame, "soft", 0.0) is None
    assert targets_of(frame, "hard", 0.0) is None
    assert targets_of(frame, "soft", 0.5) is not None


def test_of_hard_targets_the_labels_of_a_tie_share_it_equally() -> None:
    frame = make_frame(("happy", 2, {"happy": 3, "fear": 3, "sad": 1}), ("sad", 1, {"sad": 2, "fear": 1}))
    shares = targets_of(frame, "hard", 0.0)
    assert shares is not None
    assert shares.tolist() == [[0, 0.5, 0, 0, 0.5, 0, 0], np.eye(7)[2].tolist()]
