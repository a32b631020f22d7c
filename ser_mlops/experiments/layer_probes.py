"""What linear probes read from every layer of an encoder: the emotion, the speaker, the corpus.

- emotion: each corpus alone, over its own folds, so that no speaker is on two sides; UAR with its 95 % interval over speakers, and the mean
  over corpora. Corpora with official partitions are tested on their official test sets.
- speaker: each corpus alone, over folds that every speaker is in (the speaker is known, the clip is not); mean recall over speakers.
- corpus: all corpora together, over folds that share no speaker; mean recall over corpora.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ser_mlops.data.corpora.base import UNKNOWN
from ser_mlops.data.folders import AUDIO
from ser_mlops.data.frames import TEST_PARTS
from ser_mlops.data.progress import progress
from ser_mlops.data.selection import within
from ser_mlops.emotions import SEVEN, Space
from ser_mlops.models.probes import balanced_accuracy, folds_by_group, folds_within_classes, held_out_answers, side_by_side
from ser_mlops.scores.predictions import prediction_table
from ser_mlops.scores.summary import Summary, summarise_rounds, summarise_tests
from ser_mlops.settings.cores import available_cores
from ser_mlops.training.batching import Clips
from ser_mlops.training.caches import Features
from ser_mlops.training.embeddings import outputs_of

EMOTION, SPEAKER, CORPUS = PROBES = ("emotion", "speaker", "corpus")
MEAN, ALL = "mean", "all"
LEAST_LOGIT = -100.0
"""In place of minus infinity."""
MEMORY_BYTES = 4 * 2**30
"""Of probes that are fitted at the same time."""
COPIES = 4
"""Arrays of the size of a layer that a probe holds."""


@dataclass(frozen=True)
class Task:
    """One thing to read from a layer: the clips, their classes, and the fold that each is held out in (-1: only trained on)."""

    probe: str
    data: str
    frame: pd.DataFrame
    clips: Clips
    classes_N: np.ndarray
    folds_N: np.ndarray

    @property
    def tested_N(self) -> np.ndarray:
        return self.folds_N >= 0

    @property
    def chance(self) -> float:
        return 1 / len(np.unique(self.classes_N[self.tested_N]))


@dataclass(frozen=True)
class Probed:
    """What the probes found."""

    scores: pd.DataFrame
    """One row per layer, probe and data (a corpus; mean: over corpora; all: corpora together): score, ci_low, ci_high, chance, clips,
    classes."""
    notes: tuple[str, ...]
    trained_on: tuple[str, ...] = ()
    """Corpora among them that the encoder itself was trained on."""

    @property
    def leading(self) -> pd.DataFrame:
        """The rows of the emotion that decide which layer is best: the mean over corpora, or the only corpus."""
        emotion = self.scores[self.scores["probe"] == EMOTION]
        return emotion[emotion["data"] == MEAN] if (emotion["data"] == MEAN).any() else emotion

    @property
    def best_layer(self) -> int | None:
        """The layer from which emotion is read best, the lowest of equals; None where no corpus could be probed."""
        leading = self.leading
        return None if leading.empty else int(leading.loc[leading["score"].idxmax(), "layer"])

    def at(self, layer: int) -> pd.DataFrame:
        """Return the scores of a layer."""
        return self.scores[self.scores["layer"] == layer].drop(columns=["layer", "classes"])


def plan_probes(
    frames: Mapping[str, pd.DataFrame], seed: int, *, is_by_speaker: bool, space: Space = SEVEN
) -> tuple[list[Task], list[str]]:
    """Return what can be read from the clips of corpora, and why the rest cannot.

    `is_by_speaker` says that the frames' folds keep speakers apart; otherwise folds are drawn for it. Emotions are those of the space.
    """
    tasks, notes = [], []
    for corpus, frame in frames.items():
        felt = within(frame, space)
        labels_N, folds_N = felt["labels"].to_numpy(), _emotion_folds(felt, seed, is_by_speaker)
        if _can_be_probed(labels_N, folds_N):
            tasks.append(_task(EMOTION, corpus, felt, labels_N, folds_N))
        else:
            notes.append(f"emotion in {corpus} is not probed: it has no two folds that share no speaker")
        known = frame[~frame["speaker"].str.endswith(f"/{UNKNOWN}")]
        speakers_N = known["speaker"].to_numpy(dtype=object)
        folds_N = folds_within_classes(speakers_N, seed)
        if _can_be_probed(speakers_N, folds_N):
            tasks.append(_task(SPEAKER, corpus, known[folds_N >= 0], speakers_N[folds_N >= 0], folds_N[folds_N >= 0]))
        else:
            notes.append(f"speakers in {corpus} are not probed: fewer than two are known by five clips or more")
    if len(frames) > 1:
        every = pd.concat(frames.values(), ignore_index=True)
        corpora_N = every["corpus"].to_numpy(dtype=object)
        folds_N = folds_by_group(corpora_N, every["group"].to_numpy(dtype=object), seed)
        if _can_be_probed(corpora_N, folds_N):
            tasks.append(_task(CORPUS, ALL, every, corpora_N, folds_N))
        else:
            notes.append("the corpus is not probed: one of them has a single speaker")
    return tasks, notes


def _emotion_folds(frame: pd.DataFrame, seed: int, is_by_speaker: bool) -> np.ndarray:
    if (frame["part"] != "").any():
        return np.where(frame["part"].isin(TEST_PARTS), 0, -1)
    if is_by_speaker:
        return frame["fold"].to_numpy()
    return folds_by_group(frame["labels"].to_numpy(), frame["speaker"].to_numpy(dtype=object), seed)


def _can_be_probed(classes_N: np.ndarray, folds_N: np.ndarray) -> bool:
    """Say whether there is something to test, more than one class, and something to train on for each fold."""
    tested = folds_N >= 0
    return bool(tested.any() and len(np.unique(classes_N[tested])) > 1 and len(np.unique(folds_N)) > 1)


def _task(probe: str, data: str, frame: pd.DataFrame, classes_N: np.ndarray, folds_N: np.ndarray) -> Task:
    return Task(probe, data, frame, Clips.from_frame(frame, AUDIO), classes_N, folds_N)


def probe_layers(features: Features, tasks: Sequence[Task], num_layers: int, width: int) -> pd.DataFrame:
    """Probe every layer, of `width` numbers, for every task; return the scores as `Probed` holds them."""
    rows = []
    most = max(len(task.clips) for task in tasks) if tasks else 1
    workers = max(1, min(available_cores(), MEMORY_BYTES // (COPIES * most * width * 8)))

    def probe(job: tuple[int, Task]) -> tuple[int, Task, "dict[str, float] | Summary"]:
        layer, task = job
        answers_NC = held_out_answers(outputs_of(features, task.clips, layer), task.classes_N, task.folds_N)
        return layer, task, _score(task, answers_NC)

    jobs = [(layer, task) for layer in range(num_layers) for task in tasks]
    summaries: dict[int, list[Summary]] = {}
    with progress(len(jobs), "probing layers", "probe") as bar:
        for layer, task, result in side_by_side(probe, jobs, int(workers)):
            bar.update(1)
            if isinstance(result, Summary):
                summaries.setdefault(layer, []).append(result)
            values = _of_summary(result) if isinstance(result, Summary) else result
            counts = {"chance": task.chance, "clips": int(task.tested_N.sum()), "classes": round(1 / task.chance)}
            rows.append({"layer": layer, "probe": task.probe, "data": task.data, **values, **counts})
    emotion = [task for task in tasks if task.probe == EMOTION]
    if len(emotion) > 1:
        clips, chance = sum(int(task.tested_N.sum()) for task in emotion), float(np.mean([task.chance for task in emotion]))
        for layer, some in summaries.items():
            mean = {**_of_summary(summarise_tests(some)), "chance": chance, "clips": clips}
            rows.append({"layer": layer, "probe": EMOTION, "data": MEAN, **mean})
    columns = ["layer", "probe", "data", "score", "ci_low", "ci_high", "chance", "clips", "classes"]
    table = pd.DataFrame(rows, columns=columns)
    table["probe"] = pd.Categorical(table["probe"], categories=list(PROBES))
    return table.sort_values(["probe", "data", "layer"], kind="stable", ignore_index=True).astype({"probe": "str", "classes": "Int64"})


def _score(task: Task, answers_NC: np.ndarray) -> "dict[str, float] | Summary":
    tested = task.tested_N
    if task.probe != EMOTION:
        return {"score": balanced_accuracy(answers_NC[tested], task.classes_N[tested]), "ci_low": np.nan, "ci_high": np.nan}
    emotions = list(task.frame["emotions"].cat.categories)
    logits_NE = np.full((int(tested.sum()), len(emotions)), LEAST_LOGIT)
    logits_NE[:, np.unique(task.classes_N)] = np.maximum(answers_NC[tested], LEAST_LOGIT)
    table = prediction_table(task.frame[tested], logits_NE, emotions)
    return summarise_rounds([table])


def _of_summary(summary: Summary) -> dict[str, float]:
    row = summary.table.loc["uar"]
    return {"score": float(row["mean"]), "ci_low": float(row["ci_low"]), "ci_high": float(row["ci_high"])}
