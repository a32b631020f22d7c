"""The notebook as people see it: the MLflow UI in a real browser. SER_PICTURES=FOLDER has the pictures of the docs taken on the way."""

import os
import re
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.chromium import CHROMIUM, FLAGS, NEEDS_CHROMIUM
from tests.project import Project, parents_of
from tests.servers import MlflowServer

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install -e .[dev])")
pytestmark = [NEEDS_CHROMIUM, pytest.mark.timeout(600)]

PATIENCE_MS = 300_000
EPOCHS, ROUNDS = 20, 3
DEMO = {"model": "tiny", "lr": "3.0e-3", "batch_size": "8", "epochs": str(EPOCHS), "rounds": str(ROUNDS)}
INDEP, GRID = "indep CREMA tiny (synthetic)", "grid CREMA+SAVEE+TESS tiny encoder frozen (synthetic)"
CHILDREN = [f"round {round}: CREMA fold 0 tiny (synthetic)" for round in range(ROUNDS)]


@pytest.fixture(scope="module")
def laboratory(project, tmp_path_factory) -> Project:
    """A copy of the project with two experiments in its notebook."""
    laboratory = project.copy(tmp_path_factory.mktemp("browser") / "laboratory")
    laboratory.run_here("pipelines.train", test_dataset="CREMA", **DEMO)
    laboratory.run_here("pipelines.train", experiment_type="grid", freeze="encoder", figures="png", **DEMO)
    laboratory.client.create_run("1", run_name="compare (refused)")
    return laboratory


@pytest.fixture(scope="module")
def uri(laboratory) -> Iterator[str]:
    server = MlflowServer(f"sqlite:///{laboratory.root}/mlflow.db", laboratory.root)
    server.start()
    yield server.uri
    server.kill()


@dataclass(frozen=True)
class Browser:
    """A browser on the notebook; `context` holds its pages."""

    context: "sync_api.BrowserContext"
    experiment: str
    """Address of the experiment `ser`."""

    def open(self, address: str = "/runs") -> "sync_api.Page":
        """Open a page of the experiment."""
        page = self.context.new_page()
        page.goto(self.experiment + address)
        return page

    def follow(self, page: "sync_api.Page", link: str) -> "sync_api.Page":
        """Click on a link of a description, which opens a page of its own."""
        with self.context.expect_page() as opened:
            page.get_by_role("link", name=link, exact=True).click()
        return opened.value


@pytest.fixture(scope="module")
def browser(uri, tmp_path_factory) -> Iterator[Browser]:
    with sync_api.sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("chromium"), executable_path=CHROMIUM, args=FLAGS, viewport={"width": 1440, "height": 860}
        )
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        page.goto(uri)
        page.get_by_role("button", name="Close").first.click()  # MLflow's assistant
        page.get_by_text("Model training", exact=True).click()
        yield Browser(context, f"{uri}/#/experiments/1")
        context.close()


def picture(shown: "sync_api.Page | sync_api.Locator", name: str) -> None:
    """Take a picture of a page, or of a part of one, for the docs, if they are asked for."""
    folder = os.environ.get("SER_PICTURES")
    if folder:
        time.sleep(3)  # charts move into place
        shown.screenshot(path=Path(folder) / f"{name}.png")


def row(page: "sync_api.Page", name: str) -> "sync_api.Locator":
    return page.locator(".ag-pinned-left-cols-container .ag-row, .ag-center-cols-container .ag-row").filter(has_text=name)


def expand(page: "sync_api.Page", name: str) -> None:
    """Show the children of an experiment in the list of runs."""
    row(page, name).locator("button").first.click()
    page.get_by_role("link", name=re.compile(r"^round 0: ")).first.wait_for()


def wait_for_list(page: "sync_api.Page", names: Collection[str]) -> None:
    """Wait until the list beside the charts holds these runs and no other."""
    page.get_by_text(re.compile(rf"^{len(names)} matching runs$")).wait_for()
    for name in names:
        page.get_by_role("link", name=name, exact=True).first.wait_for()


def lines_of(chart: "sync_api.Locator", num_lines: int = ROUNDS) -> dict[tuple[str, str], list[float]]:
    """The heights of a chart's lines by run and metric, once there are so many; each must have a point per epoch."""
    chart.locator(".scatterlayer .trace").nth(num_lines - 1).wait_for()
    drawn = chart.evaluate("chart => chart.data.filter(line => line.x?.length).map(line => [line.name, line.metricKey, line.x, line.y])")
    assert all(list(steps) == list(range(1, EPOCHS + 1)) for _, _, steps, _ in drawn)
    return {(run, metric): list(heights) for run, metric, _, heights in drawn}


