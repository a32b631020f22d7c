"""Every row of the table of experiments is pinned: who is trained on, who validates and who is tested, by speaker."""

import pandas as pd
import pytest

from ser_mlops.data.frames import NO_FOLD
from ser_mlops.data.splits import stratified_folds
from ser_mlops.emotions import SEVEN, Space
from ser_mlops.errors import DataError, SettingsError
from ser_mlops.experiments.corpora import corpora_of
from ser_mlops.experiments.plan import APART, PERHAPS_SHARED, POOLED, SHARED, Training, plan_trainings
from tests.builders import parted_frame, tiny_frame

SEED = 19730309

# Five speakers in three folds; four in two; three in folds 0 and 2, fold 1 being empty.
A = tiny_frame("A", {"a0": 0, "a0bis": 0, "a1": 1, "a1bis": 1, "a2": 2})
B = tiny_frame("B", {"b0": 0, "b0bis": 0, "b1": 1, "b1bis": 1})
GAP = tiny_frame("GAP", {"g0": 0, "g0bis": 0, "g2": 2, "g2bis": 2})
OFFICIAL = parted_frame("OFFICIAL", {"t": "train", "t_bis": "train", "v": "validation", "x": "test1", "y": "test2", "z": "test2"})
IMPORTED = parted_frame("IMPORTED", {"i": "train", "j": "train", "k": "train", "m": "test"})
FRAMES = {"A": A, "B": B, "GAP": GAP, "OFFICIAL": OFFICIAL, "IMPORTED": IMPORTED}


def plan(frames: dict[str, pd.DataFrame] = FRAMES, **given) -> list[Training]:
    settings = {
        "experiment_type": "indep",
        "train_datasets": (),
        "test_dataset": None,
        "test_split_source": None,
        "fold": 0,
        "validation_share": 0.15,
        "seed": SEED,
    }
    return plan_trainings(frames, **(settings | given))


def frames(*names: str) -> dict[str, pd.DataFrame]:
    return {name: FRAMES[name] for name in names}


def speakers(frame: pd.DataFrame) -> set[str]:
    return {speaker.partition("/")[2] for speaker in frame["speaker"]}


def heard(training: Training) -> set[str]:
    """Speakers of training and validation together."""
    return speakers(training.train) | speakers(training.validation)


def asked(training: Training) -> dict[str, set[str]]:
    """Speakers of each test set."""
    return {name: speakers(frame) for name, frame in training.tests.items()}


ALL_A, ALL_B, ALL_GAP = speakers(A), speakers(B), speakers(GAP)
HEARD_OFFICIAL, TESTED_OFFICIAL = {"t", "t_bis", "v"}, {"OFFICIAL_test1": {"x"}, "OFFICIAL_test2": {"y", "z"}}

