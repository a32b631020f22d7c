"""Settings: params.yaml is checked whole, and a command line changes it by names that people know."""

import io
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from ser_mlops import commands
from ser_mlops.commands import READER_LEFT, parse_arguments, parse_given, run_command, share_machine
from ser_mlops.errors import SettingsError
from ser_mlops.settings import cores
from ser_mlops.settings.fields import names_marked, number_kind
from ser_mlops.settings.kinds import Mark
from ser_mlops.settings.reading import ADDED_LATER, applicable_settings, dump_settings, flatten_settings, parse_settings, read_settings
from ser_mlops.settings.search import Range, write_space
from ser_mlops.settings.sections import GROUPS, Settings

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "params.yaml").read_text(encoding="utf-8")
COMMANDS = sorted(path.stem for path in (ROOT / "pipelines").glob("*.py") if path.stem not in ("__init__", "install"))
"""All commands that use the package; `install` brings what the package needs."""
SECTIONS = sorted(Settings.model_fields)
HEAVY = ("torch", "transformers", "mlflow", "pandas", "sklearn", "scipy", "matplotlib", "optuna", "soundfile", "dvc")


def settings_of(*arguments: str) -> Settings:
    return parse_settings(TEXT, "params.yaml", parse_given(["train", "paths", "data", "sweep"], "Train.", arguments))


def refusal_of(*arguments: str) -> str:
    with pytest.raises(SettingsError) as refusal:
        settings_of(*arguments)
    return str(refusal.value)


def refusal_of_text(old: str, new: str) -> str:
    assert old in TEXT
    with pytest.raises(SettingsError) as refusal:
        parse_settings(TEXT.replace(old, new, 1), "params.yaml")
    return str(refusal.value)


# params.yaml


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  lr: 1.0e-5\n", "  lr: 1.0e-5\n  lrr: 1\n", "params.yaml: unknown parameter 'train.lrr' (did you mean 'lr'?), expected"),
        ("paths:", "path:", "unknown parameter 'path' (did you mean 'paths'?), expected one of: data, catalogue, audio"),
        ("  lr: 1.0e-5\n", "", "params.yaml: no train.lr, expected the keys: experiment_type, train_datasets"),
        ("paths:", "path:", "params.yaml: no paths, expected the keys: data, catalogue"),
        ("lr: 1.0e-5", "lr: fast", "params.yaml: train.lr: fast is not accepted, expected a valid number"),
        ("lr: 1.0e-5", "lr: 0", "params.yaml: train.lr: 0 is not accepted, expected greater than 0"),
        ("lr: 1.0e-5", "lr: .inf", "params.yaml: train.lr: inf is not accepted, expected a finite number"),
        ("epochs: 20", "epochs: 0", "params.yaml: train.epochs: 0 is not accepted, expected greater than or equal to 1"),
        ("epochs: 20", "epochs: 2.5", "params.yaml: train.epochs: 2.5 is not accepted, expected a valid integer"),
        ("validation_share: 0.15", "validation_share: 1", "params.yaml: train.validation_share: 1 is not accepted, expected less than 1"),
        ("calm: neutral", "calm: happy", "params.yaml: catalogue.calm: happy is not accepted, expected 'neutral' or 'drop'"),
        (
            "labels: acted ",
            "labels: heard ",
            "catalogue.labels: heard is not accepted, expected acted, perceived or votes, or one of them by",
        ),
        (
            "labels: acted ",
            "labels: {CREMA: vote} ",
            "labels: {'CREMA': 'vote'} is not accepted, expected acted, perceived or votes, or one",
        ),
        ("ties: drop", "ties: keep", "params.yaml: catalogue.ties: keep is not accepted, expected 'drop', 'acted' or 'both'"),
        ("split: groups", "split: random", "params.yaml: frames.split: random is not accepted, expected 'groups' or 'stratified'"),
        ("augment: []", "augment: [speed, echo]", "params.yaml: train.augment: echo is not accepted, expected 'speed', 'noise' or 'gain'"),
        ("fold: 0", "fold: some", "params.yaml: train.fold: some is not accepted, expected a valid integer or 'all'"),
        ("  corpora: [", "  corpora: []  # [", "params.yaml: data.corpora: [] is not accepted, expected at least 1 item"),
        (
            "  corpora: [",
            "  corpora: CREMA  # [",
            "params.yaml: data.corpora: CREMA is not accepted, expected a list, which DVC needs: [CREMA]",
        ),
        ("audio:\n", "audio: 1\nno_audio:\n", "params.yaml: audio is not a mapping, expected the keys: min_seconds, cut_off"),
        ("lr: {low:", "lr: {lo:", "is not accepted, expected {low, high, log} or {choices: [...]}"),
        ("lr: {low: ", "lr: {low: x", "params.yaml: sweep.space: x1.0e-6 is not accepted, expected a valid number"),
        ("model: HuB-LL", "model: [HuB-LL", "params.yaml is not valid YAML: "),
        ("  lr: 1.0e-5\n", "  lr: 1.0e-5\n  lr: 1\n", 'found duplicate key "lr"'),
    ],
)
def test_what_is_wrong_in_params_yaml_is_named_with_what_would_be_accepted(old, new, message):
    refusal = refusal_of_text(old, new)
    assert message in refusal
    assert "\n" not in refusal


