"""The table of a paper: its numbers are those of `summarise_rounds` and `compare`, and its pages say what they are."""

import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.multitest import multipletests

from ser_mlops.errors import DataError
from ser_mlops.scores.comparison import compare
from ser_mlops.scores.figures.overview import overview_points
from ser_mlops.scores.figures.style import save
from ser_mlops.scores.overview import MEAN, Overview, lay_out
from ser_mlops.scores.overview_pages import overview_html, overview_latex, overview_markdown
from ser_mlops.scores.summary import summarise_rounds
from tests.builders import tiny_predictions

SKILLS = {"baseline": 0.6, "better_model & co": 3.0, "alike": 0.61}
RESAMPLES = 300


def rounds(skill: float, test: str, count: int = 3) -> list[pd.DataFrame]:
    speakers = {"CREMA": 12, "TESS": 8}[test]
    start = {"CREMA": 0, "TESS": 50}[test] + round(1000 * skill)
    return [tiny_predictions(skill, start + number, speakers=speakers) for number in range(count)]


@pytest.fixture(scope="module")
def experiments() -> dict[str, dict[str, list[pd.DataFrame]]]:
    return {name: {test: rounds(skill, test) for test in ("CREMA", "TESS")} for name, skill in SKILLS.items()}


@pytest.fixture(scope="module")
def overview(experiments) -> Overview:
    return lay_out(experiments, "baseline", "uar", seed=1, resamples=RESAMPLES)


def test_the_caption_of_single_rounds_explains_no_spread_that_no_cell_shows(experiments):
    single = {name: {"CREMA": by_test["CREMA"][:1]} for name, by_test in experiments.items()}
    of_one = lay_out(single, "baseline", "uar", seed=1, resamples=RESAMPLES)
    page = overview_markdown(of_one, "sd", "a table")
    assert "±" not in page
    assert "UAR of one round. Bold: the best of a column." in page


def test_a_cell_holds_what_the_summary_of_its_rounds_says(experiments, overview):
    for row in overview.cells.query(f"test != '{MEAN}'").itertuples():
        expected = summarise_rounds(experiments[row.experiment][row.test]).table.loc["uar"]
        assert (row.mean, row.sd, row.ci_low, row.ci_high) == tuple(expected[["mean", "sd", "ci_low", "ci_high"]])


def test_differences_are_those_of_compare_and_holm_is_over_the_whole_table(experiments, overview):
    tested = overview.cells[overview.cells["p"].notna()]
    assert len(tested) == overview.num_tested == 4
    for row in tested.itertuples():
        pair = {name: experiments[name][row.test] for name in ("baseline", row.experiment)}
        expected = compare(pair, seed=1, resamples=RESAMPLES).differences.set_index("score").loc["uar"]
        assert (row.difference, row.p) == (expected["difference"], expected["p"])
    assert tested["p_holm"].tolist() == multipletests(tested["p"], method="holm")[1].tolist()


def test_untested_rows_are_shown_and_do_not_count_in_holms_correction(experiments, overview):
    shown = lay_out(experiments, "baseline", "uar", seed=1, resamples=RESAMPLES, untested=["better_model & co"])
    untested = shown.cells.query("experiment == 'better_model & co'")
    assert untested["mean"].notna().all()
    assert untested["p"].isna().all()
    assert not untested["is_claimed"].any()
    tested = shown.cells[shown.cells["p"].notna()]
    assert len(tested) == shown.num_tested == 2
    assert tested["p"].tolist() == overview.cells.loc[tested.index, "p"].tolist()
    assert tested["p_holm"].tolist() == multipletests(tested["p"], method="holm")[1].tolist()


def test_what_differs_is_marked_and_the_best_of_a_column_is_bold(overview):
    text = overview.text("sd", bold="<{}>")
    better, alike = text.loc["better_model & co"], text.loc["alike"]
    assert better["CREMA"].startswith("<")
    assert better["CREMA"].endswith("†")
    assert not alike["CREMA"].endswith("†")
    assert not text.loc["baseline"].str.contains("†").any()


