"""Conducts an experiment: every training that a command means, every round of it, recorded in the notebook."""

import importlib.metadata
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from ser_mlops.data.demo.mark import is_synthetic
from ser_mlops.data.folders import AUDIO
from ser_mlops.data.frames import read_frame
from ser_mlops.data.lock import Version, read_versions
from ser_mlops.errors import CheckpointError, SettingsError, TrainingError
from ser_mlops.experiments.plan import SPEAKERS, Training, corpora_of, name_corpora, plan_trainings
from ser_mlops.experiments.recording import (
    CODE_FILE,
    SETTINGS_FILE,
    EpochLog,
    Result,
    begin_training,
    describe_experiment,
    read_result,
    record_model,
    record_result,
    record_summary,
)
from ser_mlops.files import remove
from ser_mlops.models.build import load_classifier, locate
from ser_mlops.scores.predictions import prediction_table
from ser_mlops.serving.champion import register_best
from ser_mlops.settings.reading import flatten_settings, parse_settings, read_settings
from ser_mlops.settings.sections import LAUNCH_SECTIONS, RUN_SECTIONS, Settings
from ser_mlops.tracking.notebook import Notebook, Planned, open_notebook
from ser_mlops.tracking.outbox import OUTBOX
from ser_mlops.tracking.provenance import changed_files, code_hash, code_listing, commit_tags, machine_tags
from ser_mlops.tracking.recovery import recover
from ser_mlops.tracking.runlog import RunLog
from ser_mlops.tracking.store import STUDY_TAG, find_run, open_store, read_artifact
from ser_mlops.tracking.views import links_to_rounds
from ser_mlops.training.batching import Clips
from ser_mlops.training.distributed import World, join_world, leave_world
from ser_mlops.training.evaluate import predict_logits
from ser_mlops.training.features import Features, open_features
from ser_mlops.training.fit import Fitted, fit_round
from ser_mlops.training.recipe import Recipe
from ser_mlops.training.recorder import Recorder
from ser_mlops.training.round import Round
from ser_mlops.training.stopping import raising_interrupted

DATA_SECTIONS = ("data", "catalogue", "audio", "frames")
FREE_ON_RESUME = (
    "train.resume",
    "train.workers",
    "train.register",
    "paths.checkpoints",
    "paths.cache",
    "paths.studies",
    "serving.window_seconds",
    "serving.max_clips",
    "serving.max_seconds",
    "serving.max_megabytes",
)
"""Settings that a resumed experiment may change, because no number depends on them."""


@dataclass(frozen=True)
class Experiment:
    """All that a command means, checked before anything is computed."""

    settings: Settings
    trainings: list[Training]
    versions: Mapping[str, Version]
    is_synthetic: bool

    @property
    def note(self) -> str:
        """What every figure says of the data."""
        return "synthetic data" if self.is_synthetic else ""

    @property
    def name(self) -> str:
        """Name the parent run: kind, corpora, model, freezing and, under Slurm, the job."""
        train = self.settings.train
        trained = [corpus for corpus in self.versions if any(corpus in training.train_datasets for training in self.trainings)]
        tested = list(dict.fromkeys(name for training in self.trainings for name in training.tests))
        is_within = train.experiment_type != "indep" or trained == tested
        corpora = name_corpora(trained) if is_within else f"{name_corpora(trained)} to {name_corpora(tested)}"
        words = [train.experiment_type, corpora, train.model, "" if train.freeze == "none" else f"{train.freeze} frozen"]
        job = machine_tags().get("job")
        return " ".join(filter(None, [*words, "(synthetic)" * self.is_synthetic, f"job {job}" if job else ""]))

    @property
    def recipe(self) -> Recipe:
        """How every round is trained."""
        return Recipe.of(self.settings.train.model_dump())

    def cache_objection(self) -> str:
        """Return why the outputs of the frozen part cannot be cached for these trainings; empty if they can.

        It looks at all trainings: one whose clips are too long keeps the others from using outputs too, and a resumed experiment
        must decide as it did at first.
        """
        sides = [side for training in self.trainings for side in (training.train, training.validation, *training.tests.values())]
        return self.recipe.reads_waves(*(Clips.from_frame(side, AUDIO) for side in sides))

    def tags(self) -> dict[str, str]:
        """Return what every run of the experiment is tagged with."""
        settings = self.settings
        return {
            "kind": settings.train.experiment_type,
            "model": settings.train.model,
            "freeze": settings.train.freeze,
            "attention_mask": "true" if settings.train.attention_mask else "false (legacy: padding changes predictions)",
            "data": "synthetic" if self.is_synthetic else "real",
            "split": f"{settings.frames.split} ({min((training.speakers for training in self.trainings), key=SPEAKERS.index)})",
            "calm": settings.catalogue.calm,
            "contempt": settings.catalogue.contempt,
            "labels": settings.catalogue.labels,
            **{f"dvc.{corpus}": version.frame_md5 for corpus, version in self.versions.items()},
            "code": code_hash(),
            **commit_tags(),
            **machine_tags(),
        }

    def identity(self) -> dict[str, str]:
        """Return what a saved training state must agree with to be gone on from, besides what the engine compares itself."""
        settings = {name: str(value) for name, value in flatten_settings(self.settings).items() if name not in FREE_ON_RESUME}
        data = {f"frame of {corpus}": version.frame_md5 for corpus, version in self.versions.items()}
        packages = {name: importlib.metadata.version(name) for name in ("torch", "transformers", "numpy")}
        return settings | data | packages | {"code (SHA-256 of ser_mlops)": code_hash()}


