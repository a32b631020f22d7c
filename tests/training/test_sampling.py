"""Which clips an epoch sees."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from ser_mlops.training.batching import Clips
from ser_mlops.training.sampling import draw_epoch


def make_clips(*groups: tuple[str, int, str, int]) -> Clips:
    """Make clips of (corpus, label, speaker, number)."""
    corpora, labels, speakers = (np.repeat([group[i] for group in groups], [group[3] for group in groups]) for i in range(3))
    numbers = np.arange(len(labels))
    return Clips(corpora, numbers, numbers + 1, labels, numbers.astype(str), speakers, {"A": Path("A.npy")})


UNEVEN = make_clips(("A", 0, "A/1", 20), ("A", 0, "A/2", 4), ("A", 3, "A/1", 4), ("B", 3, "B/1", 4))


def test_naturally_every_clip_comes_once_in_order() -> None:
    assert draw_epoch(UNEVEN, "natural", seed=1, round=0, epoch=1).tolist() == list(range(32))


def test_balanced_gives_emotions_and_their_speakers_equal_shares_of_as_many_draws() -> None:
    drawn = draw_epoch(UNEVEN, "balanced", seed=1, round=0, epoch=1)
    assert len(drawn) == 32
    assert Counter(UNEVEN.labels[drawn].tolist()) == {0: 16, 3: 16}
    assert Counter(zip(UNEVEN.labels[drawn].tolist(), UNEVEN.speakers[drawn], strict=True)) == {
        (0, "A/1"): 8, (0, "A/2"): 8, (3, "A/1"): 8, (3, "B/1"): 8,
    }  # fmt: skip


def test_corpora_come_first_where_they_are_to_be_balanced() -> None:
    drawn = draw_epoch(UNEVEN, "corpora", seed=1, round=0, epoch=1)
    assert Counter(UNEVEN.corpora[drawn]) == {"A": 16, "B": 16}
    assert Counter(UNEVEN.labels[drawn][UNEVEN.corpora[drawn] == "A"].tolist()) == {0: 8, 3: 8}


@pytest.mark.parametrize("sample", ["balanced", "corpora"])
def test_no_clip_comes_again_before_all_of_its_group_have_come(sample: str) -> None:
    drawn = Counter(draw_epoch(UNEVEN, sample, seed=1, round=0, epoch=1).tolist())
    for label, speaker in {(label, speaker) for label, speaker in zip(UNEVEN.labels, UNEVEN.speakers, strict=True)}:
        group = np.flatnonzero((UNEVEN.labels == label) & (UNEVEN.speakers == speaker))
        times = [drawn[i] for i in group.tolist()]
        assert max(times) - min(times) <= 1


def test_what_is_drawn_follows_from_seed_round_and_epoch_and_remainders_move() -> None:
    clips = make_clips(("A", 0, "A/1", 5), ("A", 1, "A/1", 2))
    epochs = [draw_epoch(clips, "balanced", seed=1, round=0, epoch=epoch).tolist() for epoch in range(1, 30)]
    assert epochs == [draw_epoch(clips, "balanced", seed=1, round=0, epoch=epoch).tolist() for epoch in range(1, 30)]
    assert {tuple(Counter(clips.labels[epoch].tolist()).values()) for epoch in epochs} == {(3, 4), (4, 3)}
    assert (
        draw_epoch(UNEVEN, "balanced", seed=2, round=0, epoch=1).tolist()
        != draw_epoch(UNEVEN, "balanced", seed=1, round=0, epoch=1).tolist()
    )
