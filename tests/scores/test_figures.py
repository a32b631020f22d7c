"""Figures: deterministic, whole, without side effects, and showing what they were given."""

import pkgutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from scipy.special import softmax

from ser_mlops.emotions import EMOTIONS
from ser_mlops.scores import figures
from ser_mlops.scores.calibration import calibration, expected_calibration_error
from ser_mlops.scores.comparison import compare
from ser_mlops.scores.figures.comparison import comparison_figures, difference_intervals, rounds_comparison
from ser_mlops.scores.figures.emotions import distribution
from ser_mlops.scores.figures.recordings import over_time
from ser_mlops.scores.figures.style import EMOTION_COLOURS, save
from ser_mlops.scores.figures.sweeps import trial_contour, trial_curves, trial_history, trial_importances, trial_parallel
from ser_mlops.scores.figures.testing import confusion, cross_corpus, reliability
from ser_mlops.scores.figures.training import round_curves, rounds_curves
from ser_mlops.scores.predictions import confusion_of, logits_of
from tests.builders import tiny_predictions

NOTE = "synthetic data"
LONG = "CREMA+EMOFILM+RAVDESS+SAVEE+TESS to CAFE, HuB-LL, encoder frozen, round"
PARAMETERS = ["lr", "weight_decay"]


def history(epochs: int) -> pd.DataFrame:
    epoch = np.arange(1, epochs + 1)
    return pd.DataFrame(
        {"epoch": epoch, "train/loss": 2 / epoch, "val/loss": 1 + 1 / epoch, "val/accuracy": 1 - 0.7 / epoch, "val/uar": 1 - 0.8 / epoch}
    )


def trials(count: int) -> pd.DataFrame:
    generator = np.random.default_rng(count)
    return pd.DataFrame(
        {
            "number": range(count),
            "lr": 10 ** generator.uniform(-6, -3, count),
            "weight_decay": 10 ** generator.uniform(-5, -1, count),
            "value": generator.uniform(0.2, 0.6, count),
        }
    )


