"""The clips of a space: those of its classes, labelled by class, with the votes of each."""

import pandas as pd

from ser_mlops.data.selection import left_out, within
from ser_mlops.emotions import EMOTIONS, SEVEN, VOTES, Space
from tests.builders import tiny_frame

FRAME = tiny_frame("A", {"x": 0, "y": 1}, labels=range(7))
SPACE = Space.of(["neutral", "sad", "fear", "surprise"], {"fear": "surprise"})


def test_all_seven_leave_a_frame_as_it_is() -> None:
    assert within(FRAME, SEVEN) is FRAME


def test_clips_of_a_space_have_their_class_as_label_and_are_the_same_clips() -> None:
    chosen = within(FRAME, SPACE)
    before = FRAME.set_index("path").loc[chosen["path"]]
    assert set(before["emotions"]) == {"neutral", "sad", "fear", "surprise"}
    assert chosen["emotions"].astype("str").tolist() == before["emotions"].astype("str").replace("fear", "surprise").tolist()
    assert tuple(chosen["emotions"].cat.categories) == SPACE.classes
    assert (chosen["emotions"].cat.codes == chosen["labels"]).all()
    untouched = [column for column in FRAME if column not in ("path", "labels", "emotions", *VOTES)]
    pd.testing.assert_frame_equal(chosen.set_index("path")[untouched], before[untouched])


def test_votes_go_with_their_emotion_and_those_of_others_count_as_other() -> None:
    votes = FRAME.assign(**{column: number + 1 for number, column in enumerate(VOTES)}, num_votes=36)
    assert [f"votes_{emotion}" for emotion in EMOTIONS] == list(VOTES[:7])
    row = within(votes, SPACE).iloc[0]
    assert row[["votes_neutral", "votes_sad", "votes_surprise"]].tolist() == [1, 3, 5 + 7]
    assert row["votes_other"] == 2 + 4 + 6 + 8
    assert row["num_votes"] == row[[column for column in row.index if column.startswith("votes_")]].sum()
    assert "votes_fear" not in row


def test_what_is_left_out_is_counted_by_emotion() -> None:
    assert left_out(FRAME, SPACE) == {"happy": 4, "angry": 4, "disgust": 4}
    assert left_out(FRAME[FRAME["emotions"] != "happy"], SPACE) == {"angry": 4, "disgust": 4}
    assert left_out(FRAME, SEVEN) == {}