TABLE = [
    # given, then for each training: corpora trained on, tag, fold, speakers of training and validation, speakers of each test set
    pytest.param(
        {"test_dataset": "A"},
        "A B",
        [(("A",), "A", 0, {"a1", "a1bis", "a2"}, {"A": {"a0", "a0bis"}})],
        id="indep, same corpus: its held-out fold",
    ),
    pytest.param(
        {"test_dataset": "A", "fold": 2},
        "A B",
        [(("A",), "A", 2, {"a0", "a0bis", "a1", "a1bis"}, {"A": {"a2"}})],
        id="indep, same corpus, another fold",
    ),
    pytest.param(
        {"test_dataset": "A", "train_datasets": ("A",)},
        "A",
        [(("A",), "A", 0, {"a1", "a1bis", "a2"}, {"A": {"a0", "a0bis"}})],
        id="indep, same corpus by name",
    ),
    pytest.param(
        {"test_dataset": "A", "train_datasets": ("B",), "fold": 1},
        "A B",
        [(("B",), "A", None, ALL_B, {"A": ALL_A})],
        id="indep, other corpus: both whole",
    ),
    pytest.param(
        {"test_dataset": "A", "train_datasets": ("B", "A"), "fold": 1},
        "A B",
        [(("B", "A"), "A", 1, ALL_B | {"a0", "a0bis", "a2"}, {"A": {"a1", "a1bis"}})],
        id="indep, several corpora with the tested one: only its fold is held out",
    ),
    pytest.param(
        {"test_dataset": "A", "train_datasets": ("B", "GAP")},
        "A B GAP",
        [(("B", "GAP"), "A", None, ALL_B | ALL_GAP, {"A": ALL_A})],
        id="indep, several corpora without the tested one",
    ),
    pytest.param(
        {"test_dataset": "A", "fold": "all"},
        "A",
        [
            (("A",), "A", 0, {"a1", "a1bis", "a2"}, {"A": {"a0", "a0bis"}}),
            (("A",), "A", 1, {"a0", "a0bis", "a2"}, {"A": {"a1", "a1bis"}}),
            (("A",), "A", 2, {"a0", "a0bis", "a1", "a1bis"}, {"A": {"a2"}}),
        ],
        id="indep, all folds in turn",
    ),
    pytest.param(
        {"test_dataset": "GAP", "fold": "all"},
        "GAP",
        [(("GAP",), "GAP", 0, {"g2", "g2bis"}, {"GAP": {"g0", "g0bis"}}), (("GAP",), "GAP", 2, {"g0", "g0bis"}, {"GAP": {"g2", "g2bis"}})],
        id="indep, all folds: the empty one is skipped",
    ),
    pytest.param(
        {"test_dataset": "A", "train_datasets": ("B",), "fold": "all"},
        "A B",
        [(("B",), "A", None, ALL_B, {"A": ALL_A})],
        id="indep, other corpus, all folds: there is one training",
    ),
    pytest.param(
        {"test_dataset": "OFFICIAL", "fold": 3},
        "OFFICIAL",
        [(("OFFICIAL",), "OFFICIAL", None, HEARD_OFFICIAL, TESTED_OFFICIAL)],
        id="indep, official partitions: two test sets, whatever the fold",
    ),
    pytest.param(
        {"test_dataset": "OFFICIAL", "fold": "all"},
        "OFFICIAL",
        [(("OFFICIAL",), "OFFICIAL", None, HEARD_OFFICIAL, TESTED_OFFICIAL)],
        id="indep, official partitions have no folds to go through",
    ),
    pytest.param(
        {"test_dataset": "OFFICIAL", "train_datasets": ("A",)},
        "A OFFICIAL",
        [(("A",), "OFFICIAL", None, ALL_A, TESTED_OFFICIAL)],
        id="indep, official partitions of another corpus: still only the test sets",
    ),
    pytest.param(
        {"test_dataset": "A", "train_datasets": ("OFFICIAL",)},
        "A OFFICIAL",
        [(("OFFICIAL",), "A", None, HEARD_OFFICIAL, {"A": ALL_A})],
        id="indep, trained on official partitions: never on their test sets",
    ),
    pytest.param(
        {"test_dataset": "IMPORTED"},
        "IMPORTED",
        [(("IMPORTED",), "IMPORTED", None, {"i", "j", "k"}, {"IMPORTED": {"m"}})],
        id="indep, imported train and test parts: one test set with the corpus's own name",
    ),
    pytest.param(
        {"test_split_source": "OFFICIAL"},
        "A OFFICIAL",
        [(("A",), "OFFICIAL", None, ALL_A | {"v"}, TESTED_OFFICIAL)],
        id="split source with official partitions: its validation part validates, its test sets are tested",
    ),
    pytest.param(
        {"experiment_type": "cross"},
        "A B",
        [(("A", "B"), POOLED, 0, {"a1", "a1bis", "a2", "b1", "b1bis"}, {"A": {"a0", "a0bis"}, "B": {"b0", "b0bis"}})],
        id="cross: all corpora without their fold, every fold tested",
    ),
    pytest.param(
        {"experiment_type": "cross", "train_datasets": ("A", "B"), "fold": 2},
        "A B GAP",
        [(("A", "B"), POOLED, 2, {"a0", "a0bis", "a1", "a1bis", "b1", "b1bis"}, {"A": {"a2"}, "B": {"b0", "b0bis"}})],
        id="cross: the fold is taken modulo the number of folds",
    ),
    pytest.param(
        {"experiment_type": "cross", "fold": "all"},
        "A B",
        [
            (("A", "B"), POOLED, 0, {"a1", "a1bis", "a2", "b1", "b1bis"}, {"A": {"a0", "a0bis"}, "B": {"b0", "b0bis"}}),
            (("A", "B"), POOLED, 1, {"a0", "a0bis", "a2", "b0", "b0bis"}, {"A": {"a1", "a1bis"}, "B": {"b1", "b1bis"}}),
            (("A", "B"), POOLED, 2, {"a0", "a0bis", "a1", "a1bis", "b1", "b1bis"}, {"A": {"a2"}, "B": {"b0", "b0bis"}}),
        ],
        id="cross: as many folds as the corpus with the most",
    ),
    pytest.param(
        {"experiment_type": "cross", "fold": "all"},
        "B GAP",
        [
            (("B", "GAP"), POOLED, 0, {"b1", "b1bis", "g2", "g2bis"}, {"B": {"b0", "b0bis"}, "GAP": {"g0", "g0bis"}}),
            (("B", "GAP"), POOLED, 1, {"b0", "b0bis", "g0", "g0bis"}, {"B": {"b1", "b1bis"}, "GAP": {"g2", "g2bis"}}),
            (("B", "GAP"), POOLED, 2, {"b1", "b1bis", "g0", "g0bis"}, {"B": {"b0", "b0bis"}, "GAP": {"g2", "g2bis"}}),
        ],
        id="cross: every fold of every corpus is tested, also where one is empty",
    ),
    pytest.param(
        {"experiment_type": "cross"},
        "A OFFICIAL",
        [(("A", "OFFICIAL"), POOLED, 0, {"a1", "a1bis", "a2"} | HEARD_OFFICIAL, {"A": {"a0", "a0bis"}} | TESTED_OFFICIAL)],
        id="cross with official partitions",
    ),
    pytest.param(
        {"experiment_type": "cross", "fold": "all"},
        "IMPORTED OFFICIAL",
        [(("IMPORTED", "OFFICIAL"), POOLED, None, {"i", "j", "k"} | HEARD_OFFICIAL, {"IMPORTED": {"m"}} | TESTED_OFFICIAL)],
        id="cross of official partitions alone has no fold",
    ),
    pytest.param(
        {"experiment_type": "matrix", "fold": 1},
        "A B GAP",
        [
            (("B", "GAP"), "A", None, ALL_B | ALL_GAP, {"A": ALL_A}),
            (("A", "GAP"), "B", None, ALL_A | ALL_GAP, {"B": ALL_B}),
            (("A", "B"), "GAP", None, ALL_A | ALL_B, {"GAP": ALL_GAP}),
        ],
        id="matrix: each corpus left out in turn, whole",
    ),
    pytest.param(
        {"experiment_type": "matrix", "train_datasets": ("A", "OFFICIAL")},
        "A B OFFICIAL",
        [(("OFFICIAL",), "A", None, HEARD_OFFICIAL, {"A": ALL_A}), (("A",), "OFFICIAL", None, ALL_A, TESTED_OFFICIAL)],
        id="matrix of the corpora named, one with official partitions",
    ),
    pytest.param(
        {"experiment_type": "grid"},
        "A B",
        [
            (("A",), "A", 0, {"a1", "a1bis", "a2"}, {"A": {"a0", "a0bis"}, "B": ALL_B}),
            (("B",), "B", 0, {"b1", "b1bis"}, {"A": ALL_A, "B": {"b0", "b0bis"}}),
        ],
        id="grid: each corpus alone, tested on every corpus, itself by its fold",
    ),
    pytest.param(
        {"experiment_type": "grid", "fold": "all"},
        "B OFFICIAL",
        [
            (("B",), "B", 0, {"b1", "b1bis"}, {"B": {"b0", "b0bis"}} | TESTED_OFFICIAL),
            (("B",), "B", 1, {"b0", "b0bis"}, {"B": {"b1", "b1bis"}} | TESTED_OFFICIAL),
            (("OFFICIAL",), "OFFICIAL", None, HEARD_OFFICIAL, {"B": ALL_B} | TESTED_OFFICIAL),
        ],
        id="grid over all folds, with official partitions",
    ),
    pytest.param(
        {"experiment_type": "within"},
        "B GAP OFFICIAL",
        [
            (("B",), "B", 0, {"b1", "b1bis"}, {"B": {"b0", "b0bis"}}),
            (("B",), "B", 1, {"b0", "b0bis"}, {"B": {"b1", "b1bis"}}),
            (("GAP",), "GAP", 0, {"g2", "g2bis"}, {"GAP": {"g0", "g0bis"}}),
            (("GAP",), "GAP", 2, {"g0", "g0bis"}, {"GAP": {"g2", "g2bis"}}),
            (("OFFICIAL",), "OFFICIAL", None, HEARD_OFFICIAL, TESTED_OFFICIAL),
        ],
        id="within: each corpus alone, every fold of it held out in turn",
    ),
    pytest.param(
        {"experiment_type": "within", "train_datasets": ("B",), "fold": "all"},
        "A B",
        [(("B",), "B", 0, {"b1", "b1bis"}, {"B": {"b0", "b0bis"}}), (("B",), "B", 1, {"b0", "b0bis"}, {"B": {"b1", "b1bis"}})],
        id="within the corpora named",
    ),
]


