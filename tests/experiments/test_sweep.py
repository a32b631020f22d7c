"""Sweeps with real Optuna studies, a real MLflow store and the tiny model: the same trials whatever disturbs them, each once."""

import multiprocessing
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import mlflow
import numpy as np
import optuna
import pandas as pd
import pytest
import sqlalchemy
import torch
from optuna.pruners import MedianPruner
from optuna.storages import RDBStorage

from ser_mlops.commands import parse_given, run_command
from ser_mlops.data.lock import Version
from ser_mlops.errors import SettingsError, TrackingError, TrainingError
from ser_mlops.experiments import study as studies
from ser_mlops.experiments.experiment import Experiment
from ser_mlops.experiments.plan import plan_trainings
from ser_mlops.experiments.study import Pruned, Search, Study, TrialState, open_study
from ser_mlops.experiments.study_storage import open_journal
from ser_mlops.experiments.sweep import Sweep, prepare_sweep
from ser_mlops.launching.sweep_job import conduct_sweep
from ser_mlops.settings.reading import parse_settings, read_settings
from ser_mlops.settings.sections import Choices, Range
from ser_mlops.tracking.store import open_store, read_artifact
from tests.builders import tiny_frame
from tests.project import mlflow_run
from tests.servers import Postgres
from tests.tracking.builders import content_of_experiment, in_store

ROOT = Path(__file__).parents[2]
GIVEN = {
    "train.test_dataset": "TESS",
    "train.model": "tiny",
    "train.freeze": "encoder",
    "train.epochs": "3",
    "train.rounds": "2",
    "train.lr": "0.003",
    "train.batch_size": "8",
    "sweep.study": "s",
    "sweep.trials": "6",
    "sweep.startup_trials": "3",
}


# A laboratory of one corpus of tones


def furnish(folder: Path) -> None:
    """Make a folder a project with one decoded corpus: 36 clips of a second, whose pitch tells the emotion through noise."""
    frame = toy_frame()
    noise = np.random.default_rng(1)
    seconds = np.arange(16000) / 16000
    waves = [4000 * np.sin(2 * np.pi * (200 + 150 * label) * seconds) + noise.normal(0, 3000, 16000) for label in frame["labels"]]
    (folder / "data/audio").mkdir(parents=True)
    np.save(folder / "data/audio/TESS.npy", np.concatenate(waves).astype(np.int16))
    frame.assign(defect="")[["path", "start", "num_samples", "sha256", "defect"]].to_parquet(folder / "data/audio/TESS.parquet")
    shutil.copy(ROOT / "params.yaml", folder)
    shutil.copy(ROOT / "data/own_corpora.py", folder / "data")


def toy_frame() -> pd.DataFrame:
    return tiny_frame("TESS", {speaker: fold for fold, speaker in enumerate("abcdef")})


def sweep_of(space: Mapping[str, Range | Choices] | None = None, md5: str = "0" * 32, **given: str) -> Sweep:
    """Prepare a sweep in the working directory; `given` are settings whose dot is written as two underscores."""
    settings = read_settings(given=GIVEN | {name.replace("__", "."): value for name, value in given.items()})
    if space is not None:
        settings = settings.model_copy(update={"sweep": settings.sweep.model_copy(update={"space": space})})
    trainings = plan_trainings(
        {"TESS": toy_frame()},
        experiment_type="indep",
        train_datasets=(),
        test_dataset="TESS",
        test_split_source=None,
        fold=0,
        validation_share=0.3,
        seed=1,
    )
    version = Version(Path("data/frames/TESS.parquet"), md5, Path("data/audio/TESS.npy"), "1" * 32)
    return prepare_sweep(Experiment(settings, trainings, {"TESS": version}, is_synthetic=True), settings.sweep)


PROCESSES = multiprocessing.get_context("forkserver")


@dataclass
class Command:
    """A sweep in a process of its own."""

    process: BaseProcess
    log: Path

    def finish(self, code: int = 0) -> str:
        """Wait for its end; return what it printed."""
        self.process.join(timeout=240)
        output = self.log.read_text()
        assert self.process.exitcode == code, output
        return output


