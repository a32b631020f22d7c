"""How a round of the baseline is trained and tested: the vectors of clips, the fit, the logits of test clips."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ser_mlops.data.folders import AUDIO
from ser_mlops.errors import SettingsError
from ser_mlops.experiments.experiment import Experiment
from ser_mlops.experiments.plan import Training
from ser_mlops.experiments.round_task import RoundTask
from ser_mlops.models.baseline import Baseline
from ser_mlops.training.baseline import BaselineRecipe, fit_baseline_round, predict_baseline
from ser_mlops.training.batching import Clips
from ser_mlops.training.caches import Features
from ser_mlops.training.distributed import World
from ser_mlops.training.recorder import Recorder
from ser_mlops.training.round import Fitted
from ser_mlops.training.vectors import open_vectors


def open_inputs(experiment: Experiment, trainings: Sequence[Training], world: World) -> Features | None:
    """Open the vectors of all clips, if there are trainings to be run."""
    if world.size > 1:
        raise SettingsError("model=baseline trains in one process: start it without torchrun, with gpus=1 or 0 and nodes=1")
    if not trainings:
        return None
    settings = experiment.settings
    corpora = {corpus: version.audio for corpus, version in experiment.versions.items()}
    return open_vectors(settings.baseline.features, corpora, Path(settings.paths.cache))


def fit(task: RoundTask, recorder: Recorder) -> Fitted[Baseline]:
    """Train one round, from its start: a fit takes seconds."""
    recipe = BaselineRecipe(**task.experiment.settings.baseline.model_dump())
    train, validation = (Clips.from_frame(side, AUDIO) for side in (task.training.train, task.training.validation))
    return fit_baseline_round(recipe, train, validation, _vectors(task), recorder)


def predict(task: RoundTask, fitted: Fitted[Baseline], clips: Clips) -> np.ndarray:
    """Return the logits of clips."""
    return predict_baseline(fitted.classifier, clips, _vectors(task))


def _vectors(task: RoundTask) -> Features:
    """Return the vectors of the task; where a sweep searches their kind, those that it has not opened for all of its trials."""
    if task.features is not None and task.features.mode == task.experiment.settings.baseline.features:
        return task.features
    opened = open_inputs(task.experiment, [task.training], task.world)
    assert opened is not None
    return opened