@pytest.mark.parametrize(("given", "corpora", "expected"), TABLE)
def test_an_experiment_trains_and_tests_on_whom_the_table_says(given, corpora, expected):
    trainings = plan(frames(*corpora.split()), **given)
    assert [(t.train_datasets, t.test_dataset, t.fold, heard(t), asked(t)) for t in trainings] == expected


def test_within_tests_every_clip_once():
    tested = [
        path for training in plan(frames("A", "B"), experiment_type="within") for frame in training.tests.values() for path in frame["path"]
    ]
    assert sorted(tested) == sorted([*A["path"], *B["path"]])


@pytest.mark.parametrize(("given", "corpora", "expected"), TABLE)
def test_every_training_keeps_its_sides_apart_and_loses_no_clip(given, corpora, expected):
    for training in plan(frames(*corpora.split()), **given):
        sides = [training.train, training.validation, *training.tests.values()]
        assert all(len(side) for side in sides)
        paths = [path for side in sides for path in side["path"]]
        assert len(paths) == len(set(paths))
        assert speakers(pd.concat(training.tests.values())).isdisjoint(heard(training))
        for name in training.train_datasets:
            heard_clips = FRAMES[name][FRAMES[name]["speaker"].isin([*training.train["speaker"], *training.validation["speaker"]])]
            assert set(heard_clips["path"]) <= set(paths)
        assert all(list(side.index) == list(range(len(side))) for side in sides)