def drawn(name: str) -> Figure:
    """Draw one of the figures from small but realistic tables."""
    table = tiny_predictions(1, 0)
    bins = calibration(logits_of(table), table["labels"].to_numpy())
    corpora = ["CAFE", "CREMA", "MSP_PODCAST"]
    uar = pd.DataFrame([[0.7, 0.3, 0.2], [0.4, 0.8, np.nan], [0.2, 0.3, 0.6]], index=corpora, columns=corpora)
    cells = uar.set_axis(["CAFE", "MSP_PODCAST_test1", "MSP_PODCAST_test2"], axis=1)
    left_out = uar.where(np.eye(3, dtype=bool)).set_axis(["CREMA+MSP_PODCAST", "CAFE+MSP_PODCAST", "CAFE+CREMA"])
    sides = pd.DataFrame({"train": [70, 81, 80, 80, 79, 81, 0], "test": [0, 0, 0, 0, 0, 0, 0]}, index=list(EMOTIONS))
    values = pd.DataFrame([[0.5, 0.6, 0.55], [0.2, 0.21, 0.22]], index=["HuB-LL", "tiny, frozen encoder"])
    summary = pd.DataFrame({"mean": values.mean(axis=1), "ci_low": [0.45, 0.15], "ci_high": [0.62, 0.25]})
    reports = pd.DataFrame({"number": [0, 0, 1, 1, 2], "step": [0, 1, 0, 1, 0], "value": [0.3, 0.4, 0.5, 0.6, 0.1]})
    reports["is_pruned"] = reports["number"] == 2
    windows = pd.DataFrame(softmax(logits_of(table)[:4], axis=1), columns=list(EMOTIONS)).assign(start=range(4), end=range(1, 5))
    sound = np.sin(np.arange(64_000) / 9) * np.linspace(0.1, 0.6, 64_000)
    draw = {
        "round": lambda: round_curves(history(20), 14, "CREMA · HuB-LL · round 0", NOTE),
        "one epoch": lambda: round_curves(history(1), 1, "CREMA · tiny · round 0", NOTE),
        "rounds": lambda: rounds_curves(
            {("CREMA", 0): history(5), ("CREMA", 1): history(7)}, {("CREMA", 0): 3, ("CREMA", 1): 7}, "CREMA", NOTE
        ),
        "confusion": lambda: confusion(confusion_of(table), EMOTIONS, "CREMA", NOTE),
        "reliability": lambda: reliability(bins, expected_calibration_error(bins), "CREMA", NOTE),
        "distribution": lambda: distribution(sides, "CREMA", NOTE),
        "rounds comparison": lambda: rounds_comparison(values, summary, "test UAR", "CREMA", NOTE, chance=1 / 6),
        "cross corpus": lambda: cross_corpus(cells, cells + 0.1, cells * 0 + 1 / 6, "Matrix", NOTE),
        "over time": lambda: over_time(sound, 16_000, windows, "a.wav", NOTE),
        "over a moment": lambda: over_time(sound[:3], 16_000, windows[:1].assign(end=3 / 16_000), f"{LONG}.wav", NOTE),
        "history": lambda: trial_history(trials(30), "mean validation UAR", "Sweep", NOTE),
        "importances": lambda: trial_importances({"lr": 0.97, "weight_decay": 0.03}, "Sweep", NOTE),
        "contour": lambda: trial_contour(trials(30), *PARAMETERS, PARAMETERS, "mean validation UAR", "Sweep", NOTE),
        "contour of one": lambda: trial_contour(trials(1), *PARAMETERS, PARAMETERS, "mean validation UAR", "Sweep", NOTE),
        "parallel": lambda: trial_parallel(trials(30), PARAMETERS, ["lr"], "mean validation UAR", "Sweep", NOTE),
        "parallel of one": lambda: trial_parallel(trials(1), PARAMETERS, ["lr"], "mean validation UAR", "Sweep", NOTE),
        "reports": lambda: trial_curves(reports, "epoch", "mean validation UAR", "Sweep", NOTE),
        "loss history": lambda: trial_history(trials(30), "validation loss", "Sweep", NOTE),
        "long names": lambda: rounds_curves(
            {(f"{LONG} {number}", number % 2): history(9 + number) for number in range(12)},
            {(f"{LONG} {number}", number % 2): 9 for number in range(12)},
            f"{LONG}, {LONG}, {LONG}",
            NOTE,
        ),
        "left out": lambda: cross_corpus(left_out, left_out + 0.1, left_out * 0 + 1 / 6, LONG, NOTE),
        "one training": lambda: cross_corpus(cells[:1], cells[:1] * np.nan, cells[:1] * 0 + 1 / 6, "Cross", NOTE),
        "all rounds": lambda: confusion(
            3 * confusion_of(table) + np.eye(7, dtype=int), EMOTIONS, "CREMA, mean of 3 rounds", NOTE, rounds=3
        ),
        "long rows": lambda: cross_corpus(uar.set_axis([LONG, "CREMA", "TESS"]), uar * np.nan, uar * np.nan, LONG, NOTE),
        "long compared": lambda: rounds_comparison(values.set_axis([LONG, "b"]), summary.set_axis([LONG, "b"]), "UAR", LONG, NOTE),
    }
    return draw[name]()


NAMES = [
    "round",
    "one epoch",
    "rounds",
    "confusion",
    "reliability",
    "distribution",
    "rounds comparison",
    "cross corpus",
    "over time",
    "over a moment",
    "history",
    "importances",
    "contour",
    "contour of one",
    "parallel",
    "parallel of one",
    "reports",
    "loss history",
    "long names",
    "left out",
    "one training",
    "all rounds",
    "long rows",
    "long compared",
]


def texts_of(figure: Figure) -> list[Text]:
    return [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]


