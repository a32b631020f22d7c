"""Entry point `main`, as a researcher runs it: what its runs hold, what it refuses, and how it resumes after an interruption."""

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from mlflow.entities import Run

from ser_mlops.emotions import EMOTIONS
from ser_mlops.experiments.resuming import resolve_settings
from ser_mlops.files import md5_of
from tests.models.builders import write_to_cache
from tests.processes import Signal
from tests.project import ROOT, Project, metrics_of, parents_of, train

pytestmark = pytest.mark.timeout(600)  # most of these start processes, each of which takes seconds to import what it needs
TWO_ROUNDS = {"test_dataset": "CREMA", "model": "tiny", "epochs": "2", "rounds": "2", "batch_size": "8"}
KINDS = {
    "cross": {"experiment_type": "cross", "train_datasets": "SAVEE,TESS", "fold": "all"},
    "matrix": {"experiment_type": "matrix", "figures": "png"},
    "grid": {"experiment_type": "grid"},
    "within": {"experiment_type": "within", "train_datasets": "SAVEE,TESS"},
    "all folds": {"test_dataset": "SAVEE", "fold": "all"},
}
FAST = {"model": "tiny", "freeze": "encoder", "epochs": "1", "rounds": "1", "batch_size": "8"}


@pytest.fixture(scope="module")
def finished(project) -> tuple[Run, list[Run]]:
    """The parent and the children of an experiment."""
    parent = project.opened(project.run_here("pipelines.train", **TWO_ROUNDS, figures="png"))
    return parent, project.children_of(parent)


def artifacts_of(project: Project, run: Run, folder: str = "") -> set[str]:
    return {item.path for item in project.client.list_artifacts(run.info.run_id, folder)}


def history_of(project: Project, run: Run, name: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in project.client.get_metric_history(run.info.run_id, name)]


def test_one_command_is_one_parent_and_a_child_per_round(finished):
    parent, children = finished
    assert [run.info.status for run in (parent, *children)] == ["FINISHED"] * 3
    assert [run.data.tags["round"] for run in children] == ["0", "1"]


def test_children_hold_scores_and_the_parent_their_mean_and_spread(finished):
    parent, children = finished
    for name in ("uar", "accuracy", "f1_macro"):
        values = [run.data.metrics[f"test/{name}"] for run in children]
        assert parent.data.metrics[f"test/{name}_mean"] == pytest.approx(np.mean(values))
        assert parent.data.metrics[f"test/{name}_sd"] == pytest.approx(np.std(values, ddof=1))


def test_scores_are_those_of_the_logged_predictions(project, finished):
    for run in finished[1]:
        table = pd.read_parquet(project.client.download_artifacts(run.info.run_id, "predictions/test_CREMA.parquet"))
        hits = table["predicted"].astype("str") == table["labels"].map(dict(enumerate(EMOTIONS)))
        assert run.data.metrics["test/uar"] == pytest.approx(hits.groupby(table["labels"]).mean().mean())
        assert run.data.metrics["test/accuracy"] == pytest.approx(hits.mean())
        frame = pd.read_parquet(project.root / "data/frames/CREMA.parquet")
        assert set(table["path"]) == set(frame.loc[frame["fold"] == 0, "path"])


def test_curves_have_one_point_per_epoch(project, finished):
    for run in finished[1]:
        for name in ("train/loss", "val/uar", "val/loss", "seconds"):
            assert [step for step, _ in history_of(project, run, name)] == [1, 2], name
        assert {f"test/recall/{emotion}" for emotion in EMOTIONS[:6]} <= set(run.data.metrics)


def test_runs_hold_figures_tables_settings_and_a_model_that_plain_transformers_opens(project, finished):
    from transformers import AutoModelForAudioClassification

    parent, children = finished
    assert {"settings.yaml", "environment.txt", "rounds.csv"} <= artifacts_of(project, parent)
    for run in children:
        assert {"history.csv", "predictions", "figures"} <= artifacts_of(project, run)
        drawn = {Path(path).stem for path in artifacts_of(project, run, "figures")}
        assert {"curves", "distribution", "confusion_CREMA", "reliability_CREMA"} <= drawn
        (output,) = run.outputs.model_outputs
        folder = Path(project.client.get_logged_model(output.model_id).artifact_location) / "transformers"
        assert AutoModelForAudioClassification.from_pretrained(folder).config.id2label == dict(enumerate(EMOTIONS))


