"""Logits of every clip of a set, once, whatever the batches and however many processes share the work.

Shape letters: N clips, W windows, E emotions.
"""

from contextlib import AbstractContextManager, closing, nullcontext

import numpy as np
import torch

from ser_mlops.data.audio.format import SAMPLE_RATE
from ser_mlops.errors import Interrupted, TrainingError
from ser_mlops.models.classifier import EmotionClassifier
from ser_mlops.models.memory import advising
from ser_mlops.models.threads import threads_for
from ser_mlops.training.batching import Clips, cut_windows, plan_evaluation
from ser_mlops.training.distributed import World
from ser_mlops.training.feature_norm import AnyFeatures
from ser_mlops.training.inputs import Inputs
from ser_mlops.training.recipe import EvaluationRecipe
from ser_mlops.training.stopping import Stop


def predict_logits(
    classifier: EmotionClassifier, clips: Clips, recipe: EvaluationRecipe, features: AnyFeatures, world: World, workers: int = 0
) -> np.ndarray:
    """Return logits_NE, float32, in the order of the clips; see `Evaluation`."""
    return Evaluation(classifier, clips, recipe, features, world, workers).logits(classifier)


def refuse_unheard(classifier: EmotionClassifier, clips: Clips, max_samples: int | None = None, advice: str | None = None) -> None:
    """Refuse clips of which a model would hear the beginning alone (Whisper: 30 s), unless they are cropped to fewer samples.

    Raises:
        TrainingError: there are such clips; the message names the longest, and gives advice (None: what a training can set).
    """
    heard_s = classifier.family.max_seconds(classifier.config)
    if heard_s is None or (max_samples is not None and max_samples <= heard_s * SAMPLE_RATE):
        return
    unheard = clips.num_samples > heard_s * SAMPLE_RATE
    if unheard.any():
        longest = int(clips.num_samples.argmax())
        raise TrainingError(
            f"{clips.paths[longest]!r} has {clips.num_samples[longest] / SAMPLE_RATE:.1f} s, of which {classifier.config.model_type} hears "
            f"{heard_s:g} ({unheard.sum()} such): {advice or f'set max_seconds={heard_s:g} and evaluate_long=windows'}"
        )


class Evaluation:
    """One set of clips made ready to be predicted again and again, in batches sorted by length.

    A classifier without attention mask gets one clip at a time, as padding would move its predictions. With `evaluate_long="windows"`, a
    clip longer than `max_samples` is cut into the fewest equal windows that are not longer; each is normalised like a clip of its
    own, and the clip's logits are the plain mean of theirs.
    """

    def __init__(
        self,
        classifier: EmotionClassifier,
        clips: Clips,
        recipe: EvaluationRecipe,
        features: AnyFeatures,
        world: World,
        workers: int = 0,
    ):
        self.clips = clips
        self.owners_W = np.arange(len(clips))
        pieces = clips
        if recipe.evaluate_long == "windows" and recipe.max_samples is not None:
            pieces, self.owners_W = cut_windows(clips, recipe.max_samples)
            assert features is None or len(pieces) == len(clips), "outputs of a frozen part are those of whole clips"
        refuse_unheard(classifier, pieces)
        classifier.to(world.device)
        self.inputs = Inputs(classifier, pieces, features, workers, world.device)
        plan = plan_evaluation(pieces.num_samples, recipe.batch_size if classifier.attention_mask else 1)
        if self.inputs.pooled_NLH is not None:  # nothing is padded or read
            plan = [np.arange(len(pieces))]
        self.plan = plan[world.rank :: world.size]
        self.precision = resolve_precision(recipe.precision, world.device)
        self.world = world

    @torch.no_grad()
    def logits(self, classifier: EmotionClassifier, stop: Stop | None = None) -> np.ndarray:
        """Return logits_NE, float32. The classifier is left in evaluation mode.

        Raises:
            Interrupted: `stop` was set meanwhile (not where several processes wait for each other's share).
            TrainingError: a logit is not finite, or memory ran out.
        """
        classifier.eval()
        logits_WE = torch.zeros(len(self.owners_W), len(classifier.emotions), device=self.world.device)
        advice = "lower eval_batch_size, or set evaluate_long=windows with max_seconds, or precision=bfloat16"
        with (
            advising("in an evaluation", advice),
            threads_for(sum(classifier.num_parameters())),
            closing(self.inputs.batches(self.plan)) as batches,
            autocast(self.world.device, self.precision),
        ):
            for batch in batches:
                if stop and self.world.size == 1:
                    raise Interrupted(f"{stop.signal_name} during an evaluation")
                logits_WE[batch.indices_B] = classifier(batch.values, batch.lengths_B, self.inputs.stage).float()
        return self._average(self.world.sum(logits_WE).cpu().numpy())

    def _average(self, logits_WE: np.ndarray) -> np.ndarray:
        sums_NE = np.zeros((len(self.clips), logits_WE.shape[1]))
        np.add.at(sums_NE, self.owners_W, logits_WE)
        logits_NE = (sums_NE / np.bincount(self.owners_W)[:, None]).astype(np.float32)
        is_finite_N = np.isfinite(logits_NE).all(axis=1)
        if not is_finite_N.all():
            raise TrainingError(
                f"the logits of {self.clips.paths[is_finite_N.argmin()]} are not finite "
                f"({(~is_finite_N).sum()} of {len(self.clips)} clips): lower lr, or set clip_norm"
            )
        return logits_NE


def resolve_precision(precision: str, device: torch.device) -> str:
    """Return float32 or bfloat16; auto is bfloat16 on GPUs that compute it themselves, float32 elsewhere."""
    if precision != "auto":
        return precision
    return "bfloat16" if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False) else "float32"


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """Compute in bfloat16 where that is safe, or leave float32 alone."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if precision == "bfloat16" else nullcontext()
