"""What every setting of params.yaml means and what it accepts, one class for each section.

Defaults live in params.yaml and nowhere else. A field's marks say who may change it: a resume, a sweep.
"""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from ser_mlops.settings.analysis import EmbedSettings, ErrorsSettings, ListenSettings
from ser_mlops.settings.jobs import LaunchSettings, SlurmSettings
from ser_mlops.settings.kinds import (
    Mark,
    Names,
    OptionalName,
    OptionalPositive,
    Section,
)
from ser_mlops.settings.preparation import (
    AudioSettings,
    CatalogueSettings,
    DataSettings,
    FramesSettings,
    ImportFramesSettings,
    PrepareMspSettings,
)
from ser_mlops.settings.search import SurveySettings, SweepSettings
from ser_mlops.settings.sharing import ExportRunsSettings, ImportRunsSettings, SyncSettings
from ser_mlops.settings.training import BaselineSettings, TrainSettings


class PathsSettings(Section):
    checkpoints: str
    """Folder for the training states of rounds; may lie on a scratch disk."""
    cache: str
    """Folder for the outputs of frozen parts; may lie on a scratch disk."""
    studies: str
    """Folder for the journals of sweeps."""


class RecipesSettings(Section):
    """Settings of `train` under names of one's own choice: `settings/recipes.py` applies the one that a command names."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, dict[str, Any]] = Field(init=False)


class ServingSettings(Section):
    window_seconds: Annotated[float, Field(gt=0)]
    """Longer recordings are classified in equal windows no longer than this (where training cut windows: in its max_seconds)."""
    max_clips: Annotated[int, Field(ge=1)]
    """Clips in one request."""
    max_seconds: Annotated[float, Field(gt=0)]
    """Length of one clip."""
    max_megabytes: Annotated[float, Field(gt=0)]
    """Size of one encoded clip."""


class DrawingSettings(Section):
    figures: Literal["png", "pdf", "both", "none"]
    """Files of every figure: PNG, which MLflow shows, vector PDF for print, or both; none: nothing is drawn."""


class CompareSettings(Section):
    runs: Names
    """Run ids of two or more experiments (parent runs), comma-separated; the first is the baseline."""
    tag: OptionalName
    """KEY=VALUE: all finished experiments with this tag as well."""
    seed: int
    """Seed of the permutations."""
    resamples: Annotated[int, Field(ge=100)]
    """Resamples of speakers, and permutations."""


class TableSettings(Section):
    runs: Names
    """Run ids of two or more experiments (parent runs), comma-separated; the first is the baseline."""
    tag: OptionalName
    """KEY=VALUE: all finished experiments with this tag as well, oldest first."""
    score: Literal["uar", "accuracy", "f1_macro", "f1_weighted"]
    """Score in the cells."""
    cell: Literal["sd", "interval"]
    """sd: mean ± standard deviation over rounds; interval: mean and 95 % interval."""
    ensemble: bool
    """true: below each experiment a row for the ensemble of its rounds, the mean of their probabilities."""
    seed: int
    """Seed of the permutations."""
    resamples: Annotated[int, Field(ge=100)]
    """Resamples of speakers, and permutations."""


class MethodsSettings(Section):
    run_id: OptionalName
    """Id of the experiment (the parent run) to describe."""


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


class ExportOnnxSettings(Section):
    model_uri: OptionalName
    """models:/NAME@champion (or a version), the id of a round, of an experiment (then its best round on validation), or a folder."""
    output: Annotated[str, Field(min_length=1)]
    """Folder for model.onnx and its contract."""


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
    recipes: RecipesSettings
    """Recipes"""
    baseline: BaselineSettings
    """The baseline"""
    launch: LaunchSettings
    """Where trainings run"""
    slurm: SlurmSettings
    """Slurm jobs"""
    serving: Annotated[ServingSettings, Mark.FREE]
    """Limits kept in the model that is left"""
    drawing: Annotated[DrawingSettings, Mark.FREE]
    """Figures"""
    sweep: SweepSettings
    """The search"""
    survey: SurveySettings
    """The models and what they go through"""
    compare: CompareSettings
    """What is compared"""
    table: TableSettings
    """What the table shows"""
    methods: MethodsSettings
    """What is described"""
    reproduce: ReproduceSettings
    """What is reproduced"""
    predict: PredictSettings
    """What is predicted"""
    export_onnx: ExportOnnxSettings
    """What is exported"""
    try_page: TryPageSettings
    """The page"""
    errors: ErrorsSettings
    """Whose errors"""
    listen: ListenSettings
    """The page of the errors"""
    embed: EmbedSettings
    """What is embedded"""
    sync: SyncSettings
    """What is brought besides records that wait"""
    export_runs: ExportRunsSettings
    """What is exported"""
    import_runs: ImportRunsSettings
    """What is imported"""
    import_frames: ImportFramesSettings
    """What is imported"""
    prepare_msp: PrepareMspSettings
    """What is imported"""


RUN_SECTIONS = ("data", "catalogue", "audio", "frames", "paths", "train", "baseline", "serving", "drawing")
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