@pytest.mark.parametrize(("given", "corpora", "expected"), TABLE)
def test_trainings_of_one_experiment_have_names_of_their_own(given, corpora, expected):
    names = [training.name for training in plan(frames(*corpora.split()), **given)]
    assert len(names) == len(set(names)) == len(expected)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"test_dataset": "A"}, "A fold 0"),
        ({"test_dataset": "IMPORTED"}, "IMPORTED"),
        ({"test_dataset": "A", "train_datasets": ("B", "GAP")}, "B+GAP to A"),
        ({"test_dataset": "OFFICIAL"}, "OFFICIAL to OFFICIAL_test1, OFFICIAL_test2"),
        ({"experiment_type": "cross", "train_datasets": ("A", "B")}, "A+B to A, B fold 0"),
        ({"test_split_source": "A", "train_datasets": ("B",)}, "B to A"),
        ({"experiment_type": "cross"}, "5 corpora to 6 test sets fold 0"),
        ({"experiment_type": "matrix"}, "all but A to A"),
    ],
)
def test_a_training_is_named_by_whom_it_hears_and_whom_it_tests(given, name):
    assert plan(**given)[0].name == name


# Validation


def test_a_split_source_is_halved_into_validation_and_test_and_not_trained_on():
    (training,) = plan(frames("A", "B", "GAP"), test_split_source="A", fold=5)
    assert (training.test_dataset, training.train_datasets, training.fold) == ("A", ("B", "GAP"), None)
    assert speakers(training.train) == ALL_B | ALL_GAP
    assert speakers(training.validation) | speakers(training.tests["A"]) == ALL_A
    assert speakers(training.validation).isdisjoint(speakers(training.tests["A"]))
    assert {len(speakers(training.validation)), len(speakers(training.tests["A"]))} == {2, 3}
    assert training.validation_by == {"A": "group"}


def test_a_split_source_may_be_named_as_the_test_corpus_too():
    given = {"test_split_source": "A", "train_datasets": ("B",)}
    (one,), (other,) = plan(**given), plan(**given, test_dataset="A")
    assert list(one.tests["A"]["path"]) == list(other.tests["A"]["path"])


def test_a_split_source_with_official_partitions_validates_on_its_validation_part_alone():
    (training,) = plan(frames("A", "OFFICIAL"), test_split_source="OFFICIAL")
    assert (speakers(training.train), speakers(training.validation)) == (ALL_A, {"v"})
    assert training.validation_by == {"OFFICIAL": "part"}


