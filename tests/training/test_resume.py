"""Resume: a round that was killed at any moment ends as if nothing had happened, bit for bit.

Rounds run in forked processes, which really are killed.
"""

import contextlib
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ser_mlops import files
from ser_mlops.errors import CheckpointError, Interrupted
from ser_mlops.models.classifier import EmotionClassifier
from ser_mlops.seeds import rng
from ser_mlops.training import checkpoints
from ser_mlops.training.stopping import raising_interrupted, watching_signals
from tests.training.builders import Setup, make_noisy_model, make_setup, weights_of, without_time

RECIPE: dict[str, Any] = {"epochs": 3, "augment": ("gain", "noise"), "accumulate": 2, "checkpoint_every": 1, "schedule": "linear"}
STOPPED = 7
fork = multiprocessing.get_context("fork")


class Journal:
    """A recorder that keeps what is recorded in a file, each epoch once."""

    def __init__(self, path: Path):
        self.path = path

    def lines(self) -> list[dict[str, Any]]:
        text = self.path.read_text() if self.path.exists() else ""
        return [json.loads(line) for line in text.splitlines() if line.endswith("}")]

    def epoch(self, epoch: int, metrics: dict[str, float]) -> None:
        recorded = {"epoch": epoch, **{name: value for name, value in metrics.items() if name != "seconds"}}
        kept = self.lines()
        if epoch <= len(kept):
            assert kept[epoch - 1] == recorded
            return
        files.write_text(self.path, "".join(json.dumps(line) + "\n" for line in [*kept, recorded]))


def _setup(folder: Path, name: str) -> Setup:
    setup = make_setup(folder, model=make_noisy_model(folder / "model"))
    setup.recorded = Journal(folder / f"{name}.journal")  # type: ignore[assignment]
    return setup


def _run(setup: Setup, name: str, rounds: int, changes: dict[str, Any], before: Callable[[], None] = lambda: None) -> None:
    """Run some rounds, then write down what came out; the body of a child process."""
    before()
    try:
        outcome = []
        for setup.round in range(rounds):
            setup.recorded = Journal(setup.folder / f"{name}.{setup.round}.journal")  # type: ignore[assignment]
            fitted = setup.fit(f"{name}/{setup.round}", **{**RECIPE, **changes})
            weights = {key: value.hex() for key, value in weights_of(fitted).items()}
            outcome.append([fitted.best_epoch, without_time(fitted.history), setup.recorded.lines(), weights])  # type: ignore[attr-defined]
    except Interrupted:
        sys.exit(STOPPED)
    files.write_text(setup.folder / f"{name}.json", json.dumps(outcome))


def _start(*arguments: Any) -> multiprocessing.Process:
    process = fork.Process(target=_run, args=arguments)
    process.start()
    return process  # type: ignore[return-value]


def _finish(*arguments: Any) -> int | None:
    process = _start(*arguments)
    process.join()
    return process.exitcode


def _outcome(setup: Setup, name: str) -> Any:
    return json.loads((setup.folder / f"{name}.json").read_text())


def _seconds_of(*arguments: Any) -> float:
    """Run to the end; return the processor time that it took, which other work on the machine does not stretch as it does the hour."""
    before = os.times()
    assert _finish(*arguments) == 0
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def _end_after(seconds: float) -> None:
    """Have the kernel end this process when it has computed for so long."""
    os.setpgid(0, 0)
    signal.setitimer(signal.ITIMER_PROF, seconds)


def _kill_at_random(setup: Setup, name: str, rounds: int, changes: dict[str, Any], kills: int, seconds: float) -> int:
    """Kill a run again and again, when it has used a random part of the seconds, then let it end; return how many kills met it."""
    random = rng(len(name), "kills", *map(str, changes.values()))
    met = 0
    for _ in range(kills):
        process = _start(setup, name, rounds, changes, partial(_end_after, random.uniform(0.02, seconds)))
        process.join()
        met += process.exitcode == -signal.SIGPROF
        with contextlib.suppress(ProcessLookupError):  # a reader of clips that had just been started does not see that it is alone
            os.killpg(process.pid, signal.SIGKILL)
    assert _finish(setup, name, rounds, changes) == 0
    return met


@pytest.mark.parametrize("workers", [0, 2])
def test_a_round_killed_at_random_moments_ends_as_the_undisturbed_one(tmp_path: Path, workers: int) -> None:
    setup = _setup(tmp_path, "round")
    seconds = _seconds_of(setup, "undisturbed", 1, {})
    assert _kill_at_random(setup, "killed", 1, {"workers": workers}, 3, seconds / 2) > 0
    assert _outcome(setup, "killed") == _outcome(setup, "undisturbed")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_three_rounds_killed_ten_times_end_as_the_undisturbed_ones(tmp_path: Path, workers: int) -> None:
    setup = _setup(tmp_path, "rounds")
    changes = {"epochs": 5, "workers": workers}
    seconds = _seconds_of(setup, "undisturbed", 3, changes)
    assert _kill_at_random(setup, "killed", 3, changes, 10, seconds / 8) == 10
    assert _outcome(setup, "killed") == _outcome(setup, "undisturbed")