def test_runs_say_where_they_come_from(project, finished):
    parent, children = finished
    lock = md5_of(project.root / "data/frames/CREMA.parquet")
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    for run in (parent, *children):
        tags = run.data.tags
        assert (tags["data"], tags["calm"], tags["contempt"]) == ("synthetic", "neutral", "drop")
        assert tags["split"].startswith("groups (no speaker shared")
        assert (tags["dvc.CREMA"], tags["commit"]) == (lock, commit)
        assert {"dirty", "host", "gpu", "threads", "processes"} <= set(tags)
        assert "synthetic" in tags["mlflow.runName"]
        assert run.data.params["train.lr"] == "1e-05"
        assert {item.dataset.digest for item in run.inputs.dataset_inputs} == {lock}
        num_clips = len(pd.read_parquet(project.root / "data/frames/CREMA.parquet"))
        assert {item.dataset.profile for item in run.inputs.dataset_inputs} == {json.dumps({"num_rows": num_clips})}
        assert all('"name": "emotions"' in item.dataset.schema for item in run.inputs.dataset_inputs)
    contexts = {item.tags[0].value for item in children[0].inputs.dataset_inputs}
    assert {"train", "validation"} < contexts


def test_an_experiment_has_the_users_name_and_tags(project):
    given = {"test_dataset": "SAVEE", "model": "tiny", "freeze": "encoder", "epochs": "1", "rounds": "1"}
    tags = {"paper": "table2", "note": "first try, with care"}
    text = ",".join(f"{key}={value}" for key, value in tags.items())
    parent = project.opened(project.run_here("pipelines.train", **given, name="baseline for table 2", tags=text))
    assert (parent.info.run_name, parent.data.tags["title"]) == ("baseline for table 2", "indep SAVEE tiny encoder frozen (synthetic)")
    for run in (parent, *project.children_of(parent)):
        assert {key: run.data.tags[key] for key in tags} == tags


def test_a_run_is_tagged_with_its_recipe_and_records_what_it_set_and_a_model_that_needs_whole_speakers_serves_none(project):
    given = {"test_dataset": "SAVEE", "model": "tiny", "recipe": "head", "epochs": "2", "rounds": "1", "feature_norm": "speaker"}
    parent = project.opened(project.run_here("pipelines.train", **given))
    (child,) = project.children_of(parent)
    for run in (parent, child):
        assert run.data.tags["recipe"] == "head"
        assert run.data.tags["feature_norm"].startswith("speaker (transductive: ")
        assert [run.data.params[f"train.{name}"] for name in ("freeze", "lr", "epochs")] == ["encoder", "0.001", "2"]
    again = project.run_here("pipelines.reproduce", run_id=parent.info.run_id)
    assert "equal: every metric, bit for bit" in again
    line = project.refuse_here("pipelines.predict", model_uri=child.info.run_id, audio="data/demo/SAVEE")
    assert "trained with feature_norm=speaker: its head takes outputs standardised over all clips of a speaker" in line


@pytest.fixture
def refuse(project) -> Callable[[dict[str, str]], str]:
    """Give parameters to `python -m pipelines.train` that it must refuse before anything is computed; get the line that says why."""

    def refuse(parameters: dict[str, str]) -> str:
        before = sorted(project.root.glob("checkpoints/*")), len(project.runs())
        line = project.refuse_here("pipelines.train", **parameters)
        assert (sorted(project.root.glob("checkpoints/*")), len(project.runs())) == before
        return line

    return refuse


WRONG = {
    "unknown corpus": ({"test_dataset": "CREMAA"}, "unknown corpus 'CREMAA', expected one of: CREMA, SAVEE, TESS"),
    "no number": ({"lr": "abc"}, "lr=abc is not accepted, expected a valid number"),
    "unknown parameter": ({"tset_dataset": "CREMA"}, "unknown parameter 'tset_dataset' (did you mean 'test_dataset' or "),
    "unknown fold": ({"fold": "9"}, "fold=9: CREMA has no clips in it, expected one of: 0, 1, 2, 3, 4, all"),
    "nothing to cache": ({"cache": "require"}, "cache=require, but nothing is frozen"),
    "unknown model": ({"model": "tinny"}, "unknown model 'tinny', expected one of: HuB-LL, "),
    "tag of ours": ({"tags": "paper=2,kind=mine"}, "tags: kind cannot be given, as every run has such tags: use another name"),
    "no tags": ({"tags": "paper"}, "tags=paper is not accepted, expected KEY=VALUE,KEY=VALUE"),
    "more layers than it has": ({"freeze": "encoder:2"}, "freeze=encoder:2: tiny has 2 layers, expected encoder:1, or encoder to freeze"),
    "nothing to adapt": ({"adapter": "lora", "freeze": "encoder"}, "adapter=lora trains inside the encoder: give freeze=feature_encoder"),
    "unknown recipe": ({"recipe": "storng"}, "unknown recipe 'storng', expected one of: seed, head, strong, lora"),
    "norm of what is trained": (
        {"feature_norm": "corpus"},
        "feature_norm=corpus is of the outputs of a frozen encoder: give",
    ),
    "norm without cache": (
        {"feature_norm": "corpus", "freeze": "encoder", "cache": "off"},
        "feature_norm=corpus needs the cache of the frozen encoder, but cache=off",
    ),
    "speakers' norm, served": (
        {"feature_norm": "speaker", "freeze": "encoder", "register": "ser"},
        "register=ser: a model of feature_norm=speaker needs all clips of a speaker and cannot serve",
    ),
    "old name": ({"dump_folder": "x"}, "dump_folder is not a parameter, use paths.checkpoints and paths.cache"),
}