def resolve_settings(given: Mapping[str, str]) -> Settings:
    """Return the settings of a command: params.yaml with what was given or, with `resume`, those of the run that goes on.

    What is given and free on resume takes the place of what the run was started with, so that checkpoints are found where they are.

    Raises:
        SettingsError: a given value differs from the resumed run's.
    """
    settings = read_settings(given=given)
    run_id = settings.train.resume
    if run_id is None:
        return settings
    client = open_store()
    if STUDY_TAG in find_run(client, run_id).data.tags:
        raise SettingsError(f"run {run_id} is a sweep, which goes on with its study: give the sweep's command again")
    recover(client, Path(settings.paths.checkpoints) / OUTBOX, run_id)
    stored = parse_settings(read_artifact(client, run_id, SETTINGS_FILE).read_text(encoding="utf-8"), f"settings.yaml of run {run_id}")
    now, then = flatten_settings(settings, (*RUN_SECTIONS, *LAUNCH_SECTIONS)), flatten_settings(stored)
    for name in given:
        if name in then and name not in FREE_ON_RESUME and now[name] != then[name]:
            plain = name.removeprefix("train.")
            raise SettingsError(f"{plain}={given[name]}, but run {run_id} was started with {then[name]}: leave it out, or start anew")
    content = stored.model_dump() | settings.model_dump(include=set(LAUNCH_SECTIONS))
    for name in FREE_ON_RESUME:
        if name in given:
            section, key = name.split(".")
            content[section][key] = now[name]
    content["train"]["resume"] = run_id  # params.yaml may name it, too
    return Settings.model_validate(content)


def prepare(settings: Settings) -> Experiment:
    """Check everything that can be wrong with a command before it costs time: corpora, frames, plan, checkpoint."""
    train = settings.train
    corpora = corpora_of(settings.data.corpora, train.experiment_type, train.train_datasets, train.test_dataset, train.test_split_source)
    locate(train.model)
    if settings.frames.split == "stratified" and train.fold != 0:
        raise SettingsError(f"fold={train.fold}: frames.split=stratified holds out one part, expected fold=0")
    params = {section: getattr(settings, section).model_dump(mode="json") for section in DATA_SECTIONS}
    versions = read_versions(corpora, params)
    trainings = plan_trainings(
        {corpus: read_frame(version.frame) for corpus, version in versions.items()},
        experiment_type=train.experiment_type,
        train_datasets=train.train_datasets,
        test_dataset=train.test_dataset,
        test_split_source=train.test_split_source,
        fold=train.fold,
        validation_share=train.validation_share,
        seed=train.seed,
    )
    synthetic = [corpus for corpus in corpora if is_synthetic(Path(settings.data.raw), corpus)]
    experiment = Experiment(settings, trainings, versions, bool(synthetic))
    if train.cache == "require" and (objection := experiment.cache_objection()):
        raise SettingsError(f"cache=require, but {objection}")
    if train.resume:
        refuse_changed(experiment, train.resume)
    return experiment


