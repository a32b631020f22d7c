"""Outputs of the frozen part of a model, as caches keep them: one file per corpus, weights, mode and precision.

`encoder`: the mean over valid steps of the encoder's output (of every layer, where the checkpoint weights its layers), one
row of L x H per clip; projector and mean are both linear, so the head needs no more. `feature_encoder`: the CNN's output, T rows of C
per clip. `encoder:K`: the output of the K-th layer, T rows of H per clip (behind K means where layers are weighted). Batches follow one
fixed plan, each in one thread: the same clip alone and in a batch differs by 5e-7 in float32.
"""

import copy
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from ser_mlops.data.audio.format import SAMPLE_RATE
from ser_mlops.errors import SettingsError, one_of
from ser_mlops.models.classifier import EmotionClassifier
from ser_mlops.models.depth import depth_of
from ser_mlops.models.memory import advising
from ser_mlops.models.threads import one_thread
from ser_mlops.training.caches import Features, Plan
from ser_mlops.training.filling import open_caches

STAGES = {"encoder": "pooled", "feature_encoder": "cnn", "encoder:K": "lower"}
"""Mode -> the stage of EmotionClassifier that takes its values."""
BATCH_SAMPLES = {"cpu": 16 * SAMPLE_RATE, "cuda": 120 * SAMPLE_RATE}
"""Padded samples of a batch: cores are busy with 16 s, a GPU with 120 s (3 GB in the CNN)."""
SMALLER = "cache_precision=bfloat16"
MEMORY_ADVICE = "max_seconds with evaluate_long=windows, which crops long clips and goes without cache"


@dataclass(frozen=True)
class FrozenPart:
    """The source of the outputs of a model's frozen part."""

    classifier: EmotionClassifier
    mode: str
    """A mode that freezes."""
    precision: str
    device: torch.device
    memory_advice: str = MEMORY_ADVICE
    """What to set where memory runs out."""
    may_round: bool = True
    """Whether bfloat16 would do in place of float32."""

    @property
    def is_per_step(self) -> bool:
        return self.mode != "encoder"

    @property
    def row_shape(self) -> tuple[int, ...]:
        return self.classifier.cached_shape(self.mode)

    @property
    def obstacle(self) -> str:
        if not self.classifier.attention_mask:
            return "without attention mask the outputs depend on the padding (attention_mask=false)"
        return ""

    @property
    def space_advice(self) -> str:
        return SMALLER if self.may_round and self.precision == "float32" else ""

    def identity(self) -> Mapping[str, Any]:
        """Return what the outputs depend on: the weights, how a wave is prepared, and the kind of device."""
        return {
            "weights": self.classifier.digest(self.mode),
            "normalised": self.classifier.family.input_identity(self.classifier.extractor),
            "device": self.device.type,
        }

    def count_rows(self, num_samples_N: np.ndarray) -> np.ndarray:
        """Return one row per clip, or one per step."""
        steps_N = self.classifier.num_steps(torch.from_numpy(num_samples_N.copy())).numpy()
        if not self.is_per_step:
            return np.ones_like(steps_N)
        depth = depth_of(self.mode)
        return steps_N if depth is None else steps_N + self.classifier.num_means(depth)

    def compute(self, wave_S: np.ndarray, plan: Plan) -> Iterator[bytes]:
        """Yield the outputs of every clip; memory holds one batch."""
        corpus = plan.audio.stem
        advice = " or ".join(filter(None, (self.space_advice, self.memory_advice)))
        with (
            advising(f"computing the outputs of the frozen part for {corpus}", f"set {advice}"),
            _evaluating(self.classifier, self.precision, self.device) as runner,
        ):

            def outputs(batch: np.ndarray) -> list[bytes]:
                places = zip(plan.starts_N[batch], plan.num_samples_N[batch], strict=True)
                waves = [runner.prepare(wave_S[start : start + number]) for start, number in places]
                return _outputs(runner, self.mode, waves, self.device)

            filled_up = round(SAMPLE_RATE * (runner.family.max_seconds(runner.config) or 0))  # Whisper computes 30 s of every clip
            batches = plan.batches(BATCH_SAMPLES.get(self.device.type, BATCH_SAMPLES["cpu"]), filled_up)
            for rows in map(outputs, batches) if self.device.type == "cuda" else _side_by_side(outputs, batches):
                yield from rows


def stage_of(mode: str) -> str:
    """Return the stage of EmotionClassifier that takes the outputs of a mode's frozen part."""
    return STAGES["encoder:K" if depth_of(mode) is not None else mode]


def open_features(
    classifier: EmotionClassifier,
    mode: str,
    corpora: Mapping[str, Path],
    folder: Path,
    precision: str,
    policy: str | None,
    device: torch.device | str,
    memory_advice: str = MEMORY_ADVICE,
) -> Features | None:
    """Open the cached outputs of a classifier's frozen part; see `open_caches`. Without a `policy` they must be of this precision."""
    if mode not in STAGES and depth_of(mode) is None:
        raise SettingsError(one_of("cached part", mode, STAGES))
    return open_caches(
        FrozenPart(classifier, mode, precision, torch.device(device), memory_advice, policy is not None), corpora, folder, policy
    )


def _side_by_side(compute: Callable[[np.ndarray], list[bytes]], batches: Iterable[np.ndarray]) -> Iterator[list[bytes]]:
    """Compute batches in order, as many at a time as there are threads and each in one: their bytes do not depend on the number of threads.

    Sums are cut up by threads: a batch in two threads and in one differs in its last bits.
    """
    num_threads = torch.get_num_threads()
    with one_thread(), ThreadPoolExecutor(num_threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        waiting: deque[Future[list[bytes]]] = deque()
        try:
            for batch in batches:
                waiting.append(pool.submit(compute, batch))
                if len(waiting) > num_threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


@contextmanager
def _evaluating(classifier: EmotionClassifier, precision: str, device: torch.device) -> Iterator[EmotionClassifier]:
    """Yield the classifier in eval mode, or for bfloat16 a copy of that type: autocast would convert the weights in every batch."""
    if precision == "bfloat16":
        yield copy.deepcopy(classifier).to(device, torch.bfloat16).eval()
    else:
        is_training = classifier.training
        try:
            yield classifier.to(device).eval()
        finally:
            classifier.train(is_training)


@torch.inference_mode()
def _outputs(runner: EmotionClassifier, mode: str, waves: list[np.ndarray], device: torch.device) -> list[bytes]:
    """Return the rows of each clip, as the file holds them."""
    lengths_B = torch.tensor([len(wave) for wave in waves], device=device)
    values_BS = pad_sequence([torch.from_numpy(wave) for wave in waves], batch_first=True).to(device, runner.net.dtype)
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        hidden_BTC, steps_B = runner.cnn(values_BS, lengths_B)
        if mode == "encoder":
            rows = list(runner.pooled(hidden_BTC, steps_B))
        else:
            depth = depth_of(mode)
            values, counts_B = (hidden_BTC, steps_B) if depth is None else runner.lower(hidden_BTC, steps_B, depth)
            rows = [clip[:count] for clip, count in zip(values, counts_B.tolist(), strict=True)]
    if runner.net.dtype == torch.bfloat16:
        return [clip.to(torch.bfloat16).cpu().contiguous().view(torch.uint16).numpy().tobytes() for clip in rows]
    return [clip.cpu().numpy().tobytes() for clip in rows]