@pytest.mark.parametrize(
    ("mode", "more"),
    [
        ("feature_encoder", {}),
        ("encoder:1", {}),
        ("encoder", {}),
        ("encoder", {"feature_norm": "corpus", "head_lr": 1e-2}),
        ("feature_encoder", {"adapter": "lora", "lora_dropout": 0.2, "head_lr": 1e-2, "layer_decay": 0.5, "class_weights": 0.5}),
    ],
)
def test_a_round_over_cached_outputs_resumes_too(tmp_path: Path, mode: str, more: dict[str, Any]) -> None:
    setup = _setup(tmp_path, "round")
    setup.features = setup.cache(mode)
    changes = {"freeze": mode, "augment": (), **more}
    assert _finish(setup, "undisturbed", 1, changes) == 0
    assert _finish(setup, "killed", 1, changes, _die_before_rename(5)) == -signal.SIGKILL
    assert _finish(setup, "killed", 1, changes) == 0
    assert _outcome(setup, "killed") == _outcome(setup, "undisturbed")


def _die_before_rename(number: int) -> Callable[[], None]:
    """Kill the process between the writing of its n-th file and the rename that would have put it in place."""

    def arm() -> None:
        rename, calls = os.replace, iter(range(number, -1, -1))

        def die_or_rename(source: Path, target: Path) -> None:
            if next(calls) == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            rename(source, target)

        os.replace = die_or_rename  # type: ignore[assignment]

    return arm


def test_a_kill_between_any_write_and_its_rename_is_mended(tmp_path: Path) -> None:
    setup = _setup(tmp_path, "round")
    changes = {"epochs": 2, "accumulate": 4, "augment": ()}  # 2 steps an epoch: state, state, best, state, journal; …
    assert _finish(setup, "undisturbed", 1, changes) == 0
    for number in range(1, 10):
        name = f"killed{number}"
        assert _finish(setup, name, 1, changes, _die_before_rename(number)) == -signal.SIGKILL
        assert _finish(setup, name, 1, changes) == 0
        assert _outcome(setup, name) == _outcome(setup, "undisturbed")
        assert not [path for path in (tmp_path / name).rglob("*") if path.name.startswith(".")], "something half-written was left"


@pytest.mark.parametrize(("number", "workers"), [(signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGTERM, 2)])
def test_a_signal_to_the_whole_group_saves_the_state_and_the_round_goes_on_later(tmp_path: Path, number: int, workers: int) -> None:
    setup = _setup(tmp_path, "round")
    assert _finish(setup, "undisturbed", 1, {"checkpoint_every": 0}) == 0
    changes = {"checkpoint_every": 0, "workers": workers}

    def signal_group_soon() -> None:
        os.setpgid(0, 0)
        journal = tmp_path / "stopped.0.journal"
        if os.fork() == 0:
            while not journal.exists():
                time.sleep(0.005)
            os.killpg(os.getpgid(0), number)
            os._exit(0)

    assert _finish(setup, "stopped", 1, changes, signal_group_soon) == STOPPED
    assert _finish(setup, "stopped", 1, changes) == 0
    assert _outcome(setup, "stopped") == _outcome(setup, "undisturbed")


def test_a_signal_in_the_last_epoch_finishes_the_round_and_then_stops(tmp_path: Path) -> None:
    setup = make_setup(tmp_path)

    class Signalling(type(setup.recorded)):  # type: ignore[misc]
        def epoch(self, epoch: int, metrics: dict[str, float]) -> None:
            super().epoch(epoch, metrics)
            if epoch == 2:
                os.kill(os.getpid(), signal.SIGTERM)

    setup.recorded = Signalling()
    with pytest.raises(Interrupted, match="SIGTERM: round 0 is finished and saved"):
        setup.fit(epochs=2)
    setup.recorded = type(setup.recorded).__mro__[1]()
    assert len(setup.fit(epochs=2).history) == 2


def test_a_signal_during_an_evaluation_saves_the_state_before_it(tmp_path: Path) -> None:
    setup = make_setup(tmp_path)
    undisturbed = setup.fit("undisturbed")

    def ask(module: nn.Module, inputs: object) -> None:
        if isinstance(module, EmotionClassifier) and not module.training:
            hook.remove()
            os.kill(os.getpid(), signal.SIGTERM)

    hook = nn.modules.module.register_module_forward_pre_hook(ask)
    setup.recorded = type(setup.recorded)()
    with pytest.raises(Interrupted, match=r"SIGTERM during an evaluation: state saved after step 6 \(epoch 1\) of round 0"):
        setup.fit("stopped")
    resumed = setup.fit("stopped")
    assert weights_of(resumed) == weights_of(undisturbed)
    assert without_time(resumed.history) == without_time(undisturbed.history)
    assert setup.recorded.epochs == dict(enumerate(resumed.history, start=1))