def assert_whole(figure: Figure) -> None:
    """Nothing that is drawn, above all no text, reaches beyond the figure."""
    figure.draw_without_rendering()
    drawn_box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert min(drawn_box.x0, drawn_box.y0) > -0.01
    assert drawn_box.x1 < width + 0.01
    assert drawn_box.y1 < height + 0.01


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_is_whole_carries_its_note_and_is_the_same_twice(name: str, tmp_path: Path) -> None:
    figure = drawn(name)
    assert NOTE in [text.get_text() for text in texts_of(figure)]
    assert_whole(figure)
    for path in (tmp_path / "one.png", tmp_path / "two.png"):
        save(drawn(name), path)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_a_pdf_is_vectors_with_its_fonts_in_it_and_the_same_twice(tmp_path: Path) -> None:
    for path in (tmp_path / "one.pdf", tmp_path / "two.pdf"):
        save(drawn("round"), path)
    content = (tmp_path / "one.pdf").read_bytes()
    assert content == (tmp_path / "two.pdf").read_bytes()
    assert content.startswith(b"%PDF")
    assert b"/FontFile2" in content, "TrueType (Type 42)"
    assert b"/Type3" not in content
    assert b"/Subtype /Image" not in content


def test_a_comparison_has_a_figure_for_every_grouping_with_several_values() -> None:
    experiments = {name: [tiny_predictions(skill, seed) for seed in (0, 1)] for name, skill in ((LONG, 1.5), ("tiny", 0.0))}
    comparison = compare(experiments, seed=1)
    drawings = dict(comparison_figures(comparison.rounds, comparison.scores, comparison.differences, comparison.groups, NOTE))
    assert list(drawings) == ["rounds", "differences", "by_gender", "by_speaker"]
    for figure in drawings.values():
        assert_whole(figure)


def test_a_confusion_matrix_has_the_emotions_present_as_rows_and_all_as_columns() -> None:
    counts = np.zeros((7, 7), dtype=int)
    counts[1, 1], counts[1, 6], counts[3, 3] = 3, 1, 1200
    axes = confusion(counts, EMOTIONS, "CREMA").axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["happy (4)", "angry (1,200)"]
    assert [label.get_text() for label in axes.get_xticklabels()] == list(EMOTIONS)
    cells = [text.get_text() for text in axes.texts]
    assert cells[2:4] == ["75 %", "3"]
    assert "100 %" in cells


def test_the_best_trial_is_the_lowest_loss_and_the_highest_score() -> None:
    table = pd.DataFrame({"number": [0, 1, 2], "lr": [1e-5, 1e-4, 1e-3], "weight_decay": [1.0, 2.0, 4.0], "value": [0.3, 0.5, 0.1]})
    reports = pd.DataFrame({"number": [0, 1, 2], "step": 0, "value": [0.3, 0.5, 0.1], "is_pruned": False})
    for metric, best in (("validation uar", 1), ("validation loss", 2)):
        for figure in (
            trial_contour(table, "lr", "weight_decay", ["lr"], metric, "Sweep"),
            trial_curves(reports, "epoch", metric, "Sweep"),
            trial_parallel(table, PARAMETERS, ["lr"], metric, "Sweep"),
        ):
            assert f"best: trial {best}" in [text.get_text() for text in texts_of(figure)]
        (line,) = [line for line in trial_history(table, metric, "Sweep").axes[0].lines if line.get_label() == "best so far"]
        assert line.get_ydata()[-1] == table.loc[best, "value"]


def test_the_curves_of_trials_name_what_they_follow_and_no_kind_of_trial_that_there_is_not() -> None:
    reports = pd.DataFrame({"number": [0, 1], "step": 0, "value": [0.3, 0.5], "is_pruned": False})
    axes = trial_curves(reports, "round", "validation uar", "Sweep").axes[0]
    assert axes.get_xlabel() == "round"
    assert axes.get_legend_handles_labels()[1] == ["complete", "best: trial 1"]
    reports["is_pruned"] = [True, False]
    axes = trial_curves(reports, "round", "validation uar", "Sweep").axes[0]
    assert axes.get_legend_handles_labels()[1] == ["pruned", "best: trial 1"]


