"""Defects and duplicates are resolved with a reason each, and counted."""

import hashlib

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_mlops.data.quality import CONTRADICTION, DUPLICATE, count_quality, resolve_defects
from ser_mlops.errors import DataError

COLUMNS = ["path", "labels", "reason", "rule", "speaker", "num_samples", "sha256", "defect", "warnings"]


def stages_of(*rows: dict) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Catalogue and audio index of some files; `heard` is what a file sounds like."""
    table = pd.DataFrame([{"labels": 0, "reason": "", "rule": "", "speaker": "X/1", "defect": "", "warnings": ""} | row for row in rows])
    table["num_samples"] = 16000
    table["sha256"] = [hashlib.sha256(str(heard).encode()).hexdigest() for heard in table.get("heard", table["path"])]
    in_index = ~table["reason"].str.contains("name|copy|audio")
    index = table.loc[in_index, ["path", "num_samples", "sha256", "defect", "warnings"]]
    return table[["path", "labels", "reason", "rule", "speaker"]], index


def reasons_of(left_out: pd.DataFrame) -> dict[str, tuple[str, str]]:
    return {row.path: (row.reason, row.twin) for row in left_out.itertuples()}


def test_of_clips_with_the_same_samples_and_label_the_first_by_path_is_kept():
    kept, left_out = resolve_defects(
        *stages_of({"path": "X/c", "heard": "a"}, {"path": "X/a", "heard": "a"}, {"path": "X/b", "heard": "a"})
    )
    assert kept["path"].tolist() == ["X/a"]
    assert reasons_of(left_out) == {"X/b": (DUPLICATE, "X/a"), "X/c": (DUPLICATE, "X/a")}


def test_of_clips_with_the_same_samples_and_contradictory_labels_none_is_kept():
    kept, left_out = resolve_defects(*stages_of({"path": "X/a", "heard": "a"}, {"path": "X/b", "heard": "a", "labels": 1}, {"path": "X/c"}))
    assert kept["path"].tolist() == ["X/c"]
    assert reasons_of(left_out) == {"X/a": (CONTRADICTION, "X/b"), "X/b": (CONTRADICTION, "X/a")}


def test_a_clip_that_a_rule_left_out_contradicts_nothing():
    kept, _ = resolve_defects(
        *stages_of({"path": "X/a", "heard": "a", "labels": -1, "reason": "emotion: calm"}, {"path": "X/b", "heard": "a"})
    )
    assert kept["path"].tolist() == ["X/b"]


def test_clips_with_a_defect_are_no_duplicates_of_each_other():
    zeros, empty = {"path": "X/a", "heard": "", "defect": "all zeros"}, {"path": "X/b", "heard": "", "defect": "empty file"}
    _, left_out = resolve_defects(*stages_of(zeros, empty))
    assert reasons_of(left_out) == {"X/a": ("all zeros", ""), "X/b": ("empty file", "")}


def test_reasons_of_the_catalogue_are_kept_and_a_copy_names_its_twin():
    _, left_out = resolve_defects(
        *stages_of(
            {"path": "X/a"},
            {"path": "X/b", "reason": "copy of X/a", "labels": -1},
            {"path": "X/c", "reason": "unparsable name", "labels": -1},
            {"path": "X/d", "reason": "label row without audio", "labels": -1},
        )
    )
    assert reasons_of(left_out) == {"X/b": ("copy", "X/a"), "X/c": ("unparsable name", ""), "X/d": ("label row without audio", "")}


def test_a_catalogue_newer_than_the_audio_is_refused():
    catalogue, index = stages_of({"path": "X/a"}, {"path": "X/b"})
    with pytest.raises(DataError, match=r"'X/b' is in the catalogue, not in the audio index: run `dvc repro`"):
        resolve_defects(catalogue, index[index["path"] != "X/b"])


rows = st.lists(
    st.fixed_dictionaries(
        {
            "heard": st.integers(0, 6),
            "labels": st.integers(0, 2),
            "defect": st.sampled_from(["", "", "", "all zeros"]),
            "reason": st.sampled_from(["", "", "", "unparsable name", "emotion: calm"]),
        }
    ),
    min_size=1,
    max_size=25,
)


@given(rows, st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_every_file_is_kept_or_left_out_once_and_order_is_irrelevant(rows, random):
    rows = [row | {"path": f"X/{i:02}"} for i, row in enumerate(rows)]
    catalogue, index = stages_of(*rows)
    kept, left_out = resolve_defects(catalogue, index)
    assert sorted([*kept["path"], *left_out["path"]]) == catalogue["path"].tolist()
    assert not kept["sha256"].duplicated().any()
    assert (left_out["reason"] != "").all()
    again = resolve_defects(
        catalogue.sample(frac=1, random_state=random.randrange(99)), index.sample(frac=1, random_state=random.randrange(99))
    )
    pd.testing.assert_frame_equal(again[0], kept)
    pd.testing.assert_frame_equal(again[1], left_out)


def test_counts_add_up():
    catalogue, index = stages_of(
        {"path": "X/a", "warnings": "clipped samples, unusual rate", "rule": "calm: neutral"},
        {"path": "X/b", "warnings": "clipped samples"},
        {"path": "X/c", "defect": "all zeros", "warnings": "clipped samples"},
        {"path": "X/d", "reason": "unparsable name"},
        {"path": "X/e", "reason": "copy of X/a"},
        {"path": "X/f", "reason": "copy of X/b"},
    )
    catalogue.attrs["other_files"] = {".txt": 3}
    kept, left_out = resolve_defects(catalogue, index)
    quality = count_quality(catalogue, index, left_out, kept, release_clips=7)
    assert (quality.found, quality.kept, quality.clips, quality.release_clips) == (6, 2, 3, 7)
    assert quality.left_out == {"copy": 2, "all zeros": 1, "unparsable name": 1}
    assert quality.found == quality.kept + sum(quality.left_out.values())
    assert quality.warnings == {"clipped samples": 2, "unusual rate": 1, "number of clips unlike the release": 1}
    assert quality.rules == {"calm: neutral": 1}
    assert quality.other_files == {".txt": 3}