@pytest.mark.parametrize(("given", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_parameter_is_one_clear_line(refuse, given, message):
    assert refuse(TWO_ROUNDS | given).startswith(f"error: {message}")


def test_a_run_that_is_not_there_or_was_started_with_other_settings_is_not_resumed(refuse, finished):
    assert refuse({"resume": "0123"}).startswith("error: no run '0123' in sqlite:")
    run_id = finished[0].info.run_id
    expected = f"error: epochs=3, but run {run_id} was started with 2: leave it out, or start a new run"
    assert refuse({"resume": run_id, "epochs": "3"}) == expected


def test_an_experiment_that_another_command_uses_is_not_resumed(project, refuse, finished):
    run_id = finished[0].info.run_id
    folder = project.root / "checkpoints" / run_id
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "in_use.lock"):
        assert refuse({"resume": run_id}) == f"error: run {run_id} is in use by another command: wait for it to end, or stop it"


def test_a_resume_may_change_how_often_the_state_is_saved_and_who_reads(project, finished, monkeypatch):
    monkeypatch.chdir(project.root)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project.root}/mlflow.db")
    settings = resolve_settings({"train.resume": finished[0].info.run_id, "train.checkpoint_every": "100", "train.workers": "1"})
    assert (settings.train.checkpoint_every, settings.train.workers) == (100, 1)


def test_params_yaml_may_name_the_experiment_to_resume(project, finished, changed, monkeypatch):
    changed("params.yaml")
    project.set(resume=finished[0].info.run_id)
    monkeypatch.chdir(project.root)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project.root}/mlflow.db")
    settings = resolve_settings({})
    assert (settings.train.resume, settings.train.epochs) == (finished[0].info.run_id, 2)


def test_an_unknown_key_in_params_yaml_is_refused(refuse, changed):
    params = changed("params.yaml")
    params.write_text(params.read_text(encoding="utf-8").replace("  epochs: 20", "  epochs: 20\n  epoch: 20"), encoding="utf-8")
    assert refuse(TWO_ROUNDS).startswith("error: params.yaml: unknown parameter 'train.epoch' (did you mean 'epochs'?)")


@pytest.fixture
def changed(project) -> Iterator[Callable[[str], Path]]:
    """Name files that the test changes; they are put back as they were."""
    contents: dict[Path, bytes] = {}

    def changed(name: str) -> Path:
        path = project.root / name
        contents[path] = path.read_bytes()
        path.unlink()  # DVC links what it made to its cache, which must stay as it is
        path.write_bytes(contents[path])
        return path

    yield changed
    for path, content in contents.items():
        path.write_bytes(content)


def test_frames_of_other_settings_are_stale(project, refuse, changed):
    changed("params.yaml")
    project.set(min_seconds="0.2")
    expected = "error: frame of CREMA is stale: audio.min_seconds is 0.2, the frame was made with 0.1, run `dvc repro`"
    assert refuse(TWO_ROUNDS) == expected


def test_a_frame_that_is_not_the_one_of_the_lock_is_stale(refuse, changed):
    frame = changed("data/frames/CREMA.parquet")
    frame.write_bytes(frame.read_bytes()[:-1] + b"?")
    expected = "error: frame of CREMA is stale: data/frames/CREMA.parquet is not the one of dvc.lock, run `dvc repro`"
    assert refuse(TWO_ROUNDS) == expected