def test_everything_that_is_wrong_is_said_at_once():
    message = refusal_of_text("  lr: 1.0e-5\n  weight_decay: 0.005\n", "  lr: -1\n  weight_decay: none\n")
    assert "train.lr: -1" in message
    assert "train.weight_decay: none" in message


def test_a_params_yaml_that_is_no_mapping_or_not_there_is_refused(tmp_path, monkeypatch):
    with pytest.raises(SettingsError, match=r"params.yaml is not a mapping, expected the sections: data, catalogue"):
        parse_settings("- train\n", "params.yaml")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match=r"no params.yaml in .*: commands run in the project's folder"):
        read_settings()


def test_the_defaults_are_the_recipe_that_the_field_knows():
    train = read_settings(ROOT / "params.yaml").train
    recipe = {
        "model": "HuB-LL",
        "epochs": 20,
        "rounds": 3,
        "lr": 1e-5,
        "weight_decay": 0.005,
        "decay_all": True,
        "batch_size": 2,
        "attention_mask": True,
        "seed": 19730309,
        "select_by": "uar",
        "experiment_type": "indep",
        "freeze": "none",
        "fold": 0,
    }
    assert {name: getattr(train, name) for name in recipe} == recipe
    beyond = {
        "schedule": "constant",
        "warmup": 0,
        "clip_norm": None,
        "accumulate": 1,
        "class_weights": "none",
        "layers": "checkpoint",
        "head_lr": None,
        "layer_decay": 1,
        "feature_norm": "none",
        "adapter": "none",
        "recipe": None,
        "label_smoothing": 0,
        "augment": (),
        "early_stopping": None,
    }
    assert {name: getattr(train, name) for name in beyond} == beyond


def test_no_setting_has_a_default_outside_params_yaml():
    required = {
        f"{section}.{key}": field.is_required()
        for section in SECTIONS
        for key, field in Settings.model_fields[section].annotation.model_fields.items()
    }
    assert [name for name, is_required in required.items() if not is_required] == []


def test_every_setting_says_what_it_means():
    silent = [
        f"{section}.{key}"
        for section in SECTIONS
        for key, field in Settings.model_fields[section].annotation.model_fields.items()
        if not field.description
    ]
    assert silent == []


def test_a_resume_may_change_what_no_number_depends_on():
    assert {"train.workers", "train.checkpoint_every", "paths.cache", "serving.max_clips"} <= set(names_marked(Mark.FREE))
    assert not {"train.lr", "train.seed", "train.precision", "train.cache_precision", "data.raw"} & set(names_marked(Mark.FREE))


