"""What a command says before anything slow: told from its settings and its frames, with nothing heavy imported."""

import subprocess
import sys

import pytest

from ser_mlops.experiments.announcement import MAX_LINES, announce, announce_trainings
from ser_mlops.experiments.experiment import Experiment
from ser_mlops.experiments.plan import plan_trainings
from ser_mlops.settings.reading import read_settings
from tests.builders import tiny_frame
from tests.project import ROOT

HEAVY = ("torch", "transformers", "mlflow", "matplotlib", "optuna", "scipy")
PROGRAM = f"""
import sys
from ser_mlops.commands import parse_given
from ser_mlops.errors import SerError
from ser_mlops.experiments.announcement import announce, announce_trainings
from ser_mlops.experiments.resuming import resolve_settings
settings = resolve_settings(parse_given(["train"], "", sys.argv[1:]))
announce(settings, "training")
from ser_mlops.experiments.experiment import prepare
try:
    announce_trainings(prepare(settings))
except SerError as error:
    print(error)
print("heavy:", *sorted(set({HEAVY}) & set(sys.modules)))
"""


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--test_dataset=CREMAA"], "unknown corpus 'CREMAA', expected one of: "),
        (["--test_dataset=CREMA", "--model=tinny"], "unknown model 'tinny', expected one of: "),
    ],
)
def test_what_is_about_to_run_and_what_is_wrong_with_it_is_said_before_anything_heavy_is_imported(given, message):
    words = [sys.executable, "-c", PROGRAM, *given]
    lines = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    assert lines[0].startswith("training: indep, ")
    assert lines[1].startswith("runs: ")
    assert lines[2].startswith(message)
    assert lines[-1] == "heavy:"


def test_what_no_first_step_needs_is_not_imported_before_it():
    program = 'import sys, ser_mlops.launching.dispatch; print(*sorted({"matplotlib", "mlflow.pyfunc", "optuna"} & set(sys.modules)))'
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True).stdout == "\n"


def experiment_of(corpora: int, rounds: str = "2", **given: str) -> Experiment:
    frames = {name: tiny_frame(name, {f"{name}{fold}": fold for fold in range(3)}) for name in "ABCDEFGHIJ"[:corpora]}
    values = {"train.model": "tiny", "train.rounds": rounds, **{f"train.{name}": value for name, value in given.items()}}
    settings = read_settings(ROOT / "params.yaml", values)
    train = settings.train
    trainings = plan_trainings(
        frames,
        experiment_type=train.experiment_type,
        train_datasets=(),
        test_dataset=train.test_dataset,
        test_split_source=None,
        fold=0,
        validation_share=0.3,
        seed=1,
    )
    return Experiment(settings, trainings, dict.fromkeys(frames), is_synthetic=True)


def test_an_announcement_names_type_model_corpora_rounds_and_store(capsys, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking:5000")
    announce(experiment_of(2, test_dataset="A", freeze="encoder", epochs="1").settings, "training")
    first, second = capsys.readouterr().out.splitlines()
    assert first == ("training: indep, tiny, encoder frozen, trained and tested on A, 2 rounds of 1 epoch; raw data: data/demo")
    assert second.startswith("runs: http://tracking:5000, experiment ")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"test_dataset": "A"}, "trained and tested on A, "),
        ({"train_datasets": "B,C", "test_dataset": "A"}, "trained on B, C, tested on A, "),
        ({"test_split_source": "A"}, "trained on B, C, validated and tested on halves of A, "),
        ({"experiment_type": "matrix"}, "trained and tested on A, B, C, "),
    ],
)
def test_an_announcement_says_who_is_trained_on_and_who_is_tested(settings, expected, capsys):
    values = {f"train.{name}": value for name, value in settings.items()}
    announce(read_settings(ROOT / "params.yaml", {"train.model": "tiny", "data.corpora": "A,B,C", **values}), "training")
    assert expected in capsys.readouterr().out


@pytest.mark.parametrize(
    ("freeze", "head_lr", "has_note"), [("encoder", "0.01", True), ("encoder", "none", False), ("none", "0.01", False)]
)
def test_an_lr_without_effect_is_said(freeze, head_lr, has_note, capsys):
    announce(experiment_of(2, test_dataset="A", freeze=freeze, head_lr=head_lr, lr="1e-5").settings, "training")
    note = "note: freeze=encoder trains the head alone, which has head_lr=0.01: lr=1e-05 has no effect"
    assert (note in capsys.readouterr().out.splitlines()) is has_note


def test_the_clips_of_every_side_are_counted_and_many_trainings_are_not_listed(capsys):
    announce_trainings(experiment_of(2, test_dataset="A"))
    assert capsys.readouterr().out == "clips of A fold 0: train 9, validation 3, test A 6\n"
    announce_trainings(experiment_of(MAX_LINES + 1, experiment_type="matrix"))
    assert capsys.readouterr().out == "9 trainings on A, B, C, D, E, F, G, H, I\n"


def test_under_torchrun_the_first_process_alone_speaks(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    announce(experiment_of(1, test_dataset="A").settings, "training")
    assert capsys.readouterr().out == ""