def run_in(folder: Path, log: Path, given: Mapping[str, str]) -> None:
    """Run a sweep in a folder, as a command does."""
    os.chdir(folder)
    os.environ["PYTHONPATH"] = str(ROOT)  # a command's own processes import the project from here
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    torch.set_num_threads(1)
    run_command(lambda: conduct_sweep(sweep_of(**given)))


@dataclass
class Lab:
    """A furnished folder with a store of its own."""

    folder: Path

    def start(self, **given: str) -> Command:
        """Start a sweep in a process of its own."""
        log = self.folder / f"{len(list(self.folder.glob('*.log')))}.log"
        log.touch()
        process = PROCESSES.Process(target=run_in, args=(self.folder, log, given))
        process.start()
        return Command(process, log)

    @property
    def journal(self) -> Path:
        return self.folder / "studies/s.journal"

    def num_lines(self) -> int:
        return self.journal.read_bytes().count(b"\n") if self.journal.exists() else 0

    def kill_at(self, line: int) -> bool:
        """Run a sweep and kill it with SIGKILL once the journal has so many lines; return whether it was still at work."""
        command = self.start()
        while command.process.is_alive() and self.num_lines() < line:
            time.sleep(0.001)
        was_alive = command.process.is_alive()
        command.process.kill()
        command.finish(-signal.SIGKILL if was_alive else 0)
        return was_alive

    def study(self, storage: str | None = None) -> optuna.Study:
        """Open the study; of a database no connection stays open, as tests that wait for something open it many times."""
        not_pooled = {"poolclass": sqlalchemy.pool.NullPool}
        opened = open_journal(self.journal) if storage is None else RDBStorage(storage, engine_kwargs=not_pooled)
        return optuna.load_study(study_name="s", storage=opened)

    def history(self, storage: str | None = None) -> dict:
        """Everything that study and store hold, but for times and what is drawn of them."""
        study = self.study(storage)
        client = open_store()
        runs = content_of_experiment(client, study.user_attrs["parent"])
        for run in runs.values():
            run["metrics"] = {name: points for name, points in run["metrics"].items() if "seconds" not in name}
            run["tags"] = {name: re.sub("%22|[0-9a-f]{32}", "", text) for name, text in run["tags"].items()}
            run["artifacts"] = {
                name: name.endswith((".png", "trials.csv", "history.csv", "end.txt", ".md")) or content
                for name, content in run["artifacts"].items()
            }
        return {
            "trials": [
                (
                    trial.number,
                    trial.state,
                    trial.value if trial.state == TrialState.COMPLETE else None,
                    trial.params,
                    trial.intermediate_values,
                )
                for trial in study.trials
            ],
            "runs": runs,
        }


@pytest.fixture(scope="session")
def processes(tmp_path_factory) -> None:
    """Start the server that processes are forked from, with everything imported and none of the caller's MLflow settings."""
    PROCESSES.set_forkserver_preload(["tests.experiments.test_sweep"])
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
            patch.delenv(name)
        patch.chdir(ROOT)
        first = PROCESSES.Process(target=int)
        first.start()
        first.join()


@pytest.fixture(scope="session")
def furnished(processes, tmp_path_factory) -> Path:
    """A laboratory with a fresh store, to be copied."""
    folder = tmp_path_factory.mktemp("furnished")
    furnish(folder)
    with in_store(f"sqlite:///{folder}/mlflow.db", folder):
        open_store()
    return folder


def copy_of(furnished: Path, folder: Path) -> Path:
    return Path(shutil.copytree(furnished, folder))


@pytest.fixture
def lab(furnished, tmp_path) -> Iterator[Lab]:
    folder = copy_of(furnished, tmp_path / "lab")
    with in_store(f"sqlite:///{folder}/mlflow.db", folder):
        yield Lab(folder)


@pytest.fixture(scope="session")
def swept(furnished, tmp_path_factory) -> Path:
    """A laboratory in which a sweep ran undisturbed, by one worker, and then once more."""
    folder = copy_of(furnished, tmp_path_factory.mktemp("swept") / "lab")
    with in_store(f"sqlite:///{folder}/mlflow.db", folder):
        conduct_sweep(sweep_of())
    return folder


@pytest.fixture
def undisturbed(swept) -> Iterator[Lab]:
    with in_store(f"sqlite:///{swept}/mlflow.db", swept):
        yield Lab(swept)