def test_what_a_sweep_may_search_is_a_number_or_a_choice():
    searchable = {name.partition(".")[2]: number_kind(*name.split(".")) for name in names_marked(Mark.SEARCHABLE)}
    assert {name for name, kind in searchable.items() if kind is int} == {
        *("epochs", "batch_size", "accumulate", "early_stopping", "lora_rank"),
    }
    assert {name for name, kind in searchable.items() if kind is None} == {
        "adapter",
        "layers",
        "schedule",
        "loss",
        "sample",
        "class_weights",
        "features",
        "classifier",
        "gamma",
    }


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"train.model": "baseline", "train.lr": "1e-3"}, "lr=1e-3 does not go with model=baseline, expected one of: experiment_type, "),
        ({"train.model": "tiny", "baseline.C": "2"}, "C=2 does not go with model=tiny, expected one of: model=baseline"),
        (
            {"train.model": "baseline", "baseline.classifier": "logistic", "baseline.gamma": "0.1"},
            "gamma=0.1 does not go with classifier=logistic, expected one of: features, classifier, C",
        ),
    ],
)
def test_a_setting_that_the_model_does_not_have_is_refused_by_name(given, message):
    with pytest.raises(SettingsError) as caught:
        read_settings(given=given)
    assert str(caught.value).startswith(message)


def test_what_a_training_depends_on_is_what_its_model_has():
    network, baseline = (applicable_settings(read_settings(given={"train.model": model})) for model in ("tiny", "baseline"))
    assert "train.lr" in network
    assert "baseline.C" not in network
    assert "baseline.C" in baseline
    assert "train.lr" not in baseline
    assert {"train.seed", "train.rounds", "train.select_by", "frames.split"} <= network.keys() & baseline.keys()


# Recipes


def recipes_text(recipes: str) -> str:
    """params.yaml with other recipes."""
    before, _, after = TEXT.partition("\nrecipes:")
    return f"{before}\nrecipes:\n{recipes}\nbaseline:{after.partition(chr(10) + 'baseline:')[2]}"


OWN = "  own: {lr: 1.0e-3, head_lr: 1.0e-2, freeze: true, epochs: 3}\n"


def test_a_recipe_counts_above_params_yaml_and_below_what_is_given():
    defaults = parse_settings(recipes_text(OWN), "params.yaml").train
    train = parse_settings(recipes_text(OWN), "params.yaml", {"train.recipe": "own", "train.lr": "1e-4"}).train
    assert (train.recipe, train.lr, train.head_lr, train.freeze, train.epochs) == ("own", 1e-4, 1e-2, "feature_encoder", 3)
    changed = {"recipe", "lr", "head_lr", "freeze", "epochs"}
    assert {name for name, value in train if value != getattr(defaults, name)} == changed


def test_a_recipe_in_the_section_train_counts_too():
    text = recipes_text(OWN).replace("  recipe: null", "  recipe: own")
    assert parse_settings(text, "params.yaml").train.epochs == 3
    assert parse_settings(text, "params.yaml", {"train.recipe": "none"}).train.epochs == 20


def test_what_a_run_has_recorded_is_resolved_and_stays_when_it_is_read_again():
    given = {"train.recipe": "own", "train.lr": "1e-4"}
    settings = parse_settings(recipes_text(OWN), "params.yaml", given)
    assert parse_settings(dump_settings(settings), "settings.yaml", is_resolved=True) == settings


def test_what_an_older_run_has_recorded_is_filled_up_with_what_it_was_made_by():
    recorded = dump_settings(settings_of()).replace(", ties: drop", "")
    assert parse_settings(recorded, "settings.yaml", is_resolved=True) == settings_of()
    with pytest.raises(SettingsError, match=r"no catalogue\.ties"):
        parse_settings(recorded, "params.yaml")


