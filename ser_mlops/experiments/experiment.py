"""What a command means: its settings, the trainings that follow from them, and the data that these read. Nothing is computed yet.

torch, transformers and MLflow are imported only where they are needed, so that what is wrong with a command is said at once.
"""

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ser_mlops.data.audio.format import SAMPLE_RATE
from ser_mlops.data.corpora.base import UNKNOWN
from ser_mlops.data.demo.mark import is_synthetic
from ser_mlops.data.folders import AUDIO
from ser_mlops.data.frames import read_frame
from ser_mlops.data.lock import Version, read_versions
from ser_mlops.data.selection import left_out
from ser_mlops.emotions import SEVEN
from ser_mlops.errors import SettingsError
from ser_mlops.experiments.corpora import corpora_named, name_corpora
from ser_mlops.experiments.plan import SPEAKERS, Training, plan_trainings
from ser_mlops.experiments.resuming import FREE_ON_RESUME, refuse_changed
from ser_mlops.models.depth import check_depth, depth_of
from ser_mlops.models.location import count_layers, heard_seconds, locate
from ser_mlops.models.vectors import vectors_named
from ser_mlops.settings.reading import applicable_settings
from ser_mlops.settings.sections import Settings
from ser_mlops.settings.training import BASELINE
from ser_mlops.tracking.names import CHILD_KEY_TAG, EMOTIONS_TAG, STUDY_TAG, TITLE_TAG, UAR_TAG, VALIDATION_TAG
from ser_mlops.tracking.provenance import code_hash, commit_tags, machine_tags, slurm_job

if TYPE_CHECKING:
    from ser_mlops.training.recipe import Recipe

RESERVED_TAGS = (
    TITLE_TAG,
    UAR_TAG,
    VALIDATION_TAG,
    CHILD_KEY_TAG,
    STUDY_TAG,
    "train_datasets",
    "test_dataset",
    "fold",
    "round",
    "registered",
    "recipe",
    "feature_norm",
    "adapter",
)
"""Tags of ours that only some runs have."""
FEATURE_NORMS = {"corpus": "corpus", "speaker": "speaker (transductive: looks at the clips of the test speakers, not at their labels)"}
"""Tag by setting."""
MIN_CLIPS_OF_SPEAKER = 2
"""With one clip its mean is the clip itself, and nothing of it is left."""
DATA_SECTIONS = ("data", "catalogue", "audio", "frames")