def children(lab: Lab, beginning: str) -> dict[str, mlflow.entities.Run]:
    client = open_store()
    runs = client.search_runs([client.get_experiment_by_name("ser").experiment_id], max_results=1000)
    return {key: run for run in runs if (key := run.data.tags.get("training")) and key.startswith(beginning)}


def parent_of(lab: Lab) -> mlflow.entities.Run:
    return open_store().get_run(lab.study().user_attrs["parent"])


# What a sweep does


def test_trial_0_holds_the_defaults_and_later_ones_lie_in_the_space(undisturbed):
    trials = undisturbed.study().trials
    assert trials[0].params == {"lr": 0.003, "weight_decay": 0.005}
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 6
    assert all(1e-6 <= trial.params["lr"] <= 1e-2 and 1e-4 <= trial.params["weight_decay"] <= 1e-1 for trial in trials)
    assert len({trial.params["lr"] for trial in trials}) == 6


def test_a_value_is_the_mean_over_rounds_of_the_best_validation_score(undisturbed):
    client = open_store()
    runs = children(undisturbed, "trial ")
    for trial in undisturbed.study().trials:
        run = runs[f"trial {trial.number}"]
        best = [max(point.value for point in client.get_metric_history(run.info.run_id, f"round{round}/val/uar")) for round in (0, 1)]
        assert trial.value == np.mean(best) == run.data.metrics["best/val_uar"]
        assert trial.intermediate_values[6] == trial.value
        assert trial.intermediate_values[3] == best[0]


def test_only_the_best_settings_are_tested(undisturbed):
    best = undisturbed.study().best_trial
    for run in children(undisturbed, "trial ").values():
        assert not [name for name in run.data.metrics if "test/" in name]
    tested = children(undisturbed, "best: ")
    assert sorted(tested) == ["best: TESS fold 0 round 0", "best: TESS fold 0 round 1"]
    for run in tested.values():
        assert "test/uar" in run.data.metrics
        assert float(run.data.params["train.lr"]) == best.params["lr"]
    assert "test/uar_mean" in parent_of(undisturbed).data.metrics


def test_every_run_is_finished_and_describes_itself(undisturbed):
    runs = [parent_of(undisturbed), *children(undisturbed, "").values()]
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert {run.data.tags["kind"] for run in runs} == {"sweep", "indep"}
    trial = children(undisturbed, "trial 3")["trial 3"]
    assert float(trial.data.params["train.lr"]) == undisturbed.study().trials[3].params["lr"]
    assert trial.data.tags["study"] == "s"


def test_the_parent_holds_table_figures_and_the_best_settings(undisturbed):
    client, study, parent = open_store(), undisturbed.study(), parent_of(undisturbed)
    table = pd.read_csv(read_artifact(client, parent.info.run_id, "trials.csv"))
    assert table["value"].tolist() == [trial.value for trial in study.trials]
    drawn = {Path(item.path).stem for item in client.list_artifacts(parent.info.run_id, "figures")}
    assert {"history", "intermediate_values", "contour", "parallel", "importances"} <= drawn
    best = parse_settings(read_artifact(client, parent.info.run_id, "best.yaml").read_text(), "best.yaml")
    assert best.train.lr == study.best_params["lr"]
    assert parent.data.metrics["best_trial"] == study.best_trial.number
    assert parent.data.metrics["best/val_uar_of_trial"] == study.best_value


def test_the_command_of_the_best_trial_gives_its_settings(undisturbed):
    client, parent = open_store(), parent_of(undisturbed)
    command = read_artifact(client, parent.info.run_id, "best_command.txt").read_text()
    words = shlex.split(command)
    assert words[:3] == ["mlflow", "run", "."]
    assert set(words[3::2]) == {"-P"}
    given = parse_given(["train"], "", [f"--{word}" for word in words[4::2]])
    best = parse_settings(read_artifact(client, parent.info.run_id, "best.yaml").read_text(), "best.yaml")
    assert read_settings(given=given).train == best.train


def test_the_same_command_again_trains_nothing_and_tests_nothing(undisturbed, capsys):
    before = undisturbed.history()
    conduct_sweep(sweep_of())
    assert undisturbed.history() == before
    assert "to train with the best settings:\n  mlflow run . -P test_dataset=TESS" in capsys.readouterr().out