@pytest.mark.parametrize("seed", range(5))
def test_a_speaker_of_two_official_test_sets_is_in_one_half_where_there_is_no_validation_part(seed):
    parted = parted_frame("P", {"p": "test1", "p_bis": "test2", "q": "test1", "q_bis": "test2", "r": "test2"})
    same = {"P/p_bis": "P/p", "P/q_bis": "P/q"}
    groups = [f"{same.get(group, group)}@{part}" for group, part in zip(parted["group"], parted["part"], strict=True)]
    frame = parted.assign(speaker=parted["speaker"].replace(same), group=groups)
    (training,) = plan({"A": A, "P": frame}, test_split_source="P", seed=seed)
    tested = set.union(*asked(training).values())
    assert set(training.tests) <= {"P_test1", "P_test2"}
    assert speakers(training.validation) | tested == {"p", "q", "r"}
    assert speakers(training.validation).isdisjoint(tested)
    assert training.speakers == APART


def test_validation_is_drawn_once_from_the_seed():
    def drawn(**given) -> list[list[str]]:
        return [list(training.validation["path"]) for training in plan(frames("A", "B"), experiment_type="cross", fold="all", **given)]

    assert drawn() == drawn()
    assert drawn(seed=1) != drawn(seed=2) or drawn(seed=2) != drawn(seed=3)


def test_validation_does_not_depend_on_the_order_of_clips():
    shuffled = {name: frame.sample(frac=1, random_state=1).reset_index(drop=True) for name, frame in frames("A", "B").items()}
    one, other = plan(frames("A", "B"), experiment_type="matrix"), plan(shuffled, experiment_type="matrix")
    assert [set(training.validation["path"]) for training in one] == [set(training.validation["path"]) for training in other]


def test_each_training_corpus_gives_its_share_of_groups_to_validation():
    many = {name: tiny_frame(name, {f"{name}{i}": i % 2 for i in range(20)}) for name in ("P", "Q")}
    (training,) = plan(many | frames("A"), test_dataset="A", train_datasets=("P", "Q"))
    assert training.validation.groupby("corpus")["group"].nunique().to_dict() == {"P": 3, "Q": 3}
    assert speakers(training.validation).isdisjoint(speakers(training.train))
    assert training.validation_by == {"P": "group", "Q": "group"}


def test_validation_is_by_text_where_one_speaker_is_left():
    words = tuple(f"w{i}" for i in range(20))
    tess = tiny_frame("TESS", {"OAF": 0, "YAF": 1}, texts=words)
    (training,) = plan({"TESS": tess}, test_dataset="TESS")
    assert training.validation_by == {"TESS": "text"}
    assert set(training.validation["text"]).isdisjoint(training.train["text"])
    assert set(training.validation["text"]) | set(training.train["text"]) == set(words)


def test_official_validation_is_used_and_drawn_from_training_where_there_is_none():
    (official,), (imported,) = plan(test_dataset="OFFICIAL"), plan(test_dataset="IMPORTED")
    assert (speakers(official.train), speakers(official.validation)) == ({"t", "t_bis"}, {"v"})
    assert official.validation_by == {"OFFICIAL": "part"}
    assert len(speakers(imported.validation)) == 1
    assert imported.validation_by == {"IMPORTED": "group"}


def test_the_old_rule_shares_speakers_and_no_clip():
    table = tiny_frame("A", {"one": 0, "two": 0}, texts=tuple("abcdefghij"))
    frame = table.assign(group=table["path"], fold=stratified_folds(table, 0.2, SEED))
    (training,) = plan({"A": frame}, test_dataset="A")
    test = training.tests["A"]
    assert len(test) == round(0.2 * 20) * 3
    assert speakers(test) == speakers(training.train) == {"one", "two"}
    assert training.validation_by == {"A": "group"}
    assert training.speakers == SHARED


def test_a_training_that_keeps_speakers_apart_says_so():
    assert {training.speakers for training in plan(experiment_type="grid")} == {APART}


def test_speakers_whom_nobody_knows_are_not_called_apart():
    table = tiny_frame("A", {"x": 0, "y": 1, "z": 1})
    frame = table.assign(speaker=table["speaker"].replace({"A/x": "A/unknown", "A/y": "A/unknown"}))
    (training,) = plan({"A": frame}, test_dataset="A")
    assert training.speakers == PERHAPS_SHARED