def test_a_missing_frame_is_refused(refuse, changed):
    changed("data/frames/CREMA.parquet").unlink()
    assert refuse(TWO_ROUNDS).startswith("error: frame of CREMA is missing: no data/frames/CREMA.parquet in /")


def test_an_interrupted_experiment_is_resumed_and_ends_with_the_same_numbers(project, finished, tmp_path):
    copy = project.copy(tmp_path / "project")
    in_round_1 = Signal(signal.SIGTERM, "ser_mlops.training.checkpoints", "_write", "/CREMA_fold_0_round_1/")
    given = {**TWO_ROUNDS, "checkpoint_every": "1", "paths.checkpoints": "scratch"}
    assert "error: SIGTERM" in copy.fork("pipelines.train", given, disturbance=in_round_1).finish(143)
    (parent,) = parents_of(copy.runs())
    assert [run.info.status for run in (parent, *copy.children_of(parent))] == ["KILLED", "FINISHED", "KILLED"]
    assert f"-P resume={parent.info.run_id}" in parent.data.tags["mlflow.note.content"]

    first_round = copy.children_of(parent)[0].info.end_time
    copy.run_here("pipelines.train", resume=parent.info.run_id)
    assert not (copy.root / "checkpoints").exists(), "the state was looked for where it is not"
    (resumed,) = parents_of(copy.runs())
    children = copy.children_of(resumed)
    assert {run.info.status for run in copy.runs()} == {"FINISHED"}
    assert children[0].info.end_time == first_round
    assert metrics_of(resumed) == metrics_of(finished[0])
    for run, undisturbed in zip(children, finished[1], strict=True):
        assert metrics_of(run) == metrics_of(undisturbed)
        for name in ("train/loss", "val/uar", "val/loss", "lr"):
            assert history_of(copy, run, name) == history_of(project, undisturbed, name), name


def test_an_experiment_killed_before_anything_was_sent_is_resumed(project, tmp_path):
    copy = project.copy(tmp_path / "project")
    at_start = Signal(signal.SIGKILL, "ser_mlops.tracking.outbox", "Outbox.append", "code.sha256")
    copy.fork("pipelines.train", {"test_dataset": "SAVEE", **FAST}, disturbance=at_start).finish(-signal.SIGKILL)
    (parent,) = parents_of(copy.runs())
    copy.run_here("pipelines.train", resume=parent.info.run_id)
    (resumed,) = parents_of(copy.runs())
    assert [run.info.status for run in (resumed, *copy.children_of(resumed))] == ["FINISHED"] * 2


@pytest.fixture(scope="module")
def kinds(project, tmp_path_factory) -> tuple[Project, dict[str, Run]]:
    """One experiment of every kind, all started at once on one store that did not exist."""
    copy = project.copy(tmp_path_factory.mktemp("kinds") / "project")
    (copy.root / "mlflow.db").unlink()
    commands = {name: copy.fork("pipelines.train", FAST | given) for name, given in KINDS.items()}
    return copy, {name: copy.opened(command.finish()) for name, command in commands.items()}


def scored_sets(run: Run) -> set[str]:
    """Test sets that a run has a UAR of, or, if it is a parent, a mean UAR."""
    ends = (name.removesuffix("_mean").split("/") for name in run.data.metrics if name.startswith("test/"))
    return {parts[1] for parts in ends if len(parts) == 3 and parts[2] == "uar"}


def test_every_kind_finishes_on_one_fresh_store_at_once(kinds):
    copy, parents = kinds
    rounds = {name: len(copy.children_of(run)) for name, run in parents.items()}
    assert rounds == {"cross": 4, "matrix": 3, "grid": 3, "within": 6, "all folds": 4}
    assert {run.info.status for run in copy.runs()} == {"FINISHED"}
    drawn = {
        name: artifacts_of(copy, run, "figures") | artifacts_of(copy, copy.children_of(run)[0], "figures") for name, run in parents.items()
    }
    assert [name for name in drawn if drawn[name]] == ["matrix"], "the others are told to draw nothing"


def test_cross_reports_every_corpus_and_all_together(kinds):
    copy, parents = kinds
    children = copy.children_of(parents["cross"])
    for run in (parents["cross"], *children):
        assert scored_sets(run) - {"mean"} == {"SAVEE", "TESS"}
    assert all("test/uar" in run.data.metrics for run in children)
    assert "test/uar_mean" in parents["cross"].data.metrics