def test_what_came_later_is_all_that_an_older_run_may_lack():
    recorded = YAML(typ="safe", pure=True).load(dump_settings(settings_of()))
    for section, added in ADDED_LATER.items():
        recorded[section] = {key: value for key, value in recorded[section].items() if key not in added}
    del recorded["export_onnx"]
    text = io.StringIO()
    YAML(typ="safe", pure=True).dump(recorded, text)
    assert parse_settings(text.getvalue(), "settings.yaml", is_resolved=True) == settings_of()


def test_the_rule_on_labels_is_one_for_all_corpora_or_by_corpus():
    by_corpus = parse_settings(TEXT.replace("labels: acted ", "labels: {CREMA: votes, MSP_PODCAST: perceived} "), "params.yaml").catalogue
    assert [by_corpus.labels_of(corpus) for corpus in ("CREMA", "MSP_PODCAST", "TESS")] == ["votes", "perceived", "acted"]
    assert by_corpus.labels_in_words == "CREMA: votes, MSP_PODCAST: perceived (ties: drop)"
    assert settings_of().catalogue.labels_in_words == "acted"


def test_the_recipes_that_are_shipped_are_what_their_page_says():
    shipped = {name: read_settings(ROOT / "params.yaml", {"train.recipe": name}).train for name in ("seed", "head", "strong")}
    defaults = read_settings(ROOT / "params.yaml").train
    assert shipped["seed"] == defaults.model_copy(update={"recipe": "seed"})
    strong = shipped["strong"]
    assert (strong.freeze, strong.lr, strong.head_lr, strong.warmup, strong.schedule) == ("feature_encoder", 1e-5, 1e-4, 0.1, "cosine")
    assert (strong.batch_size, strong.accumulate, strong.clip_norm, strong.early_stopping) == (8, 4, 1.0, 5)
    assert (shipped["head"].freeze, shipped["head"].layers) == ("encoder", "all")


@pytest.mark.parametrize(
    ("recipes", "given", "message"),
    [
        (OWN, {"train.recipe": "mine"}, "unknown recipe 'mine', expected one of: own"),
        ("  own: {hed_lr: 1}\n", {}, "params.yaml: recipes.own: unknown setting 'hed_lr' (did you mean 'head_lr'?), expected some of: "),
        ("  own: {resume: x}\n", {}, "params.yaml: recipes.own: unknown setting 'resume'"),
        ("  own: 1\n", {}, "params.yaml: recipes.own is not a mapping, expected settings of train"),
        ("  own: {lr: -1}\n", {"train.recipe": "own"}, "params.yaml: recipes.own.lr: -1 is not accepted, expected greater than 0"),
        (OWN, {"train.recipe": "own", "train.model": "baseline"}, "recipe=own sets lr, which does not go with model=baseline"),
    ],
)
def test_what_is_wrong_with_a_recipe_is_named(recipes, given, message):
    with pytest.raises(SettingsError) as caught:
        parse_settings(recipes_text(recipes), "params.yaml", given)
    assert str(caught.value).startswith(message)


# The command line