@dataclass(frozen=True)
class Experiment:
    """All that a command means, checked before anything is computed."""

    settings: Settings
    trainings: list[Training]
    versions: Mapping[str, Version]
    is_synthetic: bool
    left_out: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Clips of emotions that it does not train or test on, by corpus and emotion."""

    @property
    def note(self) -> str:
        """What every figure says about the data."""
        return "synthetic data" if self.is_synthetic else ""

    @property
    def name(self) -> str:
        """Name the parent run: what it is and, under Slurm, the job."""
        job = slurm_job()
        return f"{self.title} job {job}" if job else self.title

    @property
    def title(self) -> str:
        """What it is, as figures say it: kind, corpora, model, freezing, and classes where they are not the seven emotions."""
        train = self.settings.train
        trained = [corpus for corpus in self.versions if any(corpus in training.train_datasets for training in self.trainings)]
        tested = list(dict.fromkeys(name for training in self.trainings for name in training.tests))
        is_within = train.experiment_type != "indep" or trained == tested
        corpora = name_corpora(trained) if is_within else f"{name_corpora(trained)} to {name_corpora(tested)}"
        frozen = "" if self.is_baseline or train.freeze == "none" else f"{train.freeze} frozen"
        adapter = "" if self.is_baseline or train.adapter == "none" else train.adapter
        classes = "" if train.space == SEVEN else f"{len(train.space.classes)} classes"
        words = [train.experiment_type, corpora, train.model, frozen, adapter, classes]
        return " ".join(filter(None, [*words, "(synthetic)" * self.is_synthetic]))

    @property
    def emotions_note(self) -> str:
        """Which emotions it tells apart, and how many clips of others are left out; empty for all seven."""
        space = self.settings.train.space
        if space == SEVEN:
            return ""
        counts = [
            f"{corpus} {', '.join(f'{emotion} {count}' for emotion, count in others.items())}"
            for corpus, others in self.left_out.items()
            if others
        ]
        left = f"; clips of others, which are left out: {'; '.join(counts)}" if counts else "; no clip is left out"
        return f"emotions: {space}{left}"

    @property
    def run_name(self) -> str:
        """The name of the parent run: the user's, or `name`."""
        return self.settings.train.name or self.name

    @property
    def is_baseline(self) -> bool:
        """Whether the model is the baseline, not a neural network."""
        return self.settings.train.model == BASELINE

    @property
    def recipe(self) -> "Recipe":
        """How every round of a network is trained."""
        from ser_mlops.training.recipe import Recipe

        return Recipe.of(self.settings.train.model_dump())

    @property
    def rounds(self) -> list[tuple[Training, int]]:
        """Every training with every round of it, in order."""
        return [(training, round) for training in self.trainings for round in range(self.settings.train.rounds)]

    def find_round(self, key: str) -> tuple[Training, int]:
        """Return the training and the number of the round that `round_key` names."""
        return next(pair for pair in self.rounds if round_key(*pair) == key)

    def cache_objection(self) -> str:
        """Return why the outputs of the frozen part cannot be cached for these trainings; empty if they can.

        All trainings are looked at: one whose clips are too long keeps the others from using outputs too, and a resumed experiment
        must decide as it did at first.
        """
        from ser_mlops.training.batching import Clips

        sides = [side for training in self.trainings for side in training.sides.values()]
        return self.recipe.reads_waves(*(Clips.from_frame(side, AUDIO) for side in sides))

    def tags(self) -> dict[str, str]:
        """Return what every run of the experiment is tagged with: the user's tags and ours."""
        return self.settings.train.tags | self.own_tags()

    def own_tags(self) -> dict[str, str]:
        """Return the tags that say what is computed, on what and where."""
        settings = self.settings
        return {
            "kind": settings.train.experiment_type,
            "model": settings.train.model,
            **({"recipe": settings.train.recipe} if settings.train.recipe else {}),
            **(self._baseline_tags() if self.is_baseline else self._network_tags()),
            "data": "synthetic" if self.is_synthetic else "real",
            "split": f"{settings.frames.split} ({min((training.speakers for training in self.trainings), key=SPEAKERS.index)})",
            "calm": settings.catalogue.calm,
            "contempt": settings.catalogue.contempt,
            "labels": settings.catalogue.labels_in_words,
            EMOTIONS_TAG: str(settings.train.space),
            **{f"dvc.{corpus}": version.frame_md5 for corpus, version in self.versions.items()},
            "code": code_hash(),
            **commit_tags(),
            **machine_tags(),
        }

    def tags_of_parent(self) -> dict[str, str]:
        """Return what the parent run is tagged with: the tags of every run, and what it is in words."""
        return self.tags() | {TITLE_TAG: self.name}

    def _network_tags(self) -> dict[str, str]:
        train = self.settings.train
        return {
            "freeze": train.freeze,
            **({} if train.adapter == "none" else {"adapter": train.adapter}),
            "attention_mask": "true" if train.attention_mask else "false (legacy: padding changes predictions)",
            **({} if train.feature_norm == "none" else {"feature_norm": FEATURE_NORMS[train.feature_norm]}),
        }

    def _baseline_tags(self) -> dict[str, str]:
        return {name: str(getattr(self.settings.baseline, name)) for name in ("features", "classifier")}

    def identity(self) -> dict[str, str]:
        """Return what a saved training state must agree with to be resumed, besides what the engine compares itself."""
        settings = {name: str(value) for name, value in applicable_settings(self.settings).items() if name not in FREE_ON_RESUME}
        data = {f"frame of {corpus}": version.frame_md5 for corpus, version in self.versions.items()}
        computing = ("torch", "transformers", "numpy", *([] if self.settings.train.adapter == "none" else ["peft"]))
        packages = {name: importlib.metadata.version(name) for name in computing}
        return settings | data | packages | {"code (SHA-256 of what its numbers depend on)": code_hash()}


def round_key(training: Training, round: int) -> str:
    """Return what tells a round apart from the others of its experiment: CREMA fold 0 round 1."""
    return f"{training.name} round {round}"


def check_model(settings: Settings) -> None:
    """Refuse a model that is unknown, of which something is missing, or that has fewer layers than are to be frozen."""
    if settings.train.model == BASELINE:
        vectors_named(settings.baseline.features)
    elif depth_of(settings.train.freeze) is None:
        locate(settings.train.model)
    else:
        check_depth(settings.train.freeze, count_layers(settings.train.model), settings.train.model)


def _check_hearing(experiment: Experiment) -> None:
    """Refuse clips of which the model would hear the beginning alone: Whisper cuts what is longer than 30 s off."""
    train = experiment.settings.train
    if (heard_s := heard_seconds(train.model)) is None:
        return
    is_cut = train.max_seconds is not None and train.max_seconds <= heard_s
    for training in experiment.trainings:
        for side, frame in training.sides.items():
            longest = frame.loc[frame["num_samples"].idxmax()]
            is_heard = is_cut and (side == "train" or train.evaluate_long == "windows")
            if not is_heard and longest["num_samples"] > heard_s * SAMPLE_RATE:
                raise SettingsError(
                    f"{longest['path']!r} has {longest['num_samples'] / SAMPLE_RATE:.1f} s, of which {train.model} hears {heard_s:g}: set "
                    f"max_seconds={heard_s:g} and evaluate_long=windows"
                )


def check_adapter(settings: Settings) -> None:
    """Refuse adapters where nothing of the encoder is trained."""
    train = settings.train
    if train.model != BASELINE and train.adapter != "none" and train.freeze == "encoder":
        raise SettingsError(f"adapter={train.adapter} trains inside the encoder: give freeze=feature_encoder instead of freeze=encoder")