def refuse_changed(experiment: Experiment, run_id: str) -> None:
    """Raise CheckpointError where code or data are not those that a run was started with: its rounds would not be comparable."""
    client = open_store()
    then = find_run(client, run_id).data.tags
    frames = {corpus: version.frame_md5 for corpus, version in experiment.versions.items()}
    changed = [f"the frame of {corpus}" for corpus, md5 in frames.items() if then.get(f"dvc.{corpus}") != md5]
    if then.get("code") != code_hash():
        listing = read_artifact(client, run_id, CODE_FILE).read_text(encoding="utf-8")
        changed.append(f"{', '.join(changed_files(listing, code_listing()))} of ser_mlops")
    if changed:
        raise CheckpointError(f"run {run_id} cannot go on, since it was started these have changed: {'; '.join(changed)}. Start anew")


def conduct(experiment: Experiment, tags: Mapping[str, str] | None = None) -> str:
    """Run every training and round that is not finished yet, record them, and print the table of rounds.

    Under torchrun every process calls this; the first one records, the others train along. Returns the id of the parent run (empty in
    the others); `tags` are set on it besides the experiment's own.
    """
    world = join_world()
    try:
        with raising_interrupted():
            return _lead(experiment, world, tags or {}) if world.is_first else _follow(experiment, world)
    finally:
        leave_world()


def _lead(experiment: Experiment, world: World, tags: Mapping[str, str]) -> str:
    settings = experiment.settings
    checkpoints = Path(settings.paths.checkpoints)
    with open_notebook(
        name=experiment.name,
        tags={**experiment.tags(), **tags},
        planned=plan_runs(experiment),
        folder=checkpoints / OUTBOX,
        resume=settings.train.resume,
    ) as notebook:
        if not notebook.is_resumed:
            describe_experiment(notebook.parent, settings, experiment.versions)
        table = conduct_rounds(experiment, notebook, checkpoints / notebook.parent.run_id, world)
    print(tell_end(experiment, notebook, table))
    return notebook.parent.run_id


def tell_end(experiment: Experiment, notebook: Notebook, table: str) -> str:
    """Return what is printed at the end of an experiment; its best round is registered, where that is asked for."""
    settings = experiment.settings
    name, chosen = settings.train.register, settings.compare
    registered = register_best(notebook.parent.run_id, name, chosen.seed, chosen.resamples) + "\n\n" if name else ""
    return f"{table}\n\n{registered}open in the MLflow UI: {notebook.link}"


def plan_runs(experiment: Experiment, prefix: str = "") -> list[Planned]:
    """Return the child runs of an experiment, one per training and round; `prefix` tells them from others of the same parent."""
    name, tags = f"{experiment.settings.train.model}{' (synthetic)' * experiment.is_synthetic}", experiment.tags()
    return [
        Planned(
            key=prefix + key_of(training, round),
            name=f"{prefix}round {round}: {training.name} {name}",
            tags=tags
            | {
                "train_datasets": ",".join(training.train_datasets),
                "test_dataset": training.test_dataset,
                "fold": str(training.fold),
                "round": str(round),
                "split": f"{experiment.settings.frames.split} ({training.speakers})",
            },
        )
        for training, round in pairs_of(experiment)
    ]


def conduct_rounds(experiment: Experiment, notebook: Notebook, folder: Path, world: World, prefix: str = "") -> str:
    """Run and record every training and round that is not finished, then their summary; return the table of rounds."""
    pairs = pairs_of(experiment)
    runs = [notebook.children[prefix + key_of(*pair)] for pair in pairs]
    unfinished = [number for number, run in enumerate(runs) if run.status != "FINISHED"]
    world.tell((str(folder), unfinished))
    features = open_frozen(experiment, experiment.trainings if unfinished else (), world)
    results = []
    for number, (training, round) in enumerate(tqdm(pairs, desc=experiment.name, unit="round", disable=None)):
        if number in unfinished:
            with notebook.child(prefix + key_of(training, round)) as run:
                result = conduct_round(experiment, training, round, folder, features, run, world)
            remove(checkpoints_of(folder, training, round))
        else:
            result = read_result(notebook.client, runs[number].run_id, training, round)
        results.append(result)
    links = links_to_rounds(notebook.experiment_id, [run.run_id for run in runs])
    return record_summary(notebook.parent, experiment.name, results, experiment.settings.train.seed, experiment.note, links)