def test_a_study_whose_best_was_tested_gets_no_more_trials(undisturbed):
    with pytest.raises(SettingsError, match=r"the best trial of study 's' was tested already: continue under another name \(study\)"):
        conduct_sweep(sweep_of(sweep__trials="7"))
    with pytest.raises(SettingsError, match=r"study 's' has 6 trials already, trials=5 is fewer"):
        conduct_sweep(sweep_of(sweep__trials="5"))
    assert parent_of(undisturbed).info.status == "FINISHED"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"space": {"lr": Range(low=1e-6, high=1e-2, log=True)}}, "space of weight_decay was "),
        ({"md5": "f" * 32}, "frame of TESS was 0{32}, now f{32}"),
        ({"train__epochs": "4"}, "train.epochs was 3, now 4"),
        ({"sweep__sampler": "random"}, "sampler was tpe, now random"),
    ],
)
def test_a_study_of_something_else_is_refused(undisturbed, changes, named):
    with pytest.raises(SettingsError, match=rf"study 's' exists and searches something else \({named}.*choose another name"):
        conduct_sweep(sweep_of(**changes))


def test_a_study_without_a_name_is_named_after_what_it_depends_on(lab):
    names = {
        sweep_of(**given).name
        for given in (
            {"sweep__study": ""},
            {"sweep__study": "", "train__epochs": "4"},
            {"sweep__study": "", "md5": "2" * 32},
            {"sweep__study": "", "sweep__sampler": "random"},
            {"sweep__study": "", "space": {"lr": Range(low=1e-5, high=1e-2, log=True)}},
        )
    }
    assert len(names) == 5
    assert sweep_of(sweep__study="", sweep__trials="9", sweep__workers="2", paths__cache="elsewhere").name in names


# What is refused


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({}, "sweep.space is empty, expected some of: epochs, lr, weight_decay"),
        ({"lr": Range(low=1e-2, high=1e-6, log=True)}, "sweep.space.lr: low 0.01 and high 1e-06 are not a range, expected 0 < low < high"),
        ({"lr": Range(low=1e-3, high=1e-3, log=False)}, "sweep.space.lr: low 0.001 and high 0.001 are not a range, expected low < high"),
        ({"weight_decay": Range(low=0, high=0.1, log=True)}, "sweep.space.weight_decay: low 0 and high 0.1 are not a range"),
        (
            {"learning_rate": Range(low=0, high=1, log=False)},
            "sweep.space: unknown setting 'learning_rate', expected one of: epochs, lr, weight_decay",
        ),
        ({"model": Choices(choices=("HuB-LL", "tiny"))}, "sweep.space: unknown setting 'model'"),
        ({"schedule": Range(low=0, high=1, log=False)}, "sweep.space.schedule: a range of numbers is not accepted, expected choices"),
        ({"schedule": Choices(choices=("constant", "cosin"))}, "sweep.space: train.schedule: cosin is not accepted, expected"),
        ({"batch_size": Range(low=1.5, high=8, log=False)}, "sweep.space: train.batch_size: 1.5 is not accepted, expected"),
        ({"batch_size": Choices(choices=())}, "sweep.space.batch_size: choices is empty"),
        ({"lr": Range(low=-1, high=1, log=False)}, "sweep.space: train.lr: -1.0 is not accepted, expected"),
        ({"lr": Range(low=1e-6, high=1e-4, log=True)}, "sweep.space.lr does not contain the default 0.003, which trial 0 uses"),
        ({"batch_size": Choices(choices=(2, 4))}, "sweep.space.batch_size does not contain the default 8"),
        ({"clip_norm": Range(low=1, high=2, log=False)}, "sweep.space.clip_norm does not contain the default None"),
    ],
)
def test_a_wrong_space_is_refused_before_anything_is_computed(lab, space, message):
    with pytest.raises(SettingsError) as refusal:
        sweep_of(space)
    assert str(refusal.value).startswith(message)
    assert not (lab.folder / "studies").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sweep__sampler": "annealing"}, "sampler=annealing is not accepted, expected 'tpe' or 'random'"),
        ({"sweep__pruner": "wilcoxon"}, "pruner=wilcoxon compares rounds and cannot stop a trial of 2: set rounds to 4 or more"),
        ({"sweep__study": "../s"}, r"study=\.\./s is not accepted, expected a name that a file can have"),
        ({"train__register": "ser"}, "a sweep registers no model: give register with the command that trains with its best settings"),
        ({"train__resume": "abc"}, "the same command resumes a sweep: give it again, without resume"),
    ],
)
def test_wrong_settings_are_refused(lab, given, message):
    with pytest.raises(SettingsError, match=message):
        sweep_of(**given)