# Refusals


@pytest.mark.parametrize(
    ("given", "corpora", "message"),
    [
        ({}, "A B", "test_dataset is needed by experiment_type=indep, expected one of: A, B"),
        ({"test_dataset": "AA"}, "A B", "unknown corpus 'AA', expected one of: A, B (data.corpora in params.yaml)"),
        ({"test_dataset": "A", "train_datasets": ("A", "C")}, "A B", "unknown corpus 'C', expected one of: A, B"),
        ({"test_split_source": "C"}, "A B", "unknown corpus 'C', expected one of: A, B"),
        ({"experiment_type": "matrix", "train_datasets": ("A", "C")}, "A B", "unknown corpus 'C', expected one of: A, B"),
        ({"test_dataset": "A", "train_datasets": ("B", "B")}, "A B", "train_datasets=B,B names a corpus twice"),
        ({"test_dataset": "A", "fold": 3}, "A", "fold=3: A has no clips in it, expected one of: 0, 1, 2, all"),
        ({"test_dataset": "GAP", "fold": 1}, "GAP", "fold=1: GAP has no clips in it, expected one of: 0, 2, all"),
        ({"experiment_type": "cross", "fold": 3}, "A B", "fold=3: A, B has no clips in it, expected one of: 0, 1, 2, all"),
        ({"experiment_type": "cross"}, "A", "experiment_type=cross needs two corpora or more, train_datasets has A"),
        ({"experiment_type": "matrix", "train_datasets": ("B",)}, "A B", "experiment_type=matrix needs two corpora or more"),
        ({"experiment_type": "cross", "test_dataset": "A"}, "A B", "test_dataset=A goes with experiment_type=indep"),
        ({"experiment_type": "within", "fold": 1}, "A B", "fold=1: experiment_type=within holds out every fold in turn, leave fold out"),
        ({"experiment_type": "grid", "test_split_source": "A"}, "A B", "test_split_source=A goes with experiment_type=indep"),
        ({"test_split_source": "A", "test_dataset": "B"}, "A B", "test_dataset=B: with test_split_source=A the test set is half of A"),
        ({"test_split_source": "A", "train_datasets": ("A", "B")}, "A B", "take it out of train_datasets"),
        ({"test_split_source": "A"}, "A", "test_split_source=A leaves nothing to train on"),
    ],
)
def test_a_command_that_means_nothing_is_refused(given, corpora, message):
    with pytest.raises(SettingsError) as refusal:
        plan(frames(*corpora.split()), **given)
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (tiny_frame("X", {"one": 0, "two": 0}), "X has no clips left to train on"),
        (tiny_frame("X", {"one": 0, "two": 1}, labels=(0,), texts=("a",)), "X: 1 clip left to train on, expected at least 2"),
        (parted_frame("X", {"one": "train", "two": "validation"}), "X has no official test set, expected clips in one of: test, "),
        (parted_frame("X", {"one": "validation", "two": "test"}), "X has no official training clips"),
    ],
)
def test_a_corpus_that_cannot_be_divided_is_refused_by_name(frame, message):
    with pytest.raises(DataError) as refusal:
        plan({"X": frame}, test_dataset="X")
    assert message in str(refusal.value)


def test_a_group_on_two_sides_is_refused():
    leaking = A.copy()
    leaking.loc[leaking["speaker"] == "A/a1", "group"] = "A/a0"
    with pytest.raises(DataError, match=r"group 'A/a0' is on two sides: A/a1_.* in (training|validation), A/a0_.* in test"):
        plan({"A": leaking}, test_dataset="A")


def test_a_group_in_official_training_and_validation_is_refused():
    leaking = OFFICIAL.copy()
    leaking.loc[leaking["part"] == "validation", "group"] = "OFFICIAL/t"
    with pytest.raises(DataError, match="group 'OFFICIAL/t' is on two sides"):
        plan({"OFFICIAL": leaking}, test_dataset="OFFICIAL")


def test_a_group_that_two_corpora_share_is_refused():
    leaking = B.copy()
    leaking.loc[leaking["speaker"] == "B/b0", "group"] = "A/a0"
    with pytest.raises(DataError, match="group 'A/a0' is on two sides"):
        plan({"A": A, "B": leaking}, test_dataset="A", train_datasets=("B",))