def test_the_message_of_an_interruption_says_where_it_stands_and_handlers_return(tmp_path: Path) -> None:
    setup = make_setup(tmp_path)
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]

    class Signalling(type(setup.recorded)):  # type: ignore[misc]
        def epoch(self, epoch: int, metrics: dict[str, float]) -> None:
            super().epoch(epoch, metrics)
            os.kill(os.getpid(), signal.SIGINT)

    setup.recorded = Signalling()
    with pytest.raises(Interrupted, match=r"SIGINT: state saved after step 7 \(epoch 2\) of round 0"):
        setup.fit(epochs=2)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == handlers


def test_a_repeated_signal_disturbs_neither_the_saving_nor_what_closes_after_it(tmp_path: Path) -> None:
    setup = make_setup(tmp_path)
    undisturbed = setup.fit("undisturbed")

    class Signalling(type(setup.recorded)):  # type: ignore[misc]
        def epoch(self, epoch: int, metrics: dict[str, float]) -> None:
            super().epoch(epoch, metrics)
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)

    def command() -> None:
        with raising_interrupted():
            try:
                setup.fit("stopped")
            finally:
                os.kill(os.getpid(), signal.SIGTERM)

    setup.recorded = Signalling()
    with pytest.raises(Interrupted, match="SIGINT: state saved after step 7"):
        command()
    setup.recorded = type(setup.recorded).__mro__[1]()
    assert weights_of(setup.fit("stopped")) == weights_of(undisturbed)


def test_a_signal_that_comes_after_the_stop_of_another_process_disturbs_nothing() -> None:
    def command() -> None:
        with raising_interrupted():
            try:
                with watching_signals():
                    raise Interrupted("a signal to another process")
            finally:
                os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match="a signal to another process"):
        command()


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"lr": 0.5}, "its lr is 0.001, that of this call is 0.5"),
        ({"epochs": 3}, "its epochs is 2, that of this call is 3"),
        ({"augment": ("gain",)}, r"its augment is \(\), that of this call is \('gain',\)"),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused_with_the_difference(tmp_path: Path, changes: dict[str, Any], difference: str) -> None:
    setup = make_setup(tmp_path)
    setup.fit()
    with pytest.raises(CheckpointError, match=difference):
        setup.fit(**changes)


def test_a_checkpoint_of_other_data_another_round_or_other_code_is_refused(tmp_path: Path) -> None:
    setup = make_setup(tmp_path, identity={"code": "one"})
    setup.fit()
    for change, message in (
        ({"identity": {"code": "two"}}, "its code is one, that of this call is two"),
        ({"round": 1}, "its round is 0, that of this call is 1"),
        ({"seed": 2}, "its seed is 1, that of this call is 2"),
        ({"train": setup.validation}, "its training clips is"),
    ):
        other = make_setup(tmp_path, identity={"code": "one"})
        for name, value in change.items():
            setattr(other, name, value)
        with pytest.raises(CheckpointError, match=message):
            other.fit()


def test_a_state_of_another_number_of_threads_is_refused(tmp_path: Path) -> None:
    setup = make_setup(tmp_path)
    setup.fit()
    torch.set_num_threads(2)
    try:
        with pytest.raises(CheckpointError, match="its threads is 1, that of this call is 2"):
            setup.fit()
    finally:
        torch.set_num_threads(1)


def test_settings_that_change_no_number_may_change_on_resume(tmp_path: Path) -> None:
    setup = make_setup(tmp_path)
    first = setup.fit()
    assert setup.fit(workers=2, checkpoint_every=3).history == first.history


def test_what_was_saved_before_it_could_be_recorded_is_recorded_on_resume(tmp_path: Path) -> None:
    setup = make_setup(tmp_path)

    class Failing(type(setup.recorded)):  # type: ignore[misc]
        def epoch(self, epoch: int, metrics: dict[str, float]) -> None:
            if epoch == 2:
                raise ConnectionError("the tracking server is unreachable")
            super().epoch(epoch, metrics)

    setup.recorded = recorded = Failing()
    with pytest.raises(ConnectionError):
        setup.fit(epochs=3)
    assert list(recorded.epochs) == [1]
    setup.recorded = type(setup.recorded).__mro__[1]()
    fitted = setup.fit(epochs=3)
    assert setup.recorded.epochs == dict(enumerate(fitted.history, start=1))
    assert setup.recorded.epochs[1] == recorded.epochs[1]
    assert checkpoints.LAST in {path.name for path in (tmp_path / "round").iterdir()}


def test_a_round_towards_votes_on_drawn_clips_resumes_too(tmp_path: Path) -> None:
    setup = _setup(tmp_path, "round")
    setup.hear()
    changes = {"targets": "soft", "sample": "balanced", "loss": "focal", "class_weights": "balanced"}
    assert _finish(setup, "undisturbed", 1, changes) == 0
    assert _finish(setup, "killed", 1, changes, _die_before_rename(5)) == -signal.SIGKILL
    assert _finish(setup, "killed", 1, changes) == 0
    assert _outcome(setup, "killed") == _outcome(setup, "undisturbed")
