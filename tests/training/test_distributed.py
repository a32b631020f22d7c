"""Two processes under torchrun train as one does: same batches, same losses, every clip evaluated once."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ser_mlops.training.distributed import World
from ser_mlops.training.evaluate import predict_logits
from ser_mlops.training.recipe import EvaluationRecipe
from tests.training.builders import make_noisy_model, make_setup, without_time
from tests.training.torchrun_rounds import SOFT, UNEVEN


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes got, after a real torchrun on gloo."""
    folder = tmp_path_factory.mktemp("torchrun")
    model = make_noisy_model(folder / "model")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, "-m", "tests.training.torchrun_rounds", str(folder), model]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert ended.returncode == 0, ended.stderr
    return [json.loads((folder / f"outcome{rank}.json").read_text()) for rank in (0, 1)]


def test_two_processes_have_the_losses_and_logits_of_one(tmp_path: Path, outcomes: list[dict[str, Any]]) -> None:
    setup = make_setup(tmp_path, num_train=13)
    fitted = setup.fit(epochs=2, **UNEVEN)
    logits = predict_logits(fitted.classifier, setup.validation, EvaluationRecipe(4), None, World(0, 1, torch.device("cpu")))
    for outcome in outcomes:
        for together, alone in zip(outcome["history"], without_time(fitted.history), strict=True):
            assert together == pytest.approx(alone, abs=1e-5)
        np.testing.assert_allclose(outcome["logits"], logits, atol=1e-4)


def test_two_processes_train_towards_votes_on_drawn_clips_as_one_does(tmp_path: Path, outcomes: list[dict[str, Any]]) -> None:
    setup = make_setup(tmp_path, num_train=13)
    setup.hear()
    alone = without_time(setup.fit(epochs=2, **UNEVEN, **SOFT).history)
    for outcome in outcomes:
        for together, epoch in zip(outcome["soft"], alone, strict=True):
            assert together == pytest.approx(epoch, abs=1e-5)


def test_the_first_process_alone_records(outcomes: list[dict[str, Any]]) -> None:
    assert outcomes[0]["recorded"] == outcomes[0]["history"]
    assert outcomes[1]["recorded"] == []


def test_a_signal_to_one_process_stops_both_at_the_same_step_and_the_round_resumes(outcomes: list[dict[str, Any]]) -> None:
    assert outcomes[0]["stopped"] == "SIGTERM: state saved after step 8 (epoch 2) of round 0"
    assert outcomes[1]["stopped"] == "a signal to another process: state saved after step 8 (epoch 2) of round 0"
    assert all(outcome["resumed equals undisturbed"] for outcome in outcomes)


def test_the_first_process_is_heard(outcomes: list[dict[str, Any]]) -> None:
    assert all(outcome["received"] for outcome in outcomes)


def test_shares_have_every_clip_once_even_where_one_is_empty() -> None:
    worlds = [World(rank, 3, torch.device("cpu")) for rank in range(3)]
    for size in (1, 2, 3, 7):
        shares = [world.share(np.arange(size)).tolist() for world in worlds]
        assert sorted(i for share in shares for i in share) == list(range(size))
