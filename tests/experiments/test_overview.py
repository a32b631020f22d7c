"""Entry point `table`: what its run holds, that its numbers are those of the experiments and of `compare`, and what it refuses."""

import pandas as pd
import pytest

from tests.project import metrics_of

pytestmark = pytest.mark.timeout(600)
MATRIX = {"experiment_type": "matrix", "train_datasets": "CREMA,SAVEE", "rounds": "2"}
RESAMPLES = "199"


@pytest.fixture(scope="module")
def runs(project) -> dict[str, str]:
    """Ids of a matrix, of another with another classifier, of an experiment on one of its test sets, and of a grid."""
    given = {
        "first": MATRIX,
        "second": MATRIX | {"classifier": "logistic", "tags": "paper=table2"},
        "half": {"test_dataset": "CREMA", "train_datasets": "SAVEE", "rounds": "2", "C": "0.5", "name": "on CREMA alone"},
        "grid": MATRIX | {"experiment_type": "grid", "rounds": "1"},
    }
    return {name: project.opened(project.run_here("pipelines.baseline", **some)).info.run_id for name, some in given.items()}


def cells_of(project, run) -> pd.DataFrame:
    return pd.read_csv(project.client.download_artifacts(run.info.run_id, "table.csv"))


def test_a_table_is_a_run_with_the_table_in_four_formats_and_its_figure(project, runs):
    output = project.run_here("pipelines.table", runs=runs["first"], tag="paper=table2", resamples=RESAMPLES, figures="both")
    run = project.opened(output)
    assert (run.info.status, run.data.tags["kind"], run.data.tags["data"]) == ("FINISHED", "table", "synthetic")
    artifacts = {item.path for folder in ("", "figures") for item in project.client.list_artifacts(run.info.run_id, folder)}
    assert {"table.csv", "table.md", "table.tex", "table.html", "figures/table.png", "figures/table.pdf"} <= artifacts
    cells = cells_of(project, run)
    assert cells["test"].tolist() == ["CREMA", "SAVEE", "mean"] * 2
    for experiment, run_id in zip(cells["experiment"].unique(), (runs["first"], runs["second"]), strict=True):
        parent = metrics_of(project.client.get_run(run_id))
        for row in cells[cells["experiment"] == experiment].itertuples():
            assert row.mean == parent[f"test/{row.test}/uar_mean"]
    assert "| speakers" in output
    assert "synthetic data" in output


def test_a_difference_is_that_of_compare(project, runs):
    chosen = {"runs": f"{runs['half']},{runs['first']}", "resamples": RESAMPLES}
    table = project.run_here("pipelines.table", **chosen)
    compared = project.opened(project.run_here("pipelines.compare", **chosen))
    (cell,) = cells_of(project, project.opened(table)).dropna(subset=["difference"]).itertuples()
    assert (cell.experiment, cell.test) == ("baseline", "CREMA")
    assert compared.data.metrics["compare/uar_difference"] == cell.difference
    assert compared.data.metrics["compare/uar_p"] == cell.p == cell.p_holm, "one pair, one tested cell"
    assert "on CREMA alone was not tested on SAVEE, so it has no mean over test sets" in table
    assert "on CREMA alone was not tested on SAVEE: no difference from it is tested there" in table


def test_one_experiment_is_a_table_of_one_row(project, runs):
    page = project.run_here("pipelines.table", runs=runs["first"], cell="interval", score="accuracy")
    assert "# accuracy of baseline" in page
    assert "Holm" not in page


def test_an_ensemble_is_a_row_of_its_own_with_the_scores_that_the_parent_holds(project, runs):
    run = project.opened(project.run_here("pipelines.table", runs=runs["first"], ensemble="true"))
    cells = cells_of(project, run).set_index(["experiment", "test"])
    assert cells.index.get_level_values(0).unique().tolist() == ["baseline", "baseline, ensemble of 2 rounds"]
    parent = project.client.get_run(runs["first"]).data.metrics
    for test in ("CREMA", "SAVEE", "mean"):
        assert cells.loc[("baseline", test), "mean"] == parent[f"test/{test}/uar_mean"]
        assert cells.loc[("baseline, ensemble of 2 rounds", test), ["difference", "p", "p_holm"]].isna().all(), "never tested"
        assert cells.loc[("baseline, ensemble of 2 rounds", test), "mean"] == pytest.approx(parent[f"test/{test}/uar_ensemble"], abs=1e-12)
    assert not cells["is_claimed"].any()


def test_a_grid_and_a_tag_that_nothing_has_are_refused(project, runs):
    assert "expected indep, cross, matrix or within" in project.refuse_here("pipelines.table", runs=f"{runs['first']},{runs['grid']}")
    told = project.refuse_here("pipelines.table", tag="paper=none")
    assert told == "error: one or more finished experiments are needed, got 0: runs=ID,ID or tag=KEY=VALUE"