def conduct_round(
    experiment: Experiment, training: Training, round: int, folder: Path, features: Features | None, run: RunLog, world: World
) -> Result:
    """Train, test and record one round."""
    begin_training(run, training, experiment.settings, experiment.versions)
    result = train_round(experiment, training, round, folder, features, run, world)
    record_result(run, result, experiment.note)
    record_model(run, result, experiment.settings, experiment.versions, experiment.note)
    return replace(result, fitted=None)  # or the models of all rounds would stay on the device


def _follow(experiment: Experiment, world: World) -> str:
    folder, unfinished = world.hear()
    pairs = pairs_of(experiment)
    features = open_frozen(experiment, experiment.trainings if unfinished else (), world)
    for number in unfinished:
        training, round = pairs[number]
        train_round(experiment, training, round, Path(folder), features, None, world)
    return ""


def pairs_of(experiment: Experiment) -> list[tuple[Training, int]]:
    """Return every training with every round of it, in order."""
    return [(training, round) for training in experiment.trainings for round in range(experiment.settings.train.rounds)]


def key_of(training: Training, round: int) -> str:
    """Return what tells a training and round apart from the others of the experiment: CREMA fold 0 round 1."""
    return f"{training.name} round {round}"


def checkpoints_of(folder: Path, training: Training, round: int) -> Path:
    """Return the folder for the states of one round."""
    return folder / key_of(training, round).replace(" ", "_").replace(",", "")


def open_frozen(experiment: Experiment, trainings: Sequence[Training], world: World) -> Features | None:
    """Open the outputs of the frozen part for the trainings that are to be run, if any, or say why waveforms are read instead."""
    train = experiment.settings.train
    if not trainings or train.freeze == "none":
        return None
    if objection := experiment.cache_objection():
        print(f"no cache of the frozen part: {objection}")
        return None
    classifier = load_classifier(train.model, seed=train.seed, attention_mask=train.attention_mask, share_encoder=train.freeze == "encoder")
    classifier.freeze(train.freeze)
    features = open_features(
        classifier,
        train.freeze,
        {corpus: version.audio for corpus, version in experiment.versions.items()},
        Path(experiment.settings.paths.cache),
        train.cache_precision,
        train.cache,
        world.device,
    )
    if world.count(features is None) not in (0, world.size):
        raise TrainingError("some processes have the cache of the frozen part and others have not: share paths.cache, or set cache=off")
    return features


def train_round(
    experiment: Experiment, training: Training, round: int, folder: Path, features: Features | None, run: RunLog | None, world: World
) -> Result:
    """Train and test one round; the first process passes the run to record into."""
    started = time.perf_counter()
    fitted = fit(experiment, training, round, checkpoints_of(folder, training, round), features, EpochLog(run))
    logits = {
        name: predict_logits(
            fitted.classifier,
            Clips.from_frame(frame, AUDIO),
            experiment.recipe.evaluation,
            features,
            world,
            experiment.settings.train.workers,
        )
        for name, frame in training.tests.items()
    }
    return Result(
        training=training,
        round=round,
        best_epoch=fitted.best_epoch,
        history=pd.DataFrame([{"epoch": epoch, **metrics} for epoch, metrics in enumerate(fitted.history, start=1)]),
        tables={name: prediction_table(frame, logits[name]) for name, frame in training.tests.items()},
        fitted=fitted,
        seconds=time.perf_counter() - started,
    )


def fit(experiment: Experiment, training: Training, round: int, folder: Path, features: Features | None, recorder: Recorder) -> Fitted:
    """Train one round, or go on with it where `folder` holds its state."""
    train = experiment.settings.train
    whole = Round(
        model=train.model,
        recipe=experiment.recipe,
        train=Clips.from_frame(training.train, AUDIO),
        validation=Clips.from_frame(training.validation, AUDIO),
        seed=train.seed,
        number=round,
        features=features,
        identity=experiment.identity(),
    )
    return fit_round(whole, folder, recorder, workers=train.workers, checkpoint_every=train.checkpoint_every)