@pytest.mark.parametrize(
    ("arguments", "section", "key", "value"),
    [
        (["--lr", "1e-4"], "train", "lr", 1e-4),
        (["--lr=1e-4"], "train", "lr", 1e-4),
        (["--rounds", "5"], "train", "rounds", 5),
        (["--rondas", "5"], "train", "rounds", 5),
        (["--test-dataset", "CREMA"], "train", "test_dataset", "CREMA"),
        (["--test_dataset", "CREMA"], "train", "test_dataset", "CREMA"),
        (["--train_datasets", "CREMA, TESS,"], "train", "train_datasets", ("CREMA", "TESS")),
        (["--train_datasets", ""], "train", "train_datasets", ()),
        (["--augment", "speed,gain"], "train", "augment", ("speed", "gain")),
        (["--freeze", "true"], "train", "freeze", "feature_encoder"),
        (["--freeze", "True"], "train", "freeze", "feature_encoder"),
        (["--freeze", "false"], "train", "freeze", "none"),
        (["--freeze", "encoder"], "train", "freeze", "encoder"),
        (["--attention_mask", "false"], "train", "attention_mask", False),
        (["--fold", "all"], "train", "fold", "all"),
        (["--fold", "3"], "train", "fold", 3),
        (["--resume", ""], "train", "resume", None),
        (["--clip_norm", "none"], "train", "clip_norm", None),
        (["--clip_norm", "1"], "train", "clip_norm", 1.0),
        (["--early_stopping", "null"], "train", "early_stopping", None),
        (["--paths.cache", "/scratch"], "paths", "cache", "/scratch"),
        (["--paths.cache=/scratch=2"], "paths", "cache", "/scratch=2"),
        (["--cache", "off"], "train", "cache", "off"),
        (["--data.corpora", "CREMA,TESS"], "data", "corpora", ("CREMA", "TESS")),
    ],
)
def test_a_command_line_changes_a_setting(arguments, section, key, value):
    assert getattr(getattr(settings_of(*arguments), section), key) == value


def test_a_space_is_given_as_yaml_and_help_shows_it_in_that_form(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert settings_of("--space", "{lr: {low: 1e-6, high: 1, log: true}}").sweep.space == {"lr": Range(low=1e-6, high=1.0, log=True)}
    default = read_settings().sweep.space
    shown = write_space(default)
    assert settings_of("--space", shown).sweep.space == default
    assert f"[{shown}]" in " ".join(help_of(capsys, "sweep").split())


def test_what_a_command_line_does_not_give_stays_as_params_yaml_has_it():
    before, after = flatten_settings(parse_settings(TEXT, "params.yaml")), flatten_settings(settings_of("--lr", "1e-4"))
    assert {name for name in before if before[name] != after[name]} == {"train.lr"}


def test_freeze_true_in_params_yaml_means_the_feature_encoder():
    assert parse_settings(TEXT.replace("freeze: none", "freeze: true"), "params.yaml").train.freeze == "feature_encoder"
    assert parse_settings(TEXT.replace("freeze: none", "freeze: false"), "params.yaml").train.freeze == "none"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--tset_dataset", "CREMA"],
            "unknown parameter 'tset_dataset' (did you mean 'test_dataset' or 'train_datasets'?): --help lists all",
        ),
        (["--nothing-like-it", "1"], "unknown parameter 'nothing_like_it': --help lists all"),
        (["--lr", "abc"], "lr=abc is not accepted, expected a valid number"),
        (["--lr", ""], "lr= is not accepted, expected a valid number"),
        (["--lr", "nan"], "lr=nan is not accepted, expected a finite number"),
        (["--epochs", "0"], "epochs=0 is not accepted, expected greater than or equal to 1"),
        (["--fold", "-1"], "fold=-1 is not accepted, expected greater than or equal to 0 or 'all'"),
        (["--freeze", "cnn"], "freeze=cnn is not accepted, expected none, feature_encoder, encoder or encoder:K (its first K layers)"),
        (["--augment", "speed,echo"], "augment=echo is not accepted, expected 'speed', 'noise' or 'gain'"),
        (["--model", ""], "model= is not accepted, expected at least 1 character"),
        (
            ["--space", "lr=1"],
            "space=lr=1 is not accepted, expected YAML in quotes, such as '{lr: {low: 1.0e-6, high: 1.0e-2, log: true}}'",
        ),
        (["--space", "{lr: {low: 1}}"], "space={'low': 1} is not accepted, expected {low, high, log} or {choices: [...]}"),
        (["--data.corpora", ""], "data.corpora= is not accepted, expected at least 1 item"),
        (["--attention_mask", "perhaps"], "attention_mask=perhaps is not accepted, expected a valid boolean"),
        (["--experiment_type", "indpe"], "experiment_type=indpe is not accepted, expected 'indep', 'cross', 'matrix', 'grid' or 'within'"),
        (["--root_folder", "/x"], "root_folder is not a parameter, use data.raw in params.yaml"),
        (["--dump-folder", "/x"], "dump_folder is not a parameter, use paths.checkpoints and paths.cache"),
        (["--num_epochs", "3"], "num_epochs is not a parameter, use epochs"),
        (["--lr"], "lr has no value"),
        (["lr", "1"], "unexpected 'lr', expected --name value"),
        (["--lr", "1", "--lr", "2"], "lr is given twice"),
        (["--rondas", "1", "--rounds", "2"], "rounds is given twice"),
    ],
)
def test_a_wrong_argument_is_named_with_what_would_be_accepted(arguments, message):
    refusal = refusal_of(*arguments)
    assert message in refusal
    assert "\n" not in refusal