def test_the_mean_is_over_test_sets_round_by_round(experiments, overview):
    cell = overview.cells.query(f"test == '{MEAN}' and experiment == 'alike'").iloc[0]
    by_round = [
        np.mean([summarise_rounds([experiments["alike"][test][number]]).table.loc["uar", "mean"] for test in experiments["alike"]])
        for number in range(3)
    ]
    assert cell["mean"] == pytest.approx(np.mean(by_round))
    assert cell["sd"] == pytest.approx(np.std(by_round, ddof=1))


def test_a_row_that_lacks_a_test_set_has_an_empty_cell_and_no_mean(experiments):
    some = {**experiments, "alike": {"TESS": experiments["alike"]["TESS"]}}
    text = lay_out(some, "baseline", "uar", seed=1, resamples=RESAMPLES).text("sd")
    assert text.loc["alike", "CREMA"] == text.loc["alike", MEAN] == ""
    assert text.loc["alike", "TESS"] != ""


def test_experiments_of_one_round_and_of_different_seeds_are_not_marked(experiments):
    one_round = {name: {"CREMA": by_test["CREMA"][:1]} for name, by_test in experiments.items()}
    assert not lay_out(one_round, "baseline", "uar", seed=1, resamples=RESAMPLES).cells["is_claimed"].any()
    seeds = {name: {"train.seed": str(number)} for number, name in enumerate(experiments)}
    assert not lay_out(experiments, "baseline", "uar", seed=1, resamples=RESAMPLES, divided_by=seeds).cells["is_claimed"].any()


def test_the_lowest_loss_is_the_best(experiments):
    cells = lay_out(experiments, "baseline", "loss", seed=1, resamples=RESAMPLES).cells.query("test == 'CREMA'")
    assert cells.set_index("experiment")["is_best"].idxmax() == cells.set_index("experiment")["mean"].idxmin()


def test_an_unknown_baseline_is_refused(experiments):
    with pytest.raises(DataError, match="no experiment 'none', expected one of: baseline"):
        lay_out(experiments, "none", "uar", seed=1)


@pytest.mark.parametrize("cell", ["sd", "interval"])
def test_every_page_holds_every_number_and_says_what_it_means(overview, cell):
    number = f"{overview.cells.iloc[0]['mean']:.3f}"
    pages = [
        overview_markdown(overview, cell, "Encoders", "synthetic data"),
        overview_html(overview, cell, "Encoders", "synthetic data"),
        overview_latex(overview, cell, "synthetic data"),
    ]
    for page in pages:
        assert number in page
        assert "synthetic data" in page.lower()
        assert "Holm over the table's 4 tests" in page
    assert "better_model &amp; co" in pages[1]
    assert r"better\_model \& co" in pages[2]
    assert r"\toprule" in pages[2]
    assert pages[2].count(r"\midrule") == 2


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex here")
@pytest.mark.parametrize("more", ["", " with a name that is longer than most"])
@pytest.mark.parametrize("cell", ["sd", "interval"])
def test_the_latex_compiles_and_its_letters_shrink_until_it_fits_the_page(overview, cell, more, tmp_path):
    wider = replace(overview, cells=overview.cells.assign(experiment=overview.cells["experiment"] + more))
    start = r"\documentclass{article}\usepackage{booktabs}\usepackage[textwidth=480pt]{geometry}\begin{document}"
    (tmp_path / "table.tex").write_text(start + overview_latex(wider, cell, "synthetic data") + r"\end{document}", encoding="utf-8")
    done = subprocess.run(["pdflatex", "-halt-on-error", "table.tex"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-1000:]
    assert "Overfull" not in done.stdout


def test_settings_that_notes_name_are_code_in_html(overview):
    page = overview_html(replace(overview, notes=["use `fold=all` & more"]), "sd", "Encoders")
    assert "<li>use <code>fold=all</code> &amp; more</li>" in page


def test_the_figure_has_a_panel_per_test_set(overview, tmp_path):
    figure = overview_points(overview.cells, overview.tests, "uar", "Encoders", "synthetic data")
    assert [axes.get_title(loc="left") for axes in figure.axes if axes.get_visible()] == ["CREMA (12 speakers)", "TESS (8 speakers)"]
    save(figure, tmp_path / "overview.png")
    assert (tmp_path / "overview.png").stat().st_size > 0
