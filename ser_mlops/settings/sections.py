"""What every setting of params.yaml means and what it accepts, one class for each section.

Defaults live in params.yaml and nowhere else. A field's marks say who may change it: a resume, a sweep.
"""

import warnings
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from ser_mlops.settings.jobs import LaunchSettings, SlurmSettings
from ser_mlops.settings.kinds import (
    Augmentations,
    Freeze,
    Mark,
    Names,
    OptionalModelName,
    OptionalName,
    OptionalPositive,
    Section,
    Share,
    Tags,
    none_if_blank,
)

warnings.filterwarnings("ignore", 'Field name "register"')  # every class that may be abstract has a method of that name


BASELINE = "baseline"
"""The model that is no neural network."""


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
    cut_off: Literal["drop", "keep"]
    """Files that end before their header says, as interrupted copies do: left out, or kept with a warning."""


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
    experiment_type: Literal["indep", "cross", "matrix", "grid", "within"]
    """indep: one test corpus; cross: held-out folds of all; matrix: leave one corpus out; grid: each trained, each tested; within: each
    corpus alone, over all its folds."""
    train_datasets: Names
    """Corpora to train on, comma-separated; empty: the test corpus alone (indep) or all of data.corpora."""
    test_dataset: OptionalName
    """Corpus to test on, needed by indep; where it has official test sets (MSP_PODCAST), each is reported alone."""
    test_split_source: OptionalName
    """With indep: this corpus is not trained on, its groups are halved into validation and test (official parts serve as they are)."""
    model: Annotated[str, Field(min_length=1)]
    """An alias (HuB-LL, HuB-XL, HuB-ER, HuB-SID, W2V2-base, W2V2-large, W2V2-robust, DistilHubert, tiny), a hub id, a folder, or
    baseline."""
    freeze: Annotated[Freeze, Mark.NETWORK]
    """none, feature_encoder (the CNN; `true` means this) or encoder (everything below the head)."""
    epochs: Annotated[int, Field(ge=1), Mark.SEARCHABLE, Mark.NETWORK]
    """Passes over the training clips."""
    rounds: Annotated[int, Field(ge=1)]
    """Full repeats, each with its own seed ("rondas")."""
    lr: Annotated[float, Field(gt=0), Mark.SEARCHABLE, Mark.NETWORK]
    """Learning rate of AdamW."""
    weight_decay: Annotated[float, Field(ge=0), Mark.SEARCHABLE, Mark.NETWORK]
    """Weight decay of AdamW, on the weights that `decay_all` says."""
    decay_all: Annotated[bool, Mark.NETWORK]
    """true: every trained weight decays; false: not biases, norms and layer weights, as is usual elsewhere."""
    batch_size: Annotated[int, Field(ge=1), Mark.SEARCHABLE, Mark.NETWORK]
    """Clips per training batch."""
    eval_batch_size: Annotated[int, Field(ge=1), Mark.NETWORK]
    """Clips per evaluation batch (sorted by length)."""
    attention_mask: Annotated[bool, Mark.NETWORK]
    """false: no mask, as in older work; clips are then evaluated one at a time."""
    seed: int
    """Base seed: validation split, initial heads, order of batches."""
    fold: Annotated[int, Field(ge=0)] | Literal["all"]
    """Held-out fold of the test corpus, or `all` of them in turn."""
    select_by: Literal["uar", "accuracy", "f1_macro", "f1_weighted", "loss"]
    """Validation score that chooses the epoch; the earliest epoch wins a tie."""
    resume: Annotated[OptionalName, Mark.FREE]
    """Run id of an interrupted experiment to resume."""
    name: OptionalName
    """Name of the run in MLflow; none: what is trained and tested, in words (which the tag `title` always holds)."""
    tags: Tags
    """Tags of your own for its runs: paper=table2,note=first try; compare finds experiments by them."""
    register: Annotated[OptionalModelName, Mark.FREE] = Field()  # else pydantic takes the method of that name for a default
    """Registered model (say ser) that the best round becomes a version of; champion if it beats the present one. none: not registered."""
    validation_share: Annotated[float, Field(gt=0, lt=1)]
    """Share of the groups of each training corpus that validates."""
    schedule: Annotated[Literal["constant", "linear", "cosine"], Mark.SEARCHABLE, Mark.NETWORK]
    """Learning rate after the warm-up: constant, or falling towards 0, which it would reach one step after the last."""
    warmup: Annotated[Share, Mark.SEARCHABLE, Mark.NETWORK]
    """Share of all steps over which the learning rate rises from 0."""
    accumulate: Annotated[int, Field(ge=1), Mark.SEARCHABLE, Mark.NETWORK]
    """Batches per optimiser step."""
    clip_norm: Annotated[OptionalPositive, Mark.SEARCHABLE, Mark.NETWORK]
    """Largest norm of the gradient; none: not clipped."""
    class_weights: Annotated[Literal["none", "balanced"], Mark.SEARCHABLE, Mark.NETWORK]
    """balanced: the loss weighs emotions by the inverse of their number of training clips."""
    label_smoothing: Annotated[Share, Mark.SEARCHABLE, Mark.NETWORK]
    """Share of the target spread over all emotions."""
    augment: Annotated[Augmentations, Mark.NETWORK]
    """Waveform augmentations of training clips: speed, noise, gain; they switch caches off."""
    early_stopping: Annotated[Annotated[int, Field(ge=1)] | None, BeforeValidator(none_if_blank), Mark.SEARCHABLE, Mark.NETWORK]
    """Stop after so many epochs without a better `select_by`; none: never."""
    precision: Annotated[Literal["auto", "float32", "bfloat16"], Mark.NETWORK]
    """auto: bfloat16 on GPUs that have it, float32 elsewhere."""
    gradient_checkpointing: Annotated[bool, Mark.NETWORK]
    """Recompute activations in the backward pass: less memory, more time (HuB-XL)."""
    max_seconds: Annotated[OptionalPositive, Mark.NETWORK]
    """Longest training clip; longer ones are cropped at a random place that the seed decides. none: whole clips."""
    evaluate_long: Annotated[Literal["whole", "windows"], Mark.NETWORK]
    """Clips longer than max_seconds are evaluated whole, or in windows whose logits are averaged."""
    cache: Annotated[Literal["auto", "require", "off"], Mark.NETWORK]
    """Outputs of the frozen part: kept where the disk allows (auto), an error where it does not (require), or not kept (off)."""
    cache_precision: Annotated[Literal["float32", "bfloat16"], Mark.NETWORK]
    """bfloat16 halves a cache and agrees with float32 within 2e-2 of a logit."""
    workers: Annotated[int, Field(ge=0), Mark.FREE, Mark.NETWORK]
    """Processes that read waveforms; 0: the training process itself."""
    checkpoint_every: Annotated[int, Field(ge=0), Mark.FREE, Mark.NETWORK]
    """Optimiser steps between saved states, besides epoch ends; 0: epoch ends only."""


