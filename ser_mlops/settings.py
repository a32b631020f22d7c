"""The settings of every stage and entry point: params.yaml, validated, and what a command line changes of it.

Defaults live in params.yaml and nowhere else; a field here says what a setting means and what is accepted.
"""

import argparse
import difflib
import gc
import re
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from io import StringIO
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, ValidationError
from ruamel.yaml import YAML, YAMLError

from ser_mlops.errors import SerError, SettingsError

warnings.filterwarnings("ignore", 'Field name "register"')  # every class that may be abstract has a method of that name

PARAMS_FILE = Path("params.yaml")


def _split_commas(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _none_if_blank(value: object) -> object:
    return None if isinstance(value, str) and value.strip().lower() in ("", "none", "null") else value


def _freezing(value: object) -> object:
    named = {"true": "feature_encoder", "false": "none"}
    return named.get(str(value).lower(), value)


Names = Annotated[tuple[str, ...], BeforeValidator(_split_commas)]
OptionalName = Annotated[str | None, BeforeValidator(_none_if_blank)]
OptionalModelName = Annotated[Annotated[str, Field(pattern=r"^\w[\w .-]*$")] | None, BeforeValidator(_none_if_blank)]
OptionalSeconds = Annotated[Annotated[float, Field(gt=0)] | None, BeforeValidator(_none_if_blank)]
SLURM_TIME = r"^(\d+-)?\d+(:\d\d){0,2}$"
Share = Annotated[float, Field(ge=0, lt=1)]
Freeze = Annotated[Literal["none", "feature_encoder", "encoder"], BeforeValidator(_freezing)]
Augmentations = Annotated[tuple[Literal["speed", "noise", "gain"], ...], BeforeValidator(_split_commas)]


class Section(BaseModel):
    """One section of params.yaml: every key required, no other key accepted."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


class DataSettings(Section):
    raw: str
    """Folder with one folder per corpus: data/demo (synthetic) or data/raw (a link made by `make raw FROM=FOLDER`)."""
    corpora: Annotated[Names, Field(min_length=1)]
    """Corpora to use."""
    own_corpora: str
    """Python file that defines CORPORA, a list of corpora beside the seven (docs/adding-a-corpus.md)."""


class CatalogueSettings(Section):
    calm: Literal["neutral", "drop"]
    """RAVDESS calm (02): counted as neutral, or left out."""
    contempt: Literal["drop", "disgust"]
    """EMOFILM dis (disprezzo): left out, or kept as disgust for comparison with older work."""
    labels: Literal["acted", "perceived"]
    """CREMA: the acted emotion, or the one perceived by voice (summaryTable.csv; ties are left out)."""


class AudioSettings(Section):
    min_seconds: Annotated[float, Field(ge=0)]
    """Shorter clips are left out."""


class FramesSettings(Section):
    split: Literal["groups", "stratified"]
    """groups: no speaker on two sides. stratified: the old rule, by emotion with speakers ignored; runs are tagged so."""
    seed: int
    """Seed of the folds."""
    test_ratio: Annotated[float, Field(gt=0, lt=1)]
    """Share of the clips held out by `split: stratified`."""


class ImportFramesSettings(Section):
    folder: OptionalName
    """Folder with D.{CORPUS}_train_DF.p and D.{CORPUS}_test_DF.p."""


class PrepareMspSettings(Section):
    annotations: OptionalName
    """labels_consensus.csv of an MSP-Podcast release."""
    audio_dir: OptionalName
    """Folder with its audio files."""
    output: OptionalName
    """Folder for D.MSP_PODCAST_train_DF.p and D.MSP_PODCAST_test_DF.p, for people who still need them; none: not written."""


class PathsSettings(Section):
    checkpoints: str
    """Folder for the training states of rounds; may lie on a scratch disk."""
    cache: str
    """Folder for the outputs of frozen parts; may lie on a scratch disk."""
    studies: str
    """Folder for the journals of sweeps."""


class TrainSettings(Section):
    experiment_type: Literal["indep", "cross", "matrix", "grid"]
    """indep: one test corpus; cross: held-out folds of all; matrix: leave one corpus out; grid: each trained, each tested."""
    train_datasets: Names
    """Corpora to train on, comma-separated; empty: the test corpus alone (indep) or all of data.corpora."""
    test_dataset: OptionalName
    """Corpus to test on, needed by indep; where it has official test sets (MSP_PODCAST), each is reported alone."""
    test_split_source: OptionalName
    """With indep: this corpus is not trained on, its groups are halved into validation and test."""
    model: Annotated[str, Field(min_length=1)]
    """An alias (HuB-LL, HuB-XL, HuB-ER, HuB-SID, W2V2-base, W2V2-large, W2V2-robust, DistilHubert, tiny), a hub id or a folder."""
    freeze: Freeze
    """none, feature_encoder (the CNN; `true` means this) or encoder (everything below the head)."""
    epochs: Annotated[int, Field(ge=1)]
    """Passes over the training clips."""
    rounds: Annotated[int, Field(ge=1)]
    """Full repeats, each with its own seed ("rondas")."""
    lr: Annotated[float, Field(gt=0)]
    """Learning rate of AdamW."""
    weight_decay: Annotated[float, Field(ge=0)]
    """Weight decay of AdamW."""
    batch_size: Annotated[int, Field(ge=1)]
    """Clips per training batch."""
    eval_batch_size: Annotated[int, Field(ge=1)]
    """Clips per evaluation batch (sorted by length)."""
    attention_mask: bool
    """false: the legacy way without mask, evaluated one clip at a time."""
    seed: int
    """Base seed: validation split, initial heads, order of batches."""
    fold: Annotated[int, Field(ge=0)] | Literal["all"]
    """Held-out fold of the test corpus, or `all` of them in turn."""
    select_by: Literal["uar", "accuracy", "f1_macro", "f1_weighted", "loss"]
    """Validation score that chooses the epoch; the earliest epoch wins a tie."""
    resume: OptionalName
    """Run id of an interrupted experiment to go on with."""
    register: OptionalModelName = Field()  # else pydantic takes the method of that name for a default
    """Registered model (say ser) that the best round becomes a version of; champion if it beats the present one. none: not registered."""
    validation_share: Annotated[float, Field(gt=0, lt=1)]
    """Share of the groups of each training corpus that validates."""
    schedule: Literal["constant", "linear", "cosine"]
    """Learning rate after the warm-up: constant, or falling to 0 at the last step."""
    warmup: Share
    """Share of all steps over which the learning rate rises from 0."""
    accumulate: Annotated[int, Field(ge=1)]
    """Batches per optimiser step."""
    clip_norm: OptionalSeconds
    """Largest norm of the gradient; none: not clipped."""
    class_weights: Literal["none", "balanced"]
    """balanced: the loss weighs emotions by the inverse of their number of training clips."""
    label_smoothing: Share
    """Share of the target spread over all emotions."""
    augment: Augmentations
    """Waveform augmentations of training clips: speed, noise, gain; they switch caches off."""
    early_stopping: Annotated[Annotated[int, Field(ge=1)] | None, BeforeValidator(_none_if_blank)]
    """Stop after so many epochs without a better `select_by`; none: never."""
    precision: Literal["auto", "float32", "bfloat16"]
    """auto: bfloat16 on GPUs that have it, float32 elsewhere."""
    gradient_checkpointing: bool
    """Recompute activations in the backward pass: less memory, more time (HuB-XL)."""
    max_seconds: OptionalSeconds
    """Longest training clip; longer ones are cropped at a seeded place. none: whole."""
    evaluate_long: Literal["whole", "windows"]
    """Clips longer than max_seconds are evaluated whole, or in windows whose logits are averaged."""
    cache: Literal["auto", "require", "off"]
    """Outputs of the frozen part: kept where the disk allows (auto), an error where it does not (require), or not kept (off)."""
    cache_precision: Literal["float32", "bfloat16"]
    """bfloat16 halves a cache and agrees with float32 within 2e-2 of a logit."""
    workers: Annotated[int, Field(ge=0)]
    """Processes that read waveforms; 0: the training process itself."""
    checkpoint_every: Annotated[int, Field(ge=0)]
    """Optimiser steps between saved states, besides epoch ends; 0: epoch ends only."""


class LaunchSettings(Section):
    launcher: Literal["local", "slurm"]
    """Where trainings (main) and workers (sweep) run: local, this machine; slurm, one job each (docs/cluster.md)."""
    parallel: Annotated[int, Field(ge=1)] | Literal["auto"]
    """With launcher=local: trainings side by side, or `auto`: as many as the GPUs' memory (without GPU: the cores) holds."""
    detach: bool
    """With launcher=slurm: return once the jobs are queued; whoever finishes last closes the experiment."""


class SlurmSettings(Section):
    partition: OptionalName
    """Slurm: partition of the jobs; none: the cluster's default."""
    account: OptionalName
    """Slurm: account that the jobs are charged to; none: the user's default."""
    time: Annotated[str, Field(pattern=SLURM_TIME)]
    """Slurm: time limit of a job, [D-]HH:MM:SS; a training that needs longer goes back into the queue and goes on."""
    cpus: Annotated[int, Field(ge=1)]
    """Slurm: cores of a job on each of its nodes."""
    memory: Annotated[str, Field(pattern=r"^\d+[KMGT]?$")]
    """Slurm: memory of a job on each of its nodes, such as 32G."""
    gpus: Annotated[int, Field(ge=0)]
    """Slurm: GPUs of a job on each of its nodes; with several, torchrun trains one round on all of them."""
    nodes: Annotated[int, Field(ge=1)]
    """Slurm: nodes of a job; with several, torchrun trains one round on all of them."""
    at_once: Annotated[int, Field(ge=1)]
    """Slurm: jobs of one command that may run at the same time."""
    grace: Annotated[int, Field(ge=10)]
    """Slurm: seconds before its time limit at which a job is warned, to save its state."""
    probe: Annotated[int, Field(ge=0)]
    """Slurm: seconds to wait for a node that shows, before anything is queued, that it sees the shared folders; 0: not looked at."""
    setup: Names
    """Slurm: shell lines that a job runs first, such as `module load cuda`."""
    extra: Annotated[tuple[Annotated[str, Field(pattern=r"^--[a-z][a-z-]*(=.*)?$")], ...], BeforeValidator(_split_commas)]
    """Slurm: further options of sbatch, such as --constraint=a100."""


class ServingSettings(Section):
    window_seconds: Annotated[float, Field(gt=0)]
    """Longer recordings are classified in equal windows no longer than this (where training cut windows: in its max_seconds)."""
    max_clips: Annotated[int, Field(ge=1)]
    """Clips in one request."""
    max_seconds: Annotated[float, Field(gt=0)]
    """Length of one clip."""
    max_megabytes: Annotated[float, Field(gt=0)]
    """Size of one encoded clip."""


class Range(Section):
    low: float
    high: float
    log: bool
    """Whether the search is even on a logarithmic scale."""


class Choices(Section):
    choices: tuple[Any, ...]


def _kind_of_spread(value: object) -> str | None:
    keys = set(value) if isinstance(value, Mapping) else set(getattr(value, "__dict__", ()))
    kinds = {"range": set(Range.model_fields), "choices": set(Choices.model_fields)}
    return next((kind for kind, fields in kinds.items() if keys == fields), None)


Spread = Annotated[
    Annotated[Range, Tag("range")] | Annotated[Choices, Tag("choices")],
    Discriminator(_kind_of_spread, "spread", "Input should be {low, high, log} or {choices: [...]}"),
]


class SweepSettings(Section):
    study: OptionalName
    """Name of the study; the same name goes on with it, here or on another machine. none: named after what is searched."""
    trials: Annotated[int, Field(ge=1)]
    """Trials in all; trial 0 holds the defaults."""
    workers: Annotated[int, Field(ge=1)]
    """Processes on this machine that run trials side by side."""
    storage: OptionalName
    """Database of the study (postgresql://…), for workers on several machines; none: a journal file under paths.studies."""
    sampler: Literal["tpe", "random"]
    """tpe: learns from finished trials; random: does not."""
    startup_trials: Annotated[int, Field(ge=1)]
    """Random trials before tpe begins to learn."""
    pruner: Literal["none", "median", "wilcoxon"]
    """Stops trials early: median compares epochs, wilcoxon finished rounds. A pruned trial has no value and cannot win."""
    space: Mapping[str, Spread]
    """What is searched: any setting of `train`, as {low, high, log} or {choices}."""


class CompareSettings(Section):
    runs: Names
    """Run ids of two or more experiments (parent runs), comma-separated; the first is the baseline."""
    tag: OptionalName
    """KEY=VALUE: all finished experiments with this tag as well."""
    seed: int
    """Seed of the bootstrap and of the permutations."""
    resamples: Annotated[int, Field(ge=100)]
    """Resamples of speakers, and permutations."""


class ReproduceSettings(Section):
    run_id: OptionalName
    """Id of the experiment (the parent run) to run again."""
    force: bool
    """Run it again although code, data or environment differ."""


class PredictSettings(Section):
    model_uri: OptionalName
    """models:/NAME@champion (or a version), the id of a round, of an experiment (then its best round on validation), or a folder."""
    audio: OptionalName
    """A recording, or a folder of them, in any format that is read elsewhere."""
    output: Annotated[str, Field(min_length=1)]
    """Table to write: .csv or .parquet."""
    window_seconds: OptionalSeconds
    """Longer recordings are classified in windows no longer than this; none: as the model says."""
    batch_size: Annotated[int, Field(ge=1)]
    """Windows computed together (sorted by length)."""


class TryPageSettings(Section):
    model_uri: Annotated[str, Field(min_length=1)]
    """models:/NAME@champion (or a version), the id of a round, of an experiment (then its best round on validation), or a folder."""
    address: Annotated[str, Field(min_length=1)]
    """Address to listen on; 127.0.0.1: only this machine can open the page."""
    port: Annotated[int, Field(ge=1, le=65535)]
    """Port to listen on."""


class Settings(Section):
    """The whole of params.yaml."""

    data: DataSettings
    catalogue: CatalogueSettings
    audio: AudioSettings
    frames: FramesSettings
    paths: PathsSettings
    train: TrainSettings
    launch: LaunchSettings
    slurm: SlurmSettings
    serving: ServingSettings
    sweep: SweepSettings
    compare: CompareSettings
    reproduce: ReproduceSettings
    predict: PredictSettings
    try_page: TryPageSettings
    import_frames: ImportFramesSettings
    prepare_msp: PrepareMspSettings


RENAMED = {"rondas": "rounds"}
"""Old names that are accepted."""
ANSWERED = {
    "root_folder": "data.raw in params.yaml (make raw FROM=FOLDER)",
    "dump_folder": "paths.checkpoints and paths.cache",
    "epoch_ini": "resume=RUN_ID",
    "best_acc": "resume=RUN_ID",
    "num_epochs": "epochs",
}
"""Old names that are refused with what replaces them."""
RUN_SECTIONS = ("data", "catalogue", "audio", "frames", "paths", "train", "serving")
"""Sections that a training, or the model that it leaves, depends on."""
LAUNCH_SECTIONS = ("launch", "slurm")
"""Sections that say where trainings run; no number depends on them."""
SHARED_SECTIONS = ("paths", "data")
"""Sections that every entry point takes under dotted names (paths.cache)."""


def read_settings(path: Path = PARAMS_FILE, given: Mapping[str, str] | None = None) -> Settings:
    """Read and check params.yaml, with the `given` values (dotted names) in place of its own.

    Raises:
        SettingsError: the file is missing or is no YAML mapping, or a key is unknown, missing or out of range.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SettingsError(f"no {path} in {Path.cwd().name}: commands run in the project's folder") from None
    return parse_settings(text, str(path), given)


def parse_settings(text: str, origin: str, given: Mapping[str, str] | None = None) -> Settings:
    """Check the text of a params.yaml, or of a run's settings.yaml; see `read_settings`."""
    try:
        content = YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise SettingsError(f"{origin} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise SettingsError(f"{origin} is not a mapping, expected the sections: {', '.join(Settings.model_fields)}")
    for section in content:
        if section in Settings.model_fields and not isinstance(content[section], dict):
            raise SettingsError(f"{origin}: {section} is not a mapping, expected the keys: {', '.join(_fields_of(section))}")
    for name, value in (given or {}).items():
        section, key = name.split(".", 1)
        content.setdefault(section, {})[key] = value
    try:
        return Settings.model_validate(content)
    except ValidationError as error:
        problems = {name: list(group) for name, group in groupby(error.errors(), key=lambda problem: problem["loc"][:2])}
        raise SettingsError("; ".join(_explain(group, origin, given or {}) for group in problems.values())) from None


def with_train(settings: Settings, values: Mapping[str, Any], origin: str) -> Settings:
    """Return settings with other values of `train`, checked; `origin` is where they come from, for messages."""
    try:
        return Settings.model_validate(settings.model_dump() | {"train": settings.train.model_dump() | dict(values)})
    except ValidationError as error:
        raise SettingsError(_explain(error.errors(), origin, {})) from None


def dump_settings(settings: Settings) -> str:
    """Write settings as YAML that `parse_settings` reads back as the same settings."""
    text = StringIO()
    YAML(typ="safe", pure=True).dump(settings.model_dump(mode="json"), text)
    return text.getvalue()


def flatten_settings(settings: Settings, sections: Sequence[str] = RUN_SECTIONS) -> dict[str, Any]:
    """Return the settings of some sections (those that a training depends on) under their dotted names (train.lr)."""
    content = settings.model_dump()
    return {f"{section}.{key}": value for section in sections for key, value in content[section].items()}


def _explain(problems: Sequence[Mapping[str, Any]], origin: str, given: Mapping[str, str]) -> str:
    """Word what is wrong with one setting; there are several problems where none of several kinds of value fits."""
    problem = problems[0]
    name = ".".join(str(part) for part in problem["loc"][:2])
    section, _, key = name.partition(".")
    accepted = _fields_of(section) if key else list(Settings.model_fields)
    if problem["type"] == "extra_forbidden":
        return f"{origin}: {_unknown(name, accepted)}"
    if problem["type"] == "missing":
        return f"{origin}: no {name}, expected the keys: {', '.join(accepted)}"
    place = f"{name if section in SHARED_SECTIONS else key}=" if name in given else f"{origin}: {name}: "
    expected = " or ".join(re.sub(r"^\w+ should (be |have )?|, unable to.*", "", each["msg"]) for each in problems)
    return f"{place}{problem['input']} is not accepted, expected {expected}"


def _fields_of(section: str) -> list[str]:
    return list(_model_of(section).model_fields)


def _model_of(section: str) -> type[Section]:
    return Settings.model_fields[section].annotation  # type: ignore[return-value]


def _unknown(name: str, accepted: Sequence[str]) -> str:
    near = difflib.get_close_matches(name.rpartition(".")[2], accepted, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"unknown parameter {name!r}{hint}, expected one of: {', '.join(accepted)}"


def parse_arguments(sections: Sequence[str], description: str, arguments: Sequence[str] | None = None) -> Settings:
    """Read params.yaml and what a command line changes of it; see `parse_given`."""
    return read_settings(given=parse_given(sections, description, arguments))


def parse_given(sections: Sequence[str], description: str, arguments: Sequence[str] | None = None) -> dict[str, str]:
    """Return the values that a command line gives, as written, by dotted name; only the names are checked.

    `sections` are those whose settings go by plain names (`--lr`), the first one first where two share a name; the shared
    sections, and what an earlier section hides, go by dotted names (`--paths.cache`). Hyphens and underscores are the same.
    `--help` prints every setting with its default and exits.
    """
    names = {key: f"{section}.{key}" for section in reversed(sections) for key in _fields_of(section)}
    dotted = [f"{section}.{key}" for section in (*sections, *SHARED_SECTIONS) for key in _fields_of(section)]
    names |= {name: name for name in dotted if name not in names.values()}
    given: dict[str, str] = {}
    words = list(sys.argv[1:] if arguments is None else arguments)
    if "-h" in words or "--help" in words:
        print(_help(names, description))
        raise SystemExit(0)
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            raise SettingsError(f"unexpected {word!r}, expected --name value")
        word, equals, value = word.removeprefix("--").partition("=")
        name = RENAMED.get(word.replace("-", "_"), word.replace("-", "_"))
        if name in ANSWERED:
            raise SettingsError(f"{name} is no longer a parameter, use {ANSWERED[name]}")
        if name not in names:
            raise SettingsError(_unknown(name, [*names]))
        if not equals:
            if not words:
                raise SettingsError(f"{name} has no value")
            value = words.pop(0)
        if names[name] in given:
            raise SettingsError(f"{name} is given twice")
        given[names[name]] = value
    return given


def _help(names: Mapping[str, str], description: str) -> str:
    defaults = read_settings()
    parser = argparse.ArgumentParser(
        description=description, add_help=False, usage="%(prog)s [--name value ...]", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, dotted in names.items():
        section, key = dotted.split(".", 1)
        field = _model_of(section).model_fields[key]
        default = getattr(getattr(defaults, section), key)
        text = f"{field.description} [{_shown(default)}]".replace("%", "%%")
        parser.add_argument(f"--{name}", metavar="|".join(_choices(field.annotation)) or "VALUE", help=text)
    return parser.format_help()


def _shown(default: object) -> str:
    """Word a default as it could be given."""
    text = ",".join(default) if isinstance(default, tuple) else str(default)
    return "none" if default is None or not text else text.lower() if isinstance(default, bool) else text


def _choices(annotation: object) -> list[str]:
    return [str(choice) for choice in get_args(annotation)] if get_origin(annotation) is Literal else []


GARBAGE_THRESHOLDS = 100_000, 20, 100
"""Torch, transformers and MLflow leave millions of objects, which Python's own thresholds have it search again and again: a tenth of the
time of their imports, an eighth of that of a round with cached features."""


def run_command(command: Callable[[], int | None]) -> None:
    """Run a command and exit with its code; a user's mistake prints one line and exits with the error's own code."""
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    try:
        code = command()
    except SerError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    raise SystemExit(code or 0)