def test_identical_samples_on_two_sides_are_refused():
    leaking = A.copy()
    leaking.loc[leaking["path"] == "A/a1_a_0.wav", "sha256"] = leaking.loc[leaking["path"] == "A/a0_a_0.wav", "sha256"].item()
    with pytest.raises(DataError, match=r"sha256 .* is on two sides"):
        plan({"A": leaking}, test_dataset="A")


# Which corpora a command reads


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("indep", (), "B", None), ("B",)),
        (("indep", ("C", "A"), "B", None), ("A", "B", "C")),
        (("indep", ("A",), None, "C"), ("A", "C")),
        (("indep", (), None, "C"), ("A", "B", "C")),
        (("cross", (), None, None), ("A", "B", "C")),
        (("matrix", ("C", "A"), None, None), ("A", "C")),
    ],
)
def test_a_command_reads_the_corpora_that_it_needs(given, expected):
    assert corpora_of(("A", "B", "C"), *given) == expected


def test_the_builders_make_frames_with_and_without_folds():
    assert (OFFICIAL["fold"] == NO_FOLD).all()
    assert (A["part"] == "").all()


# Some of the emotions


FIVE = Space.of(["neutral", "happy", "sad", "fear", "surprise"], {"fear": "surprise"})
EVERY = {name: tiny_frame(name, {f"{name}{fold}{twin}": fold for fold in range(3) for twin in "ab"}, labels=range(7)) for name in "XY"}


@pytest.mark.parametrize("given", [{"test_dataset": "X"}, {"experiment_type": "cross"}, {"test_split_source": "Y"}])
def test_a_space_changes_neither_folds_nor_who_validates(given) -> None:
    for whole, restricted in zip(plan(EVERY, **given), plan(EVERY, **given, space=FIVE), strict=True):
        assert (restricted.space, whole.space) == (FIVE, SEVEN)
        assert restricted.validation_by == whole.validation_by
        for side, clips in restricted.sides.items():
            kept = whole.sides[side][~whole.sides[side]["emotions"].isin(FIVE.left_out)]
            assert clips["path"].tolist() == kept["path"].tolist()
            assert set(clips["emotions"]) == set(FIVE.classes)


@pytest.mark.parametrize(
    ("frame", "space", "message"),
    [
        (A, ["angry", "disgust"], "A has no clip of angry, disgust, expected some of its emotions: neutral, happy, sad"),
        (A, ["sad", "disgust"], "A fold 0: every training clip is sad, expected emotions of which it has two or more"),
        (A[(A["fold"] != 0) | (A["labels"] == 0)], ["happy", "sad"], r"A fold 0 has no test A clip of happy, sad, expected .*: neutral 4"),
    ],
)
def test_a_space_of_which_a_corpus_has_too_little_is_refused(frame, space, message) -> None:
    with pytest.raises(DataError, match=message):
        plan({"A": frame}, test_dataset="A", space=Space.of(space, {}))


def disagreed_about(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame, with no label for the clips of text a, and two for one clip of text b by every speaker."""
    torn = frame.assign(votes_neutral=1, votes_happy=1, num_votes=2, num_labels=1)
    torn.loc[torn["text"] == "a", "num_labels"] = 0
    torn.loc[(torn["text"] == "b") & (torn["labels"] == 2), "num_labels"] = 2
    return torn


@pytest.mark.parametrize("given", [{"test_dataset": "A"}, {"test_dataset": "A", "train_datasets": ("B",)}, {"test_split_source": "A"}])
def test_clips_without_one_label_are_never_tested_and_trained_on_only_where_targets_are_soft(given):
    torn = {name: disagreed_about(FRAMES[name]) for name in ("A", "B")}
    (hard,), (soft,) = plan(torn, **given), plan(torn, **given, with_unlabelled=True)
    for training in (hard, soft):
        assert {number for test in training.tests.values() for number in test["num_labels"]} == {1}
    assert {*hard.train["num_labels"], *hard.validation["num_labels"]} <= {1, 2}
    assert {*soft.train["num_labels"]} == {0, 1, 2}


def test_a_test_set_about_which_listeners_disagree_is_refused():
    torn = {"A": disagreed_about(A[(A["text"] == "b") & (A["labels"] == 2)]), "B": B}
    with pytest.raises(DataError, match=r"A: none of its 5 clips has one label, which a test needs: listeners disagree about all"):
        plan(torn, test_dataset="A", train_datasets=("B",))