def test_settings_are_read_back_as_they_were_written():
    settings = settings_of("--lr", "1e-4", "--train_datasets", "CREMA,TESS", "--fold", "all", "--clip_norm", "0.5")
    assert parse_settings(dump_settings(settings), "settings.yaml") == settings


def test_flat_names_of_settings_are_those_that_a_run_logs():
    flat = flatten_settings(settings_of("--lr", "1e-4"))
    assert flat["train.lr"] == 1e-4
    assert flat["data.raw"] == "data/demo"
    sections = {"data", "catalogue", "audio", "frames", "paths", "train", "baseline", "serving", "drawing"}
    assert {name.partition(".")[0] for name in flat} == sections
    assert set(flatten_settings(settings_of(), ["audio"])) == {"audio.min_seconds", "audio.cut_off"}


def help_of(capsys, *used: str) -> str:
    with pytest.raises(SystemExit) as end:
        parse_arguments(used, "Train.", ["--help"])
    assert end.value.code == 0
    return capsys.readouterr().out


def test_help_shows_every_setting_with_its_default(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    shown = " ".join(help_of(capsys, "train").split())
    assert "--lr VALUE Learning rate of AdamW. [1e-05]" in shown
    assert "--attention_mask VALUE false: no mask, as in older work; clips are then evaluated one at a time. [true]" in shown
    assert "--freeze VALUE none, feature_encoder (the CNN; `true` means this), encoder" in shown
    assert "--resume VALUE Run id of an interrupted experiment to resume. [none]" in shown
    assert all(f"--{key} " in shown for key in type(settings_of().train).model_fields)


def test_help_has_a_commands_own_settings_first_under_headings_and_nothing_that_it_does_not_use(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    shown = help_of(capsys, "sweep", "train", "paths.cache", "slurm")
    headings = [line for line in shown.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert headings[:2] == ["The search:", "What is trained and tested:"]
    assert headings[-2:] == ["Folders:", "Slurm jobs:"]
    assert "--paths.cache " in shown
    assert "--train.workers " in shown, "hidden by the workers of the sweep"
    assert "--paths.studies" not in shown
    assert "Range(" not in shown


def test_a_heading_in_help_begins_at_a_setting():
    assert set(GROUPS) <= {f"train.{key}" for key in Settings.model_fields["train"].annotation.model_fields}


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_is_printed(command, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", [command, "--help"])
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as ended:
        import_module(f"pipelines.{command}").main()
    assert not ended.value.code
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_imports_nothing_heavy_and_ends_in_silence_when_its_reader_has_left(command):
    reading, writing = os.pipe()
    os.close(reading)
    words = [sys.executable, "-X", "importtime", "-m", f"pipelines.{command}", "--help"]
    try:
        done = subprocess.run(words, cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(writing)
    assert done.returncode in (0, READER_LEFT), "argparse itself passes over what it cannot print"
    told = done.stderr.splitlines()
    assert [line for line in told if not line.startswith("import time:")] == []
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in told}
    assert "ser_mlops" in imported
    assert imported & set(HEAVY) == set()


def test_a_users_mistake_ends_a_command_with_one_line_and_the_code_of_the_error(capsys):
    def command() -> None:
        raise SettingsError("lr=abc is not accepted")

    with pytest.raises(SystemExit) as end:
        run_command(command)
    assert end.value.code == SettingsError.exit_code == 2
    assert capsys.readouterr().err == "error: lr=abc is not accepted\n"


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (3, 3)])
def test_a_command_exits_with_what_it_returns(returned, code):
    with pytest.raises(SystemExit) as end:
        run_command(lambda: returned)
    assert end.value.code == code


def test_threads_leave_the_cores_to_others_while_they_wait_unless_the_user_says_otherwise(monkeypatch, tmp_path):
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    monkeypatch.setattr(cores, "CGROUP_QUOTA", tmp_path / "cpu.max")
    share_machine()
    assert "GOMP_SPINCOUNT" not in os.environ
    monkeypatch.delenv("OMP_WAIT_POLICY")
    share_machine()
    assert os.environ["GOMP_SPINCOUNT"] == "5000"
    assert "OMP_NUM_THREADS" not in os.environ
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    share_machine()
    assert os.environ["GOMP_SPINCOUNT"] == "7"


def test_a_control_group_grants_cores_and_threads_are_no_more(monkeypatch, tmp_path):
    monkeypatch.setattr(cores, "CGROUP_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(cores, "bound_cores", lambda: 64)
    monkeypatch.setattr(commands, "bound_cores", lambda: 64)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for quota, granted in (("max 100000\n", 64), ("250000 100000\n", 2), ("20000 100000\n", 1), ("9000000 100000\n", 64)):
        (tmp_path / "cpu.max").write_text(quota)
        assert cores.available_cores() == granted
    (tmp_path / "cpu.max").write_text("400000 100000\n")
    share_machine()
    assert os.environ["OMP_NUM_THREADS"] == "4"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"train.lora_rank": "4"}, "lora_rank=4 does nothing without an adapter: give adapter=lora, or leave it out"),
        (
            {"train.freeze": "encoder", "train.layer_decay": "0.9"},
            "layer_decay=0.9 does nothing, as freeze=encoder trains no layer: freeze less, or leave it out",
        ),
        ({"train.votes_prior": "0.5"}, "votes_prior=0.5 does nothing with targets=hard: give targets=soft, or leave it out"),
        ({"train.focal_gamma": "1"}, "focal_gamma=1 does nothing with loss=cross_entropy: give loss=focal, or leave it out"),
        ({"train.logit_tau": "2"}, "logit_tau=2 does nothing with loss=cross_entropy: give loss=logit_adjusted, or leave it out"),
    ],
)
def test_what_would_do_nothing_is_refused(given, message):
    with pytest.raises(SettingsError) as refusal:
        read_settings(ROOT / "params.yaml", given)
    assert str(refusal.value) == message
    loss = "focal" if "train.focal_gamma" in given else "logit_adjusted"
    more = {"train.adapter": "lora", "train.freeze": "feature_encoder", "train.targets": "soft", "train.loss": loss}
    read_settings(ROOT / "params.yaml", given | more)


@pytest.mark.parametrize(
    ("given", "both"),
    [
        ({"train.class_weights": "balanced"}, "sample=balanced and class_weights=balanced"),
        ({"train.loss": "logit_adjusted"}, "sample=balanced and loss=logit_adjusted"),
    ],
)
def test_rare_emotions_are_made_up_for_once(given, both):
    with pytest.raises(SettingsError, match=f"^{both} would both make up for rare emotions: give one of them$"):
        read_settings(ROOT / "params.yaml", {"train.sample": "balanced", **given})
