"""Batches: every clip once, like lengths together, the same for the same seed, round and epoch."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from ser_mlops.seeds import rng
from ser_mlops.training.batching import Clips, collate, crop, cut_windows, load_batches, plan_batches, plan_evaluation
from tests.training.builders import make_clips

LENGTHS = rng(1, "lengths").integers(16000, 160000, 501)


def _plan(round: int = 0, epoch: int = 1, seed: int = 1, batch_size: int = 4) -> list[list[int]]:
    return [batch.tolist() for batch in plan_batches(LENGTHS, batch_size, seed=seed, round=round, epoch=epoch)]


def test_an_epoch_has_every_clip_once_in_full_batches_but_one() -> None:
    plan = _plan()
    assert sorted(i for batch in plan for i in batch) == list(range(501))
    assert sorted(map(len, plan)) == [1, *[4] * 125]


def test_the_order_is_a_function_of_seed_round_and_epoch() -> None:
    assert _plan() == _plan()
    assert len({str(plan) for plan in (_plan(), _plan(seed=2), _plan(round=1), _plan(epoch=2))}) == 4


def test_clips_of_a_batch_are_of_like_length_and_meet_others_in_every_epoch() -> None:
    def padded_share(plan: list[list[int]]) -> float:
        return 1 - LENGTHS.sum() / sum(len(batch) * LENGTHS[batch].max() for batch in plan)

    shuffled = rng(1, "shuffled").permutation(501)
    assert padded_share(_plan()) < 0.08 < 0.3 < padded_share([batch.tolist() for batch in np.array_split(shuffled, 126)])
    neighbours = [{frozenset(batch) for batch in _plan(epoch=epoch)} for epoch in (1, 2)]
    assert len(neighbours[0] & neighbours[1]) <= 1


def test_the_short_batch_is_anywhere_not_always_that_of_the_longest_clips() -> None:
    lengths = np.arange(16000, 16000 + 9 * 16000, 16000)  # 9 clips, too far apart for the jitter to exchange first and last
    epochs = range(1, 401)
    alone = [int(batch[0]) for epoch in epochs for batch in plan_batches(lengths, 2, seed=1, round=0, epoch=epoch) if len(batch) == 1]
    assert len(alone) == len(epochs)
    counts = np.bincount(lengths[alone] // 16000 - 1, minlength=9)
    assert counts[[0, 2, 4, 6, 8]].min() > 0.6 * len(epochs) / 5
    assert counts[8] < 1.4 * len(epochs) / 5


def test_where_all_batches_are_full_they_are_runs_of_the_clips_by_length() -> None:
    plan = plan_batches(np.arange(1, 9) * 16000, 4, seed=1, round=0, epoch=1)
    assert sorted(sorted(batch.tolist()) for batch in plan) == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_evaluation_begins_with_the_longest_clips() -> None:
    plan = plan_evaluation(np.array([5, 9, 7, 9, 1]), 2)
    assert [batch.tolist() for batch in plan] == [[1, 3], [2, 0], [4]]


def test_a_crop_is_as_long_as_allowed_and_anywhere_in_the_wave() -> None:
    wave = np.arange(100)
    crops = [crop(wave, 10, rng(1, "crop", number)) for number in range(300)]
    assert all(len(piece) == 10 and (np.diff(piece) == 1).all() for piece in crops)
    assert {int(piece[0]) for piece in crops} >= {0, 90}
    assert len(crop(wave, 200, rng(1, "crop"))) == 100


def test_windows_tile_a_clip_in_equal_parts_that_are_not_too_long(tmp_path: Path) -> None:
    clips = make_clips(tmp_path, 7)
    windows, owners = cut_windows(clips, 2000)
    for i in range(len(clips)):
        mine = np.flatnonzero(owners == i)
        assert len(mine) == -(-clips.num_samples[i] // 2000)
        assert np.ptp(windows.num_samples[mine]) <= 1
        np.testing.assert_array_equal(np.concatenate([windows.wave(window) for window in mine]), clips.wave(i))


def test_a_batch_is_padded_with_zeros_to_its_longest_clip() -> None:
    batch = collate([(7, np.array([1, 2, 3], dtype=np.float32)), (4, np.array([5], dtype=np.float32))])
    assert batch.indices_B.tolist() == [7, 4]
    assert batch.lengths_B.tolist() == [3, 1]
    assert batch.values.tolist() == [[1, 2, 3], [5, 0, 0]]


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_come_in_plan_order_whoever_reads_them_and_leave_the_random_state_alone(tmp_path: Path, workers: int) -> None:
    clips = make_clips(tmp_path, 9)
    plan = plan_batches(clips.num_samples, 2, seed=1, round=0, epoch=1)
    before = torch.get_rng_state()
    batches = list(load_batches(plan, lambda i: clips.wave(i).astype(np.float32), workers=workers, pin_memory=False))
    assert torch.equal(torch.get_rng_state(), before)
    assert [batch.indices_B.tolist() for batch in batches] == [batch.tolist() for batch in plan]
    for batch in batches:
        for i, values, length in zip(batch.indices_B, batch.values, batch.lengths_B, strict=True):
            np.testing.assert_array_equal(values[:length], clips.wave(i))
            assert not values[length:].any()


def test_clips_that_are_sent_to_a_worker_carry_no_samples(tmp_path: Path) -> None:
    clips = make_clips(tmp_path, 9)
    wave = clips.wave(3)
    sent = pickle.dumps(clips)
    assert len(sent) < 5000
    restored: Clips = pickle.loads(sent)
    np.testing.assert_array_equal(restored.wave(3), wave)


def test_an_audio_file_that_was_written_again_is_read_again(tmp_path: Path) -> None:
    clips = make_clips(tmp_path, 3)
    old = clips.wave(0).copy()
    path = clips.audio["TOY"]
    replacement = tmp_path / "new.npy"
    np.save(replacement, -np.load(path))
    os.utime(replacement, ns=(1, 1))
    os.replace(replacement, path)
    np.testing.assert_array_equal(clips.wave(0), -old)


def test_taking_clips_keeps_their_arrays_together(tmp_path: Path) -> None:
    clips = make_clips(tmp_path, 5)
    taken = clips.take(np.array([3, 0]))
    assert taken.paths.tolist() == ["TOY/003.wav", "TOY/000.wav"]
    np.testing.assert_array_equal(taken.wave(0), clips.wave(3))