def _check_feature_norm(experiment: Experiment) -> None:
    train = experiment.settings.train
    if train.freeze != "encoder":
        raise SettingsError(
            f"feature_norm={train.feature_norm} is of the outputs of a frozen encoder: give freeze=encoder, or feature_norm=none"
        )
    if train.cache_precision != "float32":
        raise SettingsError(
            f"feature_norm={train.feature_norm} needs cache_precision=float32: it would make the rounding of {train.cache_precision} as "
            "large as the differences between clips"
        )
    off = {"cache=off": train.cache == "off", "attention_mask=false": not train.attention_mask}
    if objection := next((name for name, is_so in off.items() if is_so), "") or experiment.cache_objection():
        raise SettingsError(f"feature_norm={train.feature_norm} needs the cache of the frozen encoder, but {objection}")
    if train.feature_norm == "speaker":
        for side in (side for training in experiment.trainings for side in training.sides.values()):
            if (unknown := side["speaker"].str.endswith(f"/{UNKNOWN}")).any():
                corpus = side.loc[unknown, "corpus"].iloc[0]
                raise SettingsError(f"feature_norm=speaker: {corpus} has clips of unknown speakers, expected none or corpus")
        for test in (test for training in experiment.trainings for test in training.tests.values()):
            counts = test["speaker"].value_counts()
            if counts.min() < MIN_CLIPS_OF_SPEAKER:
                raise SettingsError(
                    f"feature_norm=speaker: {counts.idxmin()} has {counts.min()} test clip, expected at least {MIN_CLIPS_OF_SPEAKER} of "
                    "each test speaker, or feature_norm none or corpus"
                )
    if train.feature_norm == "speaker" and train.register is not None:
        raise SettingsError(
            f"register={train.register}: a model of feature_norm=speaker needs all clips of a speaker and cannot serve: leave register "
            "out, or give feature_norm=corpus"
        )


def _check_votes(experiment: Experiment) -> None:
    """Refuse soft targets where no listener was asked, and validation sets that hard scores cannot judge."""
    for training in experiment.trainings:
        if not (training.train["num_votes"] > 0).any():
            raise SettingsError(
                f"targets=soft: {training.name} has no training clip with votes, expected a corpus whose listeners' votes are known "
                "(docs/labels.md), or targets=hard"
            )
        if not (training.validation["num_labels"] == 1).any():
            raise SettingsError(
                f"targets=soft: {training.name} has no validation clip with one label, expected some, or another catalogue.ties"
            )


def prepare(settings: Settings, *, reads_store: bool = True) -> Experiment:
    """Check everything that can be wrong with a command before it costs time: corpora, frames, plan, checkpoint.

    Without `reads_store`, what only the tracking store can tell is left out: the process that handed over has asked it.
    """
    train = settings.train
    corpora = corpora_named(settings)
    check_model(settings)
    if settings.frames.split == "stratified" and (train.fold != 0 or train.experiment_type == "within"):
        asked = "experiment_type=within" if train.experiment_type == "within" else f"fold={train.fold}"
        raise SettingsError(f"{asked}: frames.split=stratified holds out one part, expected fold=0")
    params = {section: getattr(settings, section).model_dump(mode="json") for section in DATA_SECTIONS}
    versions = read_versions(corpora, params)
    frames = {corpus: read_frame(version.frame) for corpus, version in versions.items()}
    is_soft = train.targets == "soft" and train.model != BASELINE
    trainings = plan_trainings(
        frames,
        experiment_type=train.experiment_type,
        train_datasets=train.train_datasets,
        test_dataset=train.test_dataset,
        test_split_source=train.test_split_source,
        fold=train.fold,
        validation_share=train.validation_share,
        seed=train.seed,
        space=train.space,
        with_unlabelled=is_soft,
    )
    synthetic = [corpus for corpus in corpora if is_synthetic(Path(settings.data.raw), corpus)]
    others = {corpus: left_out(frame, train.space) for corpus, frame in frames.items()}
    experiment = Experiment(settings, trainings, versions, bool(synthetic), others)
    reserved = {*experiment.own_tags(), *RESERVED_TAGS}
    if taken := sorted(key for key in train.tags if key in reserved or key.startswith("mlflow.")):
        raise SettingsError(f"tags: {', '.join(taken)} cannot be given, as every run has such tags: use another name")
    check_adapter(settings)
    if not experiment.is_baseline:
        _check_hearing(experiment)
    if not experiment.is_baseline and train.cache == "require" and (objection := experiment.cache_objection()):
        raise SettingsError(f"cache=require, but {objection}")
    if not experiment.is_baseline and train.feature_norm != "none":
        _check_feature_norm(experiment)
    if is_soft:
        _check_votes(experiment)
    if train.resume:
        refuse_changed(versions, train.resume)
    if train.register_as == "ensemble" and (train.register is None or train.rounds == 1):
        missing = "register=NAME" if train.register is None else f"two rounds or more, not {train.rounds}"
        raise SettingsError(f"register_as=ensemble needs {missing}")
    if train.register is not None and reads_store:
        from ser_mlops.serving.champion import refuse_other_emotions
        from ser_mlops.tracking.store import open_store

        refuse_other_emotions(open_store(), train.register, train.space)
    return experiment