def test_every_emotion_has_a_colour_of_its_own() -> None:
    assert list(EMOTION_COLOURS) == list(EMOTIONS)
    assert len(set(EMOTION_COLOURS.values())) == len(EMOTIONS)


def test_drawing_leaves_matplotlibs_settings_as_they_were(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    save(drawn("round"), tmp_path / "round.png")
    assert dict(matplotlib.rcParams) == before


def test_nothing_touches_pyplot() -> None:
    modules = [f"{figures.__name__}.{module.name}" for module in pkgutil.iter_modules(figures.__path__)]
    assert len(modules) > 5
    program = f"import sys, {', '.join(modules)}; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_ticks_of_differences_are_not_rounded() -> None:
    row = {"baseline": "a", "experiment": "b", "difference": -0.02, "ci_low": -0.08, "ci_high": 0.04, "p_holm": 0.5, "verdict": "no"}
    figure = difference_intervals(pd.DataFrame([row]), "Difference", NOTE)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    for place, label in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True):
        assert float(label.get_text().replace("−", "-")) == pytest.approx(100 * place)


def test_what_has_no_interval_is_drawn_without_one() -> None:
    one_speaker = {name: [tiny_predictions(1, seed, speakers=1)] for name, seed in (("a", 0), ("b", 5))}
    comparison = compare(one_speaker, seed=1)
    drawings = dict(comparison_figures(comparison.rounds, comparison.scores, comparison.differences, comparison.groups, NOTE))
    assert "no intervals" in drawings["rounds"].axes[0].get_xlabel()
    assert any("too few speakers for a p" in text.get_text() for text in texts_of(drawings["differences"]))
    for figure in drawings.values():
        assert_whole(figure)


def test_rounds_of_one_training_share_a_colour_and_trainings_have_their_own() -> None:
    histories = {(training, number): history(3) for training in ("A", "B") for number in (0, 1)}
    axes = rounds_curves(histories, dict.fromkeys(histories, 2), "A and B", NOTE).axes[0]
    lines = [line for line in axes.lines if line.get_linestyle() != "None"]
    colours, dashes = [line.get_color() for line in lines], [line.get_linestyle() for line in lines]
    assert colours[0] == colours[1] != colours[2] == colours[3]
    assert dashes[0] == dashes[2] != dashes[1] == dashes[3]


def test_a_confusion_matrix_over_rounds_counts_clips_once() -> None:
    counts = np.zeros((7, 7), dtype=int)
    counts[1, 1], counts[1, 6] = 50, 10
    axes = confusion(counts, EMOTIONS, "CREMA", rounds=3).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["happy (20)"]
    assert {"16.7", "3.3", "83 %"} <= {text.get_text() for text in axes.texts}


def test_a_leave_one_out_matrix_has_bars_with_chance_and_no_empty_cell() -> None:
    uar = pd.DataFrame([[np.nan, 0.4], [0.3, np.nan]], index=["A", "B"], columns=["A", "B"])
    axes = cross_corpus(uar, uar, uar * 0 + 0.25, "Matrix", NOTE).axes[0]
    assert sorted(patch.get_width() for patch in axes.patches) == [0.3, 0.4]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["A, trained on B", "B, trained on A"]
    assert not axes.images


def test_long_names_beside_differences_do_not_overlap() -> None:
    rows = [
        {"baseline": LONG, "experiment": LONG, "difference": 0.1, "ci_low": 0.0, "ci_high": 0.2, "p_holm": 0.5, "verdict": "no"}
        for _ in "abc"
    ]
    figure = difference_intervals(pd.DataFrame(rows), "Difference", NOTE)
    figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert all(above.y0 > below.y1 for above, below in pairwise(boxes))