@pytest.mark.parametrize("url", ["postgresql://nobody@127.0.0.1:1/none", "nonsense", "oracle://there"])
def test_a_storage_that_cannot_be_opened_is_named(lab, url):
    with pytest.raises(SettingsError, match=f"storage={url} cannot be opened .*, expected a URL such as postgresql://"):
        conduct_sweep(sweep_of(sweep__storage=url))


# Pruning


def small_study(folder: Path, pruner: str, trials: int = 8) -> Study:
    search = Search(
        space={"lr": Range(low=1e-5, high=1e-1, log=True)}, integers=frozenset(), sampler="tpe", startup_trials=3, pruner=pruner, seed=1
    )
    study = open_study("s", search, maximize=True, identity={}, storage=None, folder=folder)
    study.add_trials(trials, {"lr": 1e-3})
    return study


def reported(study: Study, *values: float) -> None:
    """Take a trial and report values at the steps 0, 1, …; its value is their mean."""
    trial = study.take()
    trial.suggest()
    try:
        for step, value in enumerate(values):
            trial.report(value, step)
    except Pruned:
        trial.prune()
    else:
        trial.complete(float(np.mean(values)))


@pytest.mark.parametrize(("pruner", "bad"), [("median", [0.1]), ("wilcoxon", [0.1, 0.2, 0.1, 0.3])])
def test_a_pruned_trial_has_no_value_and_cannot_be_the_best(tmp_path, pruner, bad):
    study = small_study(tmp_path, pruner)
    for i in range(6):
        reported(study, *(0.5 + 0.01 * i + 0.001 * step for step in range(5)))
    reported(study, *bad, 9.0)
    table = study.table()
    assert table["state"].tolist() == ["COMPLETE"] * 6 + ["PRUNED", "WAITING"]
    assert np.isnan(table["value"][6])
    assert study.best().number == 5
    assert study.reports().query("number == 6")["value"].tolist() == bad


def test_wilcoxon_needs_four_rounds(tmp_path):
    study = small_study(tmp_path, "wilcoxon")
    reported(study, 0.9, 0.9, 0.9)
    reported(study, 0.1, 0.1, 0.1)
    assert study.table()["state"][:2].tolist() == ["COMPLETE"] * 2


def test_pruned_trials_are_finished_runs_without_a_value(lab, monkeypatch):
    monkeypatch.setitem(studies.PRUNERS, "median", lambda: MedianPruner(n_startup_trials=1))
    space = {"lr": Range(low=1e-9, high=1e-1, log=True)}
    conduct_sweep(sweep_of(space, train__rounds="1", train__epochs="4", sweep__pruner="median", sweep__sampler="random"))
    trials = lab.study().trials
    runs = children(lab, "trial ")
    pruned = [trial for trial in trials if trial.state == TrialState.PRUNED]
    assert pruned
    for trial in trials:
        run = runs[f"trial {trial.number}"]
        assert run.info.status == "FINISHED"
        assert ("best/val_uar" in run.data.metrics) == (trial not in pruned)
        assert ("pruned" in run.data.tags) == (trial in pruned)


# Failures


def test_a_trial_that_fails_is_retried_once_and_then_failed(lab):
    space = {"lr": Choices(choices=(0.003, 1e38, 1.1e38))}
    conduct_sweep(sweep_of(space, sweep__sampler="random"))
    trials, runs = lab.study().trials, children(lab, "trial ")
    failed = [trial for trial in trials if trial.params["lr"] > 1]
    assert failed
    for trial in trials:
        run = runs[f"trial {trial.number}"]
        if trial in failed:
            assert trial.state == TrialState.FAIL
            first, second = trial.user_attrs["failures"]
            assert first == second
            assert first.startswith("the lo")
            assert run.info.status == "FAILED"
            assert first in run.data.tags["mlflow.note.content"]
        else:
            assert trial.state == TrialState.COMPLETE
            assert run.info.status == "FINISHED"
    assert parent_of(lab).info.status == "FINISHED"