def test_matrix_leaves_each_corpus_out(kinds):
    copy, parents = kinds
    parent = parents["matrix"]
    assert {run.data.tags["test_dataset"] for run in copy.children_of(parent)} == {"CREMA", "SAVEE", "TESS"}
    assert scored_sets(parent) == {"CREMA", "SAVEE", "TESS", "mean"}
    assert {"matrix.csv", "figures/matrix.png"} <= artifacts_of(copy, parent) | artifacts_of(copy, parent, "figures")


def test_grid_has_a_cell_for_every_pair(kinds):
    copy, parents = kinds
    corpora = ("CREMA", "SAVEE", "TESS")
    assert scored_sets(parents["grid"]) == {f"{trained} to {tested}" for trained in corpora for tested in corpora}
    cells = pd.read_csv(copy.client.download_artifacts(parents["grid"].info.run_id, "matrix.csv"), index_col=0)
    assert cells.shape == (3, 3)
    assert cells.notna().all(axis=None)


def test_all_folds_test_every_clip_once(kinds):
    copy, parents = kinds
    children = copy.children_of(parents["all folds"])
    assert [run.data.tags["fold"] for run in children] == ["0", "1", "2", "3"]
    found = parents["all folds"].data.metrics
    assert found["test/loss_ci_low"] < found["test/loss_mean"] < found["test/loss_ci_high"]
    tables = [pd.read_parquet(copy.client.download_artifacts(run.info.run_id, "predictions/test_SAVEE.parquet")) for run in children]
    frame = pd.read_parquet(copy.root / "data/frames/SAVEE.parquet")
    assert sorted(path for table in tables for path in table["path"]) == sorted(frame["path"])


def test_a_finished_matrix_computes_nothing_again(kinds):
    copy, parents = kinds
    parent = parents["matrix"]
    before = {run.info.run_id: (run.info.end_time, run.data.metrics) for run in copy.children_of(parent)}
    copy.run_here("pipelines.train", resume=parent.info.run_id)
    again = copy.client.get_run(parent.info.run_id)
    assert again.info.status == "FINISHED"
    assert {run.info.run_id: (run.info.end_time, run.data.metrics) for run in copy.children_of(again)} == before
    assert metrics_of(again) == metrics_of(parent)


def test_an_experiment_is_not_resumed_with_other_code(kinds):
    copy, parents = kinds
    module = copy.root / "ser_mlops/seeds.py"
    text = module.read_text(encoding="utf-8")
    module.write_text(text + "\n", encoding="utf-8")
    line = copy.refuse(*train(resume=parents["matrix"].info.run_id))
    module.write_text(text, encoding="utf-8")
    assert line.endswith("cannot be resumed: seeds.py of ser_mlops changed since it was started. Start a new run")


def test_without_network_and_files_the_default_model_says_what_to_bring(project, tmp_path):
    line = project.refuse(*train(test_dataset="CREMA"), HF_HOME=str(tmp_path))
    for word in ("'HuB-LL'", "config.json", "preprocessor_config.json", "pytorch_model.bin", "hf download facebook/hubert-large-ll60k"):
        assert word in line


def test_the_default_model_trains_offline_from_the_cache(project, tmp_path):
    write_to_cache(tmp_path / "hf", "HuB-LL", old=True)
    copy = project.copy(tmp_path / "project")
    copy.run(*train(test_dataset="SAVEE", epochs="1", rounds="1", batch_size="8", freeze="true"), HF_HOME=str(tmp_path / "hf"))
    (parent,) = parents_of(copy.runs())
    assert parent.info.status == "FINISHED"
    assert (parent.data.tags["model"], parent.data.tags["freeze"]) == ("HuB-LL", "feature_encoder")


def test_a_round_that_learned_nothing_says_so_and_one_that_learned_does_not(project):
    given = {"test_dataset": "CREMA", "model": "tiny", "freeze": "encoder", "rounds": "1", "epochs": "20", "batch_size": "8"}
    for lr, has_learned in (("1.0e-5", False), ("3.0e-3", True)):
        output = project.run_here("pipelines.train", **given, lr=lr)
        parent = project.opened(output)
        (child,) = project.children_of(parent)
        described = [run.data.tags["mlflow.note.content"] for run in (parent, child)]
        assert ("learned nothing: " in output) is not has_learned
        assert ("try a higher lr" in output) is not has_learned
        assert all(("earned nothing: " in text) is not has_learned for text in described), described
        assert [run.data.tags.get("learned") for run in (parent, child)] == (
            [None, None] if has_learned else ["nothing in 1 of 1 rounds", "nothing"]
        )
        table = pd.read_csv(project.client.download_artifacts(parent.info.run_id, "rounds.csv"))
        assert ("learned" in table) is not has_learned