def test_the_list_shows_experiments_their_rounds_and_their_scores(laboratory, browser):
    page = browser.follow(browser.open(), "scores")
    expand(page, INDEP)
    (parent,) = [run for run in parents_of(laboratory.runs()) if run.info.run_name == INDEP]
    names = page.locator("[col-id='attributes.`Run Name`'] a").all_inner_texts()
    assert names == [GRID, INDEP, *reversed(CHILDREN)]
    scores = page.locator("[role=gridcell][col-id='tags.`uar`']").all_inner_texts()
    metrics = parent.data.metrics
    assert scores[1] == f"{metrics['test/uar_mean']:.3f} ± {metrics['test/uar_sd']:.3f}"
    assert scores[2:] == [f"{run.data.metrics['test/uar']:.3f}" for run in reversed(laboratory.children_of(parent))]
    picture(page, "runs")


def test_selected_rounds_compare_in_curves_that_line_up(laboratory, browser):
    page = browser.follow(browser.open(), "scores")
    expand(page, INDEP)
    for name in CHILDREN:
        row(page, name).first.locator(".ag-checkbox").first.click()
    page.get_by_role("button", name="Compare", exact=True).click()
    page.get_by_text(f"Comparing {ROUNDS} Runs").wait_for()
    for metric in ("val/uar", "train/loss"):
        link = page.get_by_role("link", name=metric, exact=True)
        page.locator(".ReactVirtualized__Grid").last.hover()
        while not link.is_visible():  # rows are drawn as they are scrolled to
            page.mouse.wheel(0, 200)
            page.wait_for_timeout(50)
        link.dispatch_event("click")
        assert set(lines_of(page.locator(".js-plotly-plot"))) == {(name, metric) for name in CHILDREN}
        picture(page, f"compare-{metric.replace('/', '-')}")
        page.go_back()


def test_a_description_begins_with_the_score_and_leads_to_the_curves(laboratory, browser):
    (parent,) = [run for run in parents_of(laboratory.runs()) if run.info.run_name == INDEP]
    page = browser.open(f"/runs/{parent.info.run_id}?workflowType=machine_learning")
    page.get_by_text(f"UAR {parent.data.metrics['test/uar_mean']:.3f} ± {parent.data.metrics['test/uar_sd']:.3f}").first.wait_for()
    page.get_by_text("Show more").first.click()
    page.locator("pre", has_text="CREMA fold 0").first.wait_for()
    picture(page, "experiment")
    losses = lines_of(browser.follow(page, "training loss of the rounds").locator(".js-plotly-plot"))
    assert set(losses) == {(name, "train/loss") for name in CHILDREN}
    lines = lines_of(browser.follow(page, "validation UAR of the rounds").locator(".js-plotly-plot"))
    assert set(lines) == {(name, "val/uar") for name in CHILDREN}
    for child, name in zip(laboratory.children_of(parent), CHILDREN, strict=True):
        history = laboratory.client.get_metric_history(child.info.run_id, "val/uar")
        assert lines[name, "val/uar"] == [point.value for point in sorted(history, key=lambda point: point.step)]
    side_by_side = browser.follow(page, "rounds side by side")
    side_by_side.get_by_text("best/val_uar", exact=True).wait_for()
    wait_for_list(side_by_side, CHILDREN)


def test_the_view_of_curves_draws_the_rounds_of_the_newest_experiment(laboratory, browser):
    (newest,) = [run for run in parents_of(laboratory.runs()) if run.info.run_name == GRID]
    names = {run.info.run_name for run in laboratory.children_of(newest)}
    page = browser.follow(browser.open(), "curves")
    for metric in ("train/loss", "val/loss", "val/uar"):
        card = page.get_by_test_id("experiment-view-compare-runs-card").filter(has=page.get_by_text(metric, exact=True)).first
        assert set(lines_of(card.locator(".js-plotly-plot"), len(names))) == {(name, metric) for name in names}
    wait_for_list(page, names)
    picture(page, "curves")


def test_figures_stand_among_the_artifacts(laboratory, browser):
    (parent,) = [run for run in parents_of(laboratory.runs()) if run.info.run_name == GRID]
    page = browser.open(f"/runs/{parent.info.run_id}/artifacts/figures/matrix.png")
    image = page.locator("img[src*='matrix.png'], img[src^='blob:']").first
    image.wait_for()
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") > 400
    assert unquote(page.url).endswith("figures/matrix.png")
    picture(image, "heat-map")