def test_a_sweep_without_a_complete_trial_fails_and_says_why(lab):
    with pytest.raises(TrainingError, match=r"no trial of study 's' is complete: the lo.*lower lr"):
        conduct_sweep(sweep_of({"lr": Choices(choices=(1e38,))}, train__lr="1e38", sweep__trials="2"))
    assert parent_of(lab).info.status == "FAILED"
    assert {run.info.status for run in children(lab, "trial ").values()} == {"FAILED"}
    assert {run.info.status for run in children(lab, "").values()} == {"FAILED", "KILLED"}


def dead_worker() -> str:
    """The signature of a process of this machine that is gone."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    return f"{os.uname().nodename} {gone.pid} {time.time()}"


def sign(study: Study, number: int, worker: str) -> None:
    study._storage.set_trial_user_attr(study._id_of(number), "worker", worker)


def test_a_trial_in_which_two_workers_died_is_given_up(tmp_path):
    study = small_study(tmp_path, "none", trials=1)
    for deaths in (1, 2):
        trial = study.take()
        assert trial.is_new == (deaths == 1)
        assert not trial.is_given_up
        sign(study, 0, dead_worker())
        assert study.requeue_dead("its worker ended with code -9") == [0]
    trial = study.take()
    assert trial.is_given_up
    assert not trial.fail(trial.failures[-1])
    assert study.table()["state"].tolist() == ["FAIL"]
    assert study.table()["failures"].tolist() == ["its worker ended with code -9; its worker ended with code -9"]


# Who works on what


def test_only_trials_of_dead_workers_wait_again(tmp_path):
    study = small_study(tmp_path, "none", trials=4)
    for _ in range(4):
        assert study.take().number is not None
    sign(study, 1, dead_worker())
    sign(study, 2, "elsewhere 1 0.0")
    sign(study, 3, "elsewhere 2 0.0")
    study.share(**{"alive: elsewhere 1 0.0": time.time() - 10, "alive: elsewhere 2 0.0": time.time() - 1000})
    assert study.requeue_dead() == [1, 3]
    assert [trial.state.name for trial in study.trials()] == ["RUNNING", "WAITING", "RUNNING", "WAITING"]
    assert study.take().number == 1
    assert study.take().number == 3
    assert study.take() is None


def test_one_process_leads_until_it_is_gone(tmp_path):
    study = small_study(tmp_path, "none")
    study.share(leader="elsewhere 1 0.0", **{"alive: elsewhere 1 0.0": time.time()})
    assert not study.claim_lead()
    study.share(**{"alive: elsewhere 1 0.0": time.time() - 1000})
    assert study.claim_lead()
    assert study.claim_lead()
    study.share(leader=dead_worker())
    assert study.claim_lead()
    study.resign()
    assert study.shared("leader") is None
    study.share(leader="elsewhere 1 0.0")
    study.resign()
    assert study.shared("leader") == "elsewhere 1 0.0", "another's lead is not to be given away"


def test_a_trial_that_was_cut_off_between_two_draws_draws_the_same(tmp_path):
    space = {
        "lr": Range(low=1e-5, high=1e-1, log=True),
        "weight_decay": Range(low=1e-4, high=1, log=True),
        "batch_size": Range(low=1, high=64, log=True),
        "schedule": Choices(choices=("constant", "cosine")),
    }

    def draw(folder: Path, is_disturbed: bool) -> list[dict]:
        search = Search(space=space, integers=frozenset({"batch_size"}), sampler="tpe", startup_trials=3, pruner="none", seed=1)
        study = open_study("s", search, maximize=True, identity={}, storage=None, folder=folder)
        study.add_trials(7, {"lr": 1e-3, "weight_decay": 1e-2, "batch_size": 2, "schedule": "constant"})
        drawn = []
        while (trial := study.take()) is not None:
            if is_disturbed and "worker" not in study.trials()[trial.number].user_attrs.get("seen", ""):
                study.search = Search(dict(list(space.items())[:2]), search.integers, "tpe", 3, "none", 1)
                trial.suggest()
                trial.give_back()
                study = open_study("s", search, maximize=True, identity={}, storage=None, folder=folder)
                trial = study.take()
            drawn.append(trial.suggest())
            trial.complete(-abs(np.log10(drawn[-1]["lr"]) + 2) - drawn[-1]["weight_decay"])
        return drawn

    assert draw(tmp_path / "a", True) == draw(tmp_path / "b", False)


# Disturbances


def difference(ours: object, theirs: object, place: str = "") -> str:
    """Name the first place where two histories differ; empty if there is none."""
    if isinstance(ours, dict) and isinstance(theirs, dict) and ours.keys() == theirs.keys():
        return next(filter(None, (difference(ours[key], theirs[key], f"{place}/{key}") for key in ours)), "")
    return "" if ours == theirs else f"{place}: {str(ours)[:500]} != {str(theirs)[:500]}"


def check_equals_undisturbed(lab: Lab, swept: Path, storage: str | None = None) -> None:
    history = lab.history(storage)
    with in_store(f"sqlite:///{swept}/mlflow.db", swept):
        assert difference(history, Lab(swept).history()) == ""


def kill_and_resume(lab: Lab, kills: int, seed: int, total: int) -> int:
    """Kill a sweep at random lines of its journal, then run it to its end; return how often it was at work when it was killed."""
    lines = sorted(random.Random(seed).sample(range(2, total), kills))
    hits = sum(lab.kill_at(line) for line in lines)
    lab.start().finish()
    return hits


def test_a_sweep_that_was_killed_and_started_again_equals_the_undisturbed_one(lab, swept):
    total = Lab(swept).num_lines()
    assert kill_and_resume(lab, kills=1, seed=19730309, total=total) == 1
    check_equals_undisturbed(lab, swept)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_sweep_that_was_killed_five_times_equals_the_undisturbed_one(lab, swept, seed):
    assert kill_and_resume(lab, kills=5, seed=seed, total=Lab(swept).num_lines()) == 5
    check_equals_undisturbed(lab, swept)


def test_a_sweep_that_is_interrupted_is_killed_in_mlflow_and_waits_in_optuna(lab, swept):
    command = lab.start()
    while lab.num_lines() < 30:
        time.sleep(0.01)
    command.process.terminate()
    assert "Traceback" not in command.finish(143)
    assert TrialState.RUNNING not in [trial.state for trial in lab.study().trials]
    assert parent_of(lab).info.status == "KILLED"
    assert parent_of(lab).data.tags["mlflow.note.content"] == "Interrupted. To resume, give the same command again."
    assert "RUNNING" not in [run.info.status for run in children(lab, "").values()]
    lab.start().finish()
    check_equals_undisturbed(lab, swept)


def kill_a_worker(lab: Lab, commands: Sequence[Command], storage: str | None = None) -> None:
    """Wait until a process that is none of the commands runs a trial, and kill it with SIGKILL."""
    own = {command.process.pid for command in commands}
    while all(command.process.is_alive() for command in commands):
        running = lab.study(storage).get_trials(states=(TrialState.RUNNING,)) if _has_study(lab, storage) else []
        pids = {int(worker.split()[1]) for trial in running if (worker := trial.user_attrs.get("worker"))} - own
        if pids:
            os.kill(pids.pop(), signal.SIGKILL)
            return
        time.sleep(0.1)
    pytest.fail("a command ended before one of its workers could be killed")


def _has_study(lab: Lab, storage: str | None) -> bool:
    try:
        lab.study(storage)
    except (KeyError, FileNotFoundError, optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError):
        return False
    return True


def check_each_once(lab: Lab, trials: int, storage: str | None = None) -> None:
    """Every trial is complete once, in the study and in MLflow, with every epoch of every round once."""
    study = lab.study(storage)
    assert [(trial.number, trial.state) for trial in study.trials] == [(number, TrialState.COMPLETE) for number in range(trials)]
    client, runs = open_store(), children(lab, "trial ")
    assert sorted(runs) == sorted(f"trial {number}" for number in range(trials))
    for trial in study.trials:
        run = runs[f"trial {trial.number}"]
        assert run.info.status == "FINISHED"
        assert run.data.metrics["best/val_uar"] == trial.value
        for round in (0, 1):
            points = client.get_metric_history(run.info.run_id, f"round{round}/val/uar")
            assert sorted(point.step for point in points) == [1, 2, 3]
    parent = client.get_run(study.user_attrs["parent"])
    assert parent.info.status == "FINISHED"
    assert "test/uar_mean" in parent.data.metrics


def test_of_four_workers_on_a_fresh_study_one_may_be_killed(lab):
    command = lab.start(sweep__workers="4", sweep__trials="12")
    kill_a_worker(lab, [command])
    assert "its worker ended with exit code -9" in command.finish()
    check_each_once(lab, 12)


def test_a_second_command_helps_with_the_trials_of_the_first(lab):
    commands = [lab.start(sweep__trials="8") for _ in range(2)]
    outputs = [command.finish() for command in commands]
    assert sorted("helping with the trials of" in output for output in outputs) == [False, True], outputs
    check_each_once(lab, 8)
    client = open_store()
    runs = client.search_runs([client.get_experiment_by_name("ser").experiment_id], max_results=1000)
    assert sum("mlflow.parentRunId" not in run.data.tags for run in runs) == 1


# PostgreSQL


@pytest.fixture
def database() -> Iterator[Postgres]:
    binaries = Postgres.find()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed (initdb is neither on the path nor under /usr/lib/postgresql)")
    pytest.importorskip("psycopg2", reason="psycopg2 is not installed (pip install -e .[postgresql])")
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)  # PostgreSQL runs as another user
    postgres = Postgres(binaries, folder / "cluster")
    postgres.create()
    try:
        yield postgres
    finally:
        postgres.stop()
        shutil.rmtree(folder)


def test_commands_share_a_study_in_postgresql_and_one_worker_may_be_killed(lab, database):
    given = {"sweep__storage": database.uri, "sweep__trials": "12"}
    commands = [lab.start(**given, sweep__workers="2") for _ in range(2)]
    kill_a_worker(lab, commands, database.uri)
    for command in commands:
        command.finish()
    check_each_once(lab, 12, database.uri)


def test_machines_may_open_a_fresh_database_at_once(database):
    program = f"from ser_mlops.experiments.study_storage import open_database; open_database({database.uri!r})"
    processes = [subprocess.Popen([sys.executable, "-c", program], cwd=ROOT) for _ in range(4)]
    assert [process.wait() for process in processes] == [0] * 4


def test_a_sweep_goes_on_after_an_outage_of_its_database(lab, database, swept):
    command = lab.start(sweep__storage=database.uri)
    while not _has_study(lab, database.uri) or len(lab.study(database.uri).get_trials(states=(TrialState.COMPLETE,))) < 2:
        assert command.process.is_alive(), command.finish()
        time.sleep(0.01)
    database.stop()
    output = command.finish(TrackingError.exit_code)
    assert "error: the database of study 's' is unreachable" in output
    assert "Traceback" not in output
    database.start()
    lab.start(sweep__storage=database.uri).finish()
    history = lab.history(database.uri)
    with in_store(f"sqlite:///{swept}/mlflow.db", swept):
        assert history["trials"] == Lab(swept).history()["trials"]


# The command


@pytest.mark.slow
def test_mlflow_run_sweeps_and_the_line_it_prints_trains_with_the_best(project):
    given = {"test_dataset": "CREMA", "model": "tiny", "freeze": "encoder", "epochs": "2", "rounds": "1", "lr": "3.0e-3", "trials": "3"}
    output = project.run(*mlflow_run("-e", "sweep", **given))
    (line,) = [line.strip() for line in output.splitlines() if line.strip().startswith("mlflow run . -P")]
    project.run(*shlex.split(line))


def test_mlflow_run_refuses_a_sweep_in_one_line_and_leaves_no_run_open(project):
    line = project.refuse(*mlflow_run("-e", "sweep", test_dataset="CREMA", model="tiny", sampler="annealing"))
    assert line == "error: sampler=annealing is not accepted, expected 'tpe' or 'random'"
    assert "RUNNING" not in {run.info.status for run in project.runs()}
