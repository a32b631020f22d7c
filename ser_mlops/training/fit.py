"""Trains one round: from a model with a new head to the weights of its best epoch, in steps that a kill can interrupt anywhere.

Shape letters: B batch, E emotions.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import AdamW

from ser_mlops.data.progress import progress
from ser_mlops.errors import Interrupted, TrainingError
from ser_mlops.models.adapters import add_lora, merge_lora
from ser_mlops.models.build import load_classifier
from ser_mlops.models.classifier import EmotionClassifier
from ser_mlops.models.memory import advising
from ser_mlops.models.threads import one_thread, threads_for
from ser_mlops.scores.metrics import score
from ser_mlops.seeds import derive
from ser_mlops.training import checkpoints
from ser_mlops.training.augment import Alteration
from ser_mlops.training.batching import Batch, plan_batches
from ser_mlops.training.distributed import World, join_world
from ser_mlops.training.evaluate import Evaluation, autocast, refuse_unheard, resolve_precision
from ser_mlops.training.feature_norm import fold_into, standardise
from ser_mlops.training.groups import parameter_groups
from ser_mlops.training.inputs import Inputs
from ser_mlops.training.losses import Loss, mean_cross_entropy
from ser_mlops.training.recorder import LAYER_WEIGHT, Recorder
from ser_mlops.training.round import Fitted, Round
from ser_mlops.training.sampling import draw_epoch
from ser_mlops.training.state import State, best_epoch, seed_step
from ser_mlops.training.stopping import Stop, watching_signals

if TYPE_CHECKING:
    from tqdm import tqdm

STEPS_BETWEEN_LOOKS = 16
"""Losses stay on the device for so many steps: to look at each one would make a GPU wait for it."""


def fit_round(round: Round, folder: Path, recorder: Recorder, *, workers: int = 0, checkpoint_every: int = 0) -> Fitted[EmotionClassifier]:
    """Train one round, or resume it where `folder` holds its state.

    On a CPU the same call gives the same numbers bit for bit (same machine, number of threads and versions), interrupted or not. Metrics of
    an epoch: train/loss (mean over clips, as weighted and smoothed for training), val/… (all of `metrics.score`), lr (of its last step; the
    head's own, too), layer_weight/00, … where the head weighs layers (00: what goes into the first one), seconds (the one number that
    differs from run to run).

    Args:
        folder: the checkpoints of this round and of no other.
        workers: processes that read waveforms; 0: this one.
        checkpoint_every: optimiser steps between saved states, besides epoch ends; 0: epoch ends only.

    Raises:
        CheckpointError: the state in `folder` is of something else.
        TrainingError: a loss is not finite, memory or disk ran out, or clips are longer than the model hears.
        Interrupted: SIGTERM or SIGINT came; the state is saved.
    """
    recipe, features = round.recipe, round.features
    assert features is None or (features.mode == recipe.freeze and not recipe.reads_waves(round.train, round.validation))
    assert recipe.feature_norm == "none" or (features is not None and recipe.freeze == "encoder")
    world = join_world()
    classifier = load_classifier(
        round.model,
        seed=derive(round.seed, "head", round.number),
        emotions=round.train.emotions,
        layers=recipe.layers,
        attention_mask=recipe.attention_mask,
        share_encoder=recipe.freeze == "encoder" or recipe.adapter == "lora",
    )
    refuse_unheard(classifier, round.train, recipe.max_samples)
    classifier.freeze(recipe.freeze)
    if recipe.lora is not None:
        add_lora(classifier, recipe.lora, derive(round.seed, "adapters", round.number))
    if recipe.gradient_checkpointing:
        classifier.net.gradient_checkpointing_enable({"use_reentrant": False})
    advice = (
        "lower batch_size and raise accumulate by as much, set max_seconds, precision=bfloat16 or gradient_checkpointing=true, or "
        "freeze more"
    )
    with watching_signals() as stop, advising(f"in round {round.number} with {recipe.batch_size} clips per batch", advice):
        trainer = _Trainer(classifier, round, world, folder, recorder, workers, checkpoint_every)
        with one_thread() if trainer.inputs.stage == "pooled" else threads_for(sum(classifier.num_parameters())):
            trainer.run(stop)
    history = trainer.state.history
    best = best_epoch(history, recipe.select_by)
    num_trainable, num_frozen = classifier.num_parameters()
    if recipe.feature_norm == "corpus":
        fold_into(classifier, trainer.inputs.features)
    if recipe.lora is not None:
        merge_lora(classifier)
    scores = {name.removeprefix("val/"): value for name, value in history[best - 1].items() if name.startswith("val/")}
    return Fitted(classifier.eval(), best, scores, history, num_trainable, num_frozen)


class _Trainer:
    """The loop over epochs and steps, and all that it changes."""

    def __init__(
        self,
        classifier: EmotionClassifier,
        round: Round,
        world: World,
        folder: Path,
        recorder: Recorder,
        workers: int,
        checkpoint_every: int,
    ):
        recipe, train = round.recipe, round.train
        self.classifier = classifier.to(world.device)
        self.round = round
        self.recipe = recipe
        self.train = train
        self.world = world
        self.folder = folder
        self.recorder = recorder
        self.checkpoint_every = checkpoint_every
        self.identity = round.identify(world)
        self.precision = resolve_precision(recipe.precision, world.device)
        training, validation = standardise(round.features, recipe.feature_norm, train, round.validation)
        self.inputs = Inputs(classifier, train, training, workers, world.device)
        self.evaluation = Evaluation(classifier, round.validation, recipe.evaluation, validation, world, workers)
        self.parameters = {name: parameter for name, parameter in classifier.named_parameters() if parameter.requires_grad}
        self.optimizer = AdamW(parameter_groups(classifier, self.parameters, recipe), lr=recipe.lr, fused=True)
        self.loss = Loss.of(recipe, train, world.device)
        self.steps_per_epoch = -(-len(train) // (recipe.batch_size * recipe.accumulate))
        self.drawn = np.arange(len(train))
        self.unseen_losses: list[tuple[int, np.ndarray, Tensor]] = []
        self.state = State()

    def run(self, stop: Stop) -> None:
        """Train until the last epoch, or the one that early stopping makes the last; leave the best weights in the classifier."""
        self._resume()
        num_steps = self.recipe.epochs * self.steps_per_epoch
        with progress(num_steps, self.round.title, "step", initial=self.state.step, disable=not self.world.is_first) as bar:
            while not self.state.is_finished:
                self.started = time.perf_counter()
                try:
                    self._train_epoch(stop, bar)
                    if self.world.size > 1:  # whose evaluation is not interrupted: a warning that comes meanwhile may be the last
                        self._save_last()
                    scores = self._evaluate(stop)
                except Interrupted as error:
                    self._save_last()
                    self.world.wait()  # torchrun ends the others as soon as one has ended
                    place = f"step {self.state.step} (epoch {self.state.epoch}) of round {self.round.number}"
                    raise Interrupted(f"{error}: state saved after {place}") from None
                self._end_epoch(scores)
                bar.set_postfix(self._latest(), refresh=False)
        self.world.wait()  # until the first process has saved what the others read
        checkpoints.restore_best(self.folder, best_epoch(self.state.history, self.recipe.select_by), self.parameters)
        if self.world.count(bool(stop)):
            raise Interrupted(f"{stop.signal_name or 'a signal'}: round {self.round.number} is finished and saved")

    def _resume(self) -> None:
        saved = checkpoints.load_state(self.folder, self.identity)
        if saved is None:
            return
        self.state = saved
        if not saved.is_finished:
            checkpoints.restore_last(self.folder, self.parameters, self.optimizer)
        if self.world.is_first:
            for epoch, metrics in enumerate(saved.history, start=1):
                self.recorder.epoch(epoch, metrics)

    def _train_epoch(self, stop: Stop, bar: "tqdm[Any]") -> None:
        """Take the steps of the epoch under way that are still to be taken."""
        recipe, state, seed, number = self.recipe, self.state, self.round.seed, self.round.number
        self.drawn = draw_epoch(self.train, recipe.sample, seed=seed, round=number, epoch=state.epoch)
        plan = plan_batches(self.train.num_samples[self.drawn], recipe.batch_size, seed=seed, round=number, epoch=state.epoch)
        plan = [self.drawn[batch] for batch in plan]
        steps = [plan[first : first + recipe.accumulate] for first in range(0, len(plan), recipe.accumulate)]
        steps = steps[state.step - len(state.history) * self.steps_per_epoch :]
        shares = [share for step in steps for batch in step if len(share := self.world.share(batch))]
        alteration = None
        if recipe.augment or recipe.max_samples is not None:
            alteration = Alteration(recipe.augment, recipe.max_samples, seed, number, state.epoch)
        self.classifier.train()
        with closing(self.inputs.batches(shares, alteration)) as loaded:
            for step in steps:
                is_asked_to_stop = self._step(step, loaded, bool(stop))
                bar.update()
                if is_asked_to_stop:
                    raise Interrupted(stop.signal_name or "a signal to another process")
                if self.checkpoint_every and state.step % self.checkpoint_every == 0:
                    self._save_last()
        self._look_at_losses()

    def _step(self, batches: Sequence[np.ndarray], loaded: Iterator[Batch], is_asked_to_stop: bool) -> bool:
        """Take one optimiser step over one or more batches; return whether any process was asked to stop.

        The loss is the mean over all their clips, so neither batches nor processes need equal shares.
        """
        recipe, state = self.recipe, self.state
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.learning_rate(state.step, recipe.epochs * self.steps_per_epoch, group["peak"])
        if self.inputs.stage != "pooled":  # the head draws nothing
            seed_step(self.round.seed, self.round.number, state.step, self.world.rank, self.world.device)
        total_weight = float(self.loss.clip_weights[np.concatenate(batches)].sum())
        for batch in batches:
            has_share = len(self.world.share(batch)) > 0
            loss = self._backward(next(loaded), total_weight) if has_share else self.loss.weights_E.new_zeros(())
            self.unseen_losses.append((state.step + 1, batch, loss))
        is_asked_to_stop = self.world.sum_gradients(list(self.parameters.values()), is_asked_to_stop)
        if recipe.clip_norm is not None:
            clip_grad_norm_(self.parameters.values(), recipe.clip_norm)
        self.optimizer.step()
        for parameter in self.parameters.values():  # as zero_grad does, at a tenth of its time for the few of a head
            parameter.grad = None
        state.step += 1
        if state.step % STEPS_BETWEEN_LOOKS == 0:
            self._look_at_losses()
        return is_asked_to_stop

    def _backward(self, batch: Batch, total_weight: float) -> Tensor:
        """Add the gradient of a batch's part of the loss; return the sum of its clips' losses."""
        with autocast(self.world.device, self.precision):
            logits_BE = self.classifier(batch.values, batch.lengths_B, self.inputs.stage)
        loss = self.loss(logits_BE.float(), batch.indices_B)
        (loss / total_weight).backward()
        return loss.detach()

    def _look_at_losses(self) -> None:
        """Add up the losses since the last look; the first that is not finite ends the round, naming its clips."""
        if not self.unseen_losses:
            return
        values = self.world.sum(torch.stack([loss for *_, loss in self.unseen_losses])).tolist()
        for (step, batch, _), value in zip(self.unseen_losses, values, strict=True):
            if not np.isfinite(value):
                raise TrainingError(
                    f"the loss is {value} at step {step} (epoch {self.state.epoch}) of round {self.round.number}, over the clips "
                    f"{', '.join(self.train.paths[batch])}: lower lr, or set warmup or clip_norm"
                )
            self.state.loss_sum += value
        self.unseen_losses.clear()

    def _evaluate(self, stop: Stop) -> dict[str, float]:
        """Return the scores of the validation clips that have a label, and the loss of all of them."""
        clips, trained = self.evaluation.clips, set(self.train.labels.tolist())
        logits_NE = self.evaluation.logits(self.classifier, stop)
        has_label = np.ones(len(clips), dtype=bool) if clips.has_label is None else clips.has_label
        scores = score(logits_NE[has_label], clips.labels[has_label], trained, clips.emotions)
        return scores if clips.targets is None else scores | {"loss": mean_cross_entropy(logits_NE, clips.targets)}

    def _end_epoch(self, scores: Mapping[str, float]) -> None:
        recipe, state, head = self.recipe, self.state, self.recipe.head_lr
        metrics = {
            "train/loss": state.loss_sum / float(self.loss.clip_weights[self.drawn].sum()),
            **{f"val/{name}": value for name, value in scores.items()},
            "lr": recipe.learning_rate(state.step - 1, recipe.epochs * self.steps_per_epoch),
            **({} if head is None else {"head_lr": recipe.learning_rate(state.step - 1, recipe.epochs * self.steps_per_epoch, head)}),
            **{f"{LAYER_WEIGHT}{layer:02d}": weight for layer, weight in enumerate(self.classifier.shares_of_layers())},
            "seconds": state.seconds + time.perf_counter() - self.started,
        }
        self.state = State(step=state.step, history=[*state.history, metrics])
        epoch, best = len(self.state.history), best_epoch(self.state.history, recipe.select_by)
        has_stalled = recipe.early_stopping is not None and epoch - best >= recipe.early_stopping
        self.state.is_finished = epoch == recipe.epochs or has_stalled
        if self.world.is_first:
            if best == epoch:
                checkpoints.save_best(self.folder, epoch, self.parameters)
            if self.state.is_finished:
                checkpoints.save_finished(self.folder, self.state, self.identity)
            else:
                checkpoints.save_last(self.folder, self.state, self.identity, self.parameters, self.optimizer)
            checkpoints.drop_others(self.folder, best)
            self.recorder.epoch(epoch, metrics)

    def _latest(self) -> dict[str, str]:
        """Return what is shown of the last epoch."""
        metrics, score = self.state.history[-1], f"val/{self.recipe.select_by}"
        epoch = f"{len(self.state.history)}/{self.recipe.epochs}"
        return {"epoch": epoch, "loss": f"{metrics['train/loss']:.3f}", score: f"{metrics[score]:.3f}"}

    def _save_last(self) -> None:
        """Save a state within an epoch, once its losses are known to be finite."""
        self._look_at_losses()
        now = time.perf_counter()
        self.state.seconds += now - self.started
        self.started = now
        if self.world.is_first:
            checkpoints.save_last(self.folder, self.state, self.identity, self.parameters, self.optimizer)
