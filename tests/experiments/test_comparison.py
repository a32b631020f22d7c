"""Entry point `compare`: what it claims of real runs, what its own run holds, and what it refuses."""

import re
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from ser_mlops.emotions import EMOTIONS
from ser_mlops.scores.comparison import MAY_BE_DIVISION, NOT_SHOWN
from tests.project import Project, metrics_of

pytestmark = pytest.mark.timeout(600)
COMMON = {"experiment_type": "matrix", "train_datasets": "CREMA,SAVEE,TESS", "model": "tiny", "freeze": "encoder", "rounds": "2"}
TRAINED = {"lr": "3.0e-2", "batch_size": "8", "epochs": "20"}
EXPERIMENTS = {"trained": TRAINED, "other seed": TRAINED | {"seed": "7"}, "untrained": {"lr": "1.0e-9", "epochs": "1"}}
ARTIFACTS = {"comparison.md", "scores.csv", "rounds.csv", "differences.csv", "groups.csv", "group_differences.csv", "gaps.csv"}


@pytest.fixture(scope="module")
def runs(project) -> dict[str, str]:
    """Ids of finished experiments: one, one that differs by its seed alone, and one that learns nothing."""
    outputs = {name: project.run_here("pipelines.train", **COMMON, **given) for name, given in EXPERIMENTS.items()}
    return {name: project.opened(output).info.run_id for name, output in outputs.items()}


def compare(project: Project, *runs: str, **given: str) -> str:
    return project.run_here("pipelines.compare", runs=",".join(runs), resamples="999", **given)


def table_of(project: Project, output: str, name: str) -> pd.DataFrame:
    return pd.read_csv(project.client.download_artifacts(project.opened(output).info.run_id, f"{name}.csv"))


def test_experiments_that_differ_by_their_seed_are_not_claimed_to_differ_and_an_untrained_one_is(project, runs):
    by_seed = compare(project, runs["trained"], runs["other seed"])
    assert ", seed 7** against **matrix" in by_seed
    assert "differs." not in by_seed
    verdicts = table_of(project, by_seed, "differences")["verdict"]
    assert set(verdicts) <= {NOT_SHOWN, MAY_BE_DIVISION}
    learnt = compare(project, runs["untrained"], runs["trained"])
    assert learnt.count(": differs.") == 1


def test_a_comparison_is_a_run_with_tables_figures_and_a_page_that_name_what_was_compared(project, runs):
    output = compare(project, runs["untrained"], runs["trained"], figures="png")
    run = project.opened(output)
    assert (run.info.status, run.data.tags["kind"], run.data.tags["data"]) == ("FINISHED", "compare", "synthetic")
    assert [run.data.tags[f"compared.{number}"] for number in range(2)] == [runs["untrained"], runs["trained"]]
    assert "synthetic data" in run.data.tags["mlflow.note.content"]
    artifacts = {item.path for folder in ("", "figures") for item in project.client.list_artifacts(run.info.run_id, folder)}
    drawn = {f"figures/{name}.png" for name in ("rounds", "differences", "by_corpus", "by_gender", "by_speaker")}  # all speak English
    assert ARTIFACTS | drawn <= artifacts
    groups = table_of(project, output, "groups")
    assert {*groups["grouping"]} == {"corpus", "gender", "language", "speaker"}
    assert groups.groupby(["grouping", "experiment"])["clips"].sum().nunique() == 1


def test_numbers_are_those_of_the_runs_predictions(project, runs):
    output = compare(project, runs["untrained"], runs["trained"])
    means = {}
    for name in ("untrained", "trained"):
        children = project.children_of(project.client.get_run(runs[name]))
        folders = [Path(project.client.download_artifacts(child.info.run_id, "predictions")) for child in children]
        tables = pd.concat(
            pd.read_parquet(path).assign(round=child.data.tags["round"])
            for child, folder in zip(children, folders, strict=True)
            for path in folder.glob("*.parquet")
        )
        hits = tables["predicted"].astype(str) == tables["labels"].map(dict(enumerate(EMOTIONS)))
        means[name] = hits.groupby([tables["round"], tables["labels"]]).mean().mean()
    metrics = metrics_of(project.opened(output), "compare/")
    assert metrics["compare/uar_difference"] == pytest.approx(means["trained"] - means["untrained"])
    assert metrics["compare/uar_ci_low"] < metrics["compare/uar_difference"] < metrics["compare/uar_ci_high"]


def test_experiments_are_chosen_by_a_tag_and_p_is_corrected_for_the_pairs(project, runs):
    comparisons = [run.info.run_id for run in project.runs() if run.data.tags.get("kind") == "compare"]
    for run_id in [*runs.values(), *comparisons]:  # what is no experiment is passed over
        project.client.set_tag(run_id, "paper", "table 2")
    output = project.run_here("pipelines.compare", tag="paper=table 2", resamples="999")
    differences = table_of(project, output, "differences")
    uar = differences[differences["score"] == "uar"].sort_values("p")
    assert len(uar) == 3
    assert uar["p_holm"].iloc[0] == pytest.approx(min(1, 3 * uar["p"].iloc[0]))
    assert len(re.findall(r"^- \*\*.*UAR", output, re.MULTILINE)) == 3
    assert {"compare/0/uar_p", "compare/1/uar_p", "compare/2/uar_p"} <= metrics_of(project.opened(output), "compare/").keys()


def test_what_cannot_be_compared_is_refused_in_one_line(project, runs):
    refuse = partial(project.refuse_here, "pipelines.compare")
    assert refuse(runs=runs["trained"]).startswith("error: compare takes two or more experiments, got 1: runs=ID,ID or tag=KEY=VALUE")
    assert refuse(runs=f"{runs['trained']},nonsense").startswith("error: no run 'nonsense' in sqlite:")
    assert refuse(tag="paper") == "error: tag=paper is not accepted, expected KEY=VALUE"
