"""How a round of a neural network is trained and tested: the outputs of what is frozen, the fit, the logits of test clips."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ser_mlops.data.folders import AUDIO
from ser_mlops.data.targets import targets_of
from ser_mlops.errors import TrainingError
from ser_mlops.experiments.experiment import Experiment
from ser_mlops.experiments.plan import Training
from ser_mlops.experiments.round_task import RoundTask
from ser_mlops.models.build import load_classifier
from ser_mlops.models.classifier import EmotionClassifier
from ser_mlops.training.batching import Clips
from ser_mlops.training.caches import Features
from ser_mlops.training.distributed import World
from ser_mlops.training.evaluate import predict_logits
from ser_mlops.training.feature_norm import by_speaker
from ser_mlops.training.features import MEMORY_ADVICE, open_features
from ser_mlops.training.fit import fit_round
from ser_mlops.training.recorder import Recorder
from ser_mlops.training.round import Fitted, Round

if TYPE_CHECKING:
    from ser_mlops.settings.training import TrainSettings


def open_inputs(experiment: Experiment, trainings: Sequence[Training], world: World) -> Features | None:
    """Open the outputs of the frozen part for the trainings that are to be run, if any, or say why waveforms are read instead."""
    train = experiment.settings.train
    if not trainings or train.freeze == "none":
        return None
    if objection := experiment.cache_objection():
        print(f"no cache of the frozen part: {objection}")
        return None
    classifier = load_classifier(
        train.model,
        seed=train.seed,
        emotions=train.space.classes,
        layers=train.layers,
        attention_mask=train.attention_mask,
        share_encoder=train.freeze == "encoder",
    )
    classifier.freeze(train.freeze)
    is_needed = train.feature_norm != "none"
    features = open_features(
        classifier,
        train.freeze,
        {corpus: version.audio for corpus, version in experiment.versions.items()},
        Path(experiment.settings.paths.cache),
        train.cache_precision,
        None if is_needed else train.cache,
        world.device,
        "feature_norm=none" if is_needed else MEMORY_ADVICE,
    )
    if world.count(features is None) not in (0, world.size):
        raise TrainingError("only some processes have the cache of the frozen part: put paths.cache on shared storage, or set cache=off")
    return features


def fit(task: RoundTask, recorder: Recorder) -> Fitted[EmotionClassifier]:
    """Train one round, or resume it where its folder holds a state."""
    train = task.experiment.settings.train
    round = Round(
        model=train.model,
        recipe=task.experiment.recipe,
        train=_clips(task.training.train, train),
        validation=_clips(task.training.validation, train),
        seed=train.seed,
        number=task.number,
        features=task.features,
        identity=task.experiment.identity(),
        training=task.training.name,
    )
    return fit_round(round, task.folder, recorder, workers=train.workers, checkpoint_every=train.checkpoint_every)


def _clips(side: pd.DataFrame, train: "TrainSettings") -> Clips:
    return Clips.from_frame(side, AUDIO, targets_of(side, train.targets, train.votes_prior))


def predict(task: RoundTask, fitted: Fitted[EmotionClassifier], clips: Clips) -> np.ndarray:
    """Return the logits of clips."""
    experiment, features = task.experiment, task.features
    of_clips = by_speaker(features, clips) if features and experiment.recipe.feature_norm == "speaker" else features
    return predict_logits(fitted.classifier, clips, experiment.recipe.evaluation, of_clips, task.world, experiment.settings.train.workers)