class BaselineSettings(Section):
    features: Annotated[Literal["functionals", "egemaps"], Mark.SEARCHABLE]
    """What describes a clip: functionals, 411 numbers by torchaudio; egemaps, 88 by openSMILE (optional, not free for every use)."""
    classifier: Annotated[Literal["svm", "logistic"], Mark.SEARCHABLE]
    """svm: support vector machine with an RBF kernel; logistic: logistic regression; both with balanced emotions."""
    C: Annotated[float, Field(gt=0), Mark.SEARCHABLE]
    """Inverse of the regularisation."""
    gamma: Annotated[Annotated[float, Field(gt=0)] | Literal["scale"], Mark.SEARCHABLE]
    """Of the RBF kernel; scale: 1 / (numbers x their variance)."""


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
    """Name of the study; the same name resumes it, here or on another machine. none: named after what is searched."""
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
    """What is searched: any setting of `train` or `baseline`, as {low, high, log} or {choices}; those that the model has count."""


class CompareSettings(Section):
    runs: Names
    """Run ids of two or more experiments (parent runs), comma-separated; the first is the baseline."""
    tag: OptionalName
    """KEY=VALUE: all finished experiments with this tag as well."""
    seed: int
    """Seed of the permutations."""
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
    """A recording, or a folder of them, in any format that the corpora may have."""
    output: Annotated[str, Field(min_length=1)]
    """Table to write: .csv or .parquet."""
    window_seconds: OptionalPositive
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
    """The whole of params.yaml; a section's text is its heading in --help."""

    data: DataSettings
    """Data"""
    catalogue: CatalogueSettings
    """Label rules"""
    audio: AudioSettings
    """Audio"""
    frames: FramesSettings
    """Frames"""
    paths: Annotated[PathsSettings, Mark.FREE]
    """Folders"""
    train: TrainSettings
    """Training"""
    baseline: BaselineSettings
    """The baseline"""
    launch: LaunchSettings
    """Where trainings run"""
    slurm: SlurmSettings
    """Slurm jobs"""
    serving: Annotated[ServingSettings, Mark.FREE]
    """Limits kept in the model that is left"""
    sweep: SweepSettings
    """The search"""
    compare: CompareSettings
    """What is compared"""
    reproduce: ReproduceSettings
    """What is reproduced"""
    predict: PredictSettings
    """What is predicted"""
    try_page: TryPageSettings
    """The page"""
    import_frames: ImportFramesSettings
    """What is imported"""
    prepare_msp: PrepareMspSettings
    """What is imported"""


RUN_SECTIONS = ("data", "catalogue", "audio", "frames", "paths", "train", "baseline", "serving")
"""Sections that a training, or the model that it leaves, depends on."""
LAUNCH_SECTIONS = ("launch", "slurm")
"""Sections that say where trainings run; no number depends on them."""
SHARED_SECTIONS = ("paths", "data")
"""Sections whose settings go by dotted names on every command line (paths.cache)."""
GROUPS = {
    "train.experiment_type": "What is trained and tested",
    "train.model": "The recipe",
    "train.schedule": "Beyond the recipe, off by default",
    "train.precision": "Memory and speed",
}
"""Headings in --help, each from one setting on, within the long section `train`."""
