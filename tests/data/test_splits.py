"""Splits keep groups whole, are balanced, and follow from the clips and the seed alone."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_mlops.data.splits import assign_folds, check_division, divide, draw_validation, halve, stratified_folds
from ser_mlops.emotions import EMOTIONS
from ser_mlops.errors import DataError

SEED = 19730309


def clips_of(rows: list[dict]) -> pd.DataFrame:
    """A table of clips; what a row does not give is the same for all or follows from its number."""
    table = pd.DataFrame([{"corpus": "X", "gender": "female", "labels": 0, "text": "", "speaker": "X/1"} | row for row in rows])
    table["path"] = [f"X/{i}.wav" for i in range(len(table))]
    table["sha256"] = [f"{i:064x}" for i in range(len(table))]
    if "group" not in table:
        table["group"] = table["speaker"]
    return table


def acted_corpus(genders: str, num_labels: int, takes: int) -> pd.DataFrame:
    """Every actor (one letter m or f each) says every text with every emotion."""
    return clips_of(
        [
            {"speaker": f"X/{actor}", "gender": {"f": "female", "m": "male"}[gender], "labels": label, "text": f"t{take}"}
            for actor, gender in enumerate(genders)
            for label in range(num_labels)
            for take in range(takes)
        ]
    )


corpora = st.lists(
    st.fixed_dictionaries(
        {
            "group": st.sampled_from([f"X/g{i}" for i in range(12)]),
            "labels": st.integers(0, len(EMOTIONS) - 1),
            "gender": st.sampled_from(["female", "male", "unknown"]),
            "text": st.sampled_from(["", "a", "b", "c", "d"]),
        }
    ),
    min_size=2,
    max_size=80,
).map(clips_of)


@given(corpora, st.integers(1, 8), st.integers(0, 3), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_no_group_is_in_two_folds_every_clip_is_in_one_and_order_is_irrelevant(table, num_folds, seed, random):
    folds = assign_folds(table, num_folds, seed)
    assert len(folds) == len(table)
    assert set(folds) <= set(range(num_folds))
    assert (pd.Series(folds).groupby(table["group"]).nunique() == 1).all()
    assert len(set(folds)) == min(num_folds, table["group"].nunique())
    shuffled = table.sample(frac=1, random_state=random.randrange(1000))
    assert np.array_equal(assign_folds(shuffled, num_folds, seed), folds[shuffled.index])
    assert np.array_equal(assign_folds(table, num_folds, seed), folds)


@given(corpora, st.floats(0.05, 0.9), st.integers(0, 3), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_validation_keeps_units_whole_and_leaves_some_on_each_side(table, share, seed, random):
    mask, by = draw_validation(table, share, seed)
    assert mask.any()
    assert not mask.all()
    if by != "clip":
        unit = table[by].where(table[by] != "", table["path"])
        assert (pd.Series(mask).groupby(unit).nunique() == 1).all()
    shuffled = table.sample(frac=1, random_state=random.randrange(1000))
    assert np.array_equal(draw_validation(shuffled, share, seed)[0], mask[shuffled.index])
    elsewhere = table.iloc[:1].assign(path="Y/0", sha256="f" * 64, group="Y/0", corpus="Y")
    check_division(table[~mask], table[mask], elsewhere, {"X": by})


@given(corpora, st.integers(0, 3))
@settings(max_examples=100, deadline=None)
def test_halves_keep_groups_whole(table, seed):
    if table["group"].nunique() < 2:
        with pytest.raises(DataError, match="expected two groups"):
            halve(table, seed)
        return
    mask = halve(table, seed)
    assert mask.any()
    assert not mask.all()
    assert (pd.Series(mask).groupby(table["group"]).nunique() == 1).all()


@given(corpora, st.floats(0.05, 0.95), st.integers(0, 3))
@settings(max_examples=100, deadline=None)
def test_the_old_rule_takes_its_share_of_every_emotion(table, ratio, seed):
    folds = stratified_folds(table, ratio, seed)
    for label, clips in pd.Series(folds).groupby(table["labels"]):
        assert (clips == 0).sum() == round(ratio * len(clips)), EMOTIONS[label]
    shuffled = table.iloc[::-1]
    assert np.array_equal(stratified_folds(shuffled, ratio, seed), folds[::-1])


@pytest.mark.parametrize(("genders", "num_folds"), [("mf" * 6, 3), ("m" * 48 + "f" * 43, 5), ("mf" * 12, 6), ("mmmm", 4), ("ff", 2)])
def test_folds_of_acted_corpora_are_balanced_by_actors_and_gender(genders, num_folds):
    table = acted_corpus(genders, 6, 2)
    for seed in range(5):
        folds = assign_folds(table, num_folds, seed)
        actors = table.assign(fold=folds).drop_duplicates("speaker")
        assert np.ptp(np.bincount(actors["fold"], minlength=num_folds)) <= 1
        for gender in actors["gender"].unique():
            assert np.ptp(np.bincount(actors.loc[actors["gender"] == gender, "fold"], minlength=num_folds)) <= 1


def uneven_corpus(num_speakers: int, seed: int) -> pd.DataFrame:
    """Speakers of 20 to 59 clips, of any emotion and gender."""
    random = np.random.default_rng(seed)
    return clips_of(
        [
            {"speaker": f"X/{speaker}", "gender": gender, "labels": int(label), "text": f"t{take}"}
            for speaker in range(num_speakers)
            for gender in [random.choice(["female", "male"])]
            for take, label in enumerate(random.integers(0, 7, random.integers(20, 60)))
        ]
    )


@pytest.mark.parametrize("corpus", [1, 2, 3])
def test_every_seed_has_a_validation_set_of_its_own_with_its_share_of_everything(corpus):
    table = uneven_corpus(40, corpus)
    masks = [draw_validation(table, 0.15, seed)[0] for seed in range(12)]
    assert len({mask.tobytes() for mask in masks}) == 12
    assert np.mean([abs(mask.mean() - 0.15) for mask in masks]) < 0.003
    shares = [np.bincount(table["labels"][mask]) / np.bincount(table["labels"]) for mask in masks]
    assert np.mean([np.abs(share - 0.15).max() for share in shares]) < 0.025
    is_female = table["gender"] == "female"
    assert np.mean([abs(is_female[mask].mean() - is_female.mean()) for mask in masks]) < 0.03
    assert len({halve(table, seed).tobytes() for seed in range(12)}) == 12


def test_the_largest_group_can_validate_too():
    table = uneven_corpus(40, 1)
    largest = table["speaker"].value_counts().index[0]
    assert any((table["speaker"][draw_validation(table, 0.15, seed)[0]] == largest).any() for seed in range(30))


def test_folds_that_are_drawn_weigh_size_emotion_and_gender():
    table = uneven_corpus(40, 4)
    folds = pd.Series(assign_folds(table, 5, SEED))
    assert np.ptp(folds.value_counts()) <= 0.02 * len(table)
    emotions = pd.crosstab(folds, table["labels"], normalize="index")
    assert np.ptp(emotions, axis=0).max() < 0.05
    female = (table["gender"] == "female").groupby(folds).mean()
    assert np.ptp(female) < 0.06


def test_folds_stay_the_same_on_every_machine():
    folds = assign_folds(acted_corpus("mfmfmfmf", 7, 1), 3, SEED)
    assert folds[::7].tolist() == [2, 1, 1, 1, 0, 2, 0, 0]


def test_actors_whom_the_protocol_names_keep_their_fold_whatever_is_left_out():
    table = acted_corpus("mfmfmf", 7, 2)
    fold_table = {str(actor): actor % 2 for actor in range(6)}
    left = table[(table["speaker"] != "X/3") & (table.index % 5 != 0)]
    folds = assign_folds(left, 2, SEED, fold_table)
    assert all(fold == fold_table[speaker.removeprefix("X/")] for speaker, fold in zip(left["speaker"], folds, strict=True))


def test_a_group_whose_speakers_have_different_fixed_folds_is_refused():
    table = clips_of([{"speaker": "X/1", "group": "X/g"}, {"speaker": "X/2", "group": "X/g"}])
    with pytest.raises(DataError, match=r"'X/g'.*'X/2'.*fold 1"):
        assign_folds(table, 2, SEED, {"1": 0, "2": 1})


def test_validation_is_drawn_by_group_with_its_share_of_every_emotion():
    table = acted_corpus("mf" * 10, 7, 3)
    mask, by = draw_validation(table, 0.15, SEED)
    assert by == "group"
    assert mask.mean() == pytest.approx(0.15)
    assert np.bincount(table["labels"][mask]).tolist() == [9] * 7


def test_validation_is_drawn_by_word_where_one_actress_is_left():
    table = acted_corpus("f", 7, 20)
    mask, by = draw_validation(table, 0.15, SEED)
    assert by == "text"
    assert mask.sum() == 21
    assert set(table["text"][mask]).isdisjoint(table["text"][~mask])


def test_validation_needs_two_clips():
    with pytest.raises(DataError, match="X: 1 clip left"):
        draw_validation(clips_of([{}]), 0.15, SEED)


def test_a_group_in_training_and_test_is_refused_by_name():
    table = acted_corpus("mmm", 2, 1)
    with pytest.raises(DataError, match=r"group 'X/0' is on two sides: X/0.wav in training, X/1.wav in test"):
        check_division(table.iloc[[0]], table.iloc[[2]], table.iloc[[1]], {"X": "text"})


def test_a_group_in_training_and_validation_is_refused_unless_drawn_by_text():
    table = clips_of([{"text": "a"}, {"text": "b"}, {"text": "b"}, {"speaker": "X/2"}])
    with pytest.raises(DataError, match="group 'X/1' is on two sides"):
        check_division(table.iloc[[0]], table.iloc[[1]], table.iloc[[3]], {})
    check_division(table.iloc[[0]], table.iloc[[1]], table.iloc[[3]], {"X": "text"})
    with pytest.raises(DataError, match="text 'b' is on two sides"):
        check_division(table.iloc[[0, 1]], table.iloc[[2]], table.iloc[[3]], {"X": "text"})


def test_identical_samples_on_two_sides_are_refused():
    table = acted_corpus("mmm", 1, 1)
    table.loc[2, "sha256"] = table.loc[0, "sha256"]
    with pytest.raises(DataError, match=r"sha256 '0+' is on two sides: X/0.wav in training, X/2.wav in test"):
        check_division(table.iloc[[0]], table.iloc[[1]], table.iloc[[2]], {})


def test_the_same_recording_in_two_corpora_is_refused_with_what_to_do():
    table = acted_corpus("mmm", 1, 1)
    table.loc[2, ["corpus", "sha256"]] = ["Y", table.loc[0, "sha256"]]
    with pytest.raises(
        DataError, match="the same recording is in two corpora, leave X or Y out, or remove it from one and run `dvc repro`"
    ):
        check_division(table.iloc[[0]], table.iloc[[1]], table.iloc[[2]], {})


def test_official_parts_win_over_folds_and_have_none():
    table = acted_corpus("mm", 2, 1).assign(part=["train", "train", "test1", "test1"])
    groups, folds = divide(table, "stratified", 5, {}, 0.2, SEED)
    assert folds.tolist() == [-1] * 4
    assert groups.tolist() == table["group"].tolist()


def test_a_corpus_of_official_parts_refuses_a_clip_without_one():
    table = acted_corpus("mm", 2, 1).assign(part=["train", "train", "test1", ""])
    with pytest.raises(DataError, match=r"clip 'X/3.wav' has no official part"):
        divide(table, "groups", 0, {}, 0.2, SEED)


def test_under_the_old_rule_each_clip_is_its_own_group():
    table = acted_corpus("mm", 2, 5).assign(part="")
    groups, folds = divide(table, "stratified", 5, {}, 0.2, SEED)
    assert groups.tolist() == table["path"].tolist()
    assert np.bincount(folds).tolist() == [4, 16]
