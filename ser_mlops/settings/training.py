"""The settings of a training: who trains and tests, the recipe, the baseline."""

import warnings
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from ser_mlops.emotions import Space
from ser_mlops.settings.kinds import (
    Augmentations,
    Emotions,
    Freeze,
    LoraTargets,
    Mark,
    Merge,
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
    emotions: Emotions
    """Emotions to train and test on; clips of others are left out of both (folds stay as they are)."""
    merge: Merge
    """Emotions that count as another: fear=surprise,disgust=angry; the class has the other's name."""
    model: Annotated[str, Field(min_length=1)]
    """An alias (HuB-LL, HuB-ER, W2V2-base, WavLM-base+, Whisper-small, …: docs/models.md lists them), a hub id, a folder, or baseline."""
    recipe: OptionalName
    """Name of a recipe in the section `recipes` of params.yaml, whose settings count unless they are given; none: params.yaml as it is."""
    freeze: Annotated[Freeze, Mark.NETWORK]
    """none, feature_encoder (the CNN; `true` means this), encoder (everything below the head) or encoder:K (all up to its K-th layer)."""
    layers: Annotated[Literal["checkpoint", "last", "all"], Mark.SEARCHABLE, Mark.NETWORK]
    """What the head takes of the encoder: the last layer, a learned sum of all, or what the checkpoint's config says."""
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
    adapter: Annotated[Literal["none", "lora"], Mark.SEARCHABLE, Mark.NETWORK]
    """lora: the encoder stays as it is, but for small products of matrices beside its projections, which are trained with the head."""
    lora_rank: Annotated[int, Field(ge=1), Mark.SEARCHABLE, Mark.NETWORK]
    """Rank of the products."""
    lora_alpha: Annotated[float, Field(gt=0), Mark.SEARCHABLE, Mark.NETWORK]
    """The products count lora_alpha / lora_rank."""
    lora_dropout: Annotated[Share, Mark.SEARCHABLE, Mark.NETWORK]
    """Share of a product's inputs that is dropped in training."""
    lora_targets: Annotated[LoraTargets, Mark.NETWORK]
    """Projections that get one: query, key, value, output, feed_forward."""
    head_lr: Annotated[OptionalPositive, Mark.SEARCHABLE, Mark.NETWORK]
    """Learning rate of the head; none: that of the rest, lr."""
    layer_decay: Annotated[float, Field(gt=0, le=1), Mark.SEARCHABLE, Mark.NETWORK]
    """Factor of the learning rate from each layer of the encoder to the one below it, whose top layer has lr; 1: all have lr."""
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
    register_as: Annotated[Literal["best", "ensemble"], Mark.FREE]
    """What is registered: the best round, or the ensemble of the rounds, whose probabilities are the mean of theirs (of several trainings,
    such as folds, the rounds of that with the best)."""
    keep: Annotated[Literal["all", "best", "none"], Mark.FREE]
    """Models of its rounds that stay at its end: all, best (of the round that validation likes best) or none; a registered one stays.
    Of a sweep, those of the rounds with its best settings: its trials leave no models."""
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
    targets: Annotated[Literal["hard", "soft"], Mark.NETWORK]
    """What a clip is trained towards: its label, or the shares of its listeners' votes (soft), so that clips without a label train, too."""
    votes_prior: Annotated[float, Field(ge=0), Mark.SEARCHABLE, Mark.NETWORK]
    """With targets=soft, votes that each emotion gets before those of the listeners, so that a few votes count less."""
    loss: Annotated[Literal["cross_entropy", "focal", "logit_adjusted"], Mark.SEARCHABLE, Mark.NETWORK]
    """Cross-entropy; focal (Lin et al. 2017): what is answered well counts less; logit_adjusted (Menon et al. 2021)."""
    focal_gamma: Annotated[float, Field(ge=0), Mark.SEARCHABLE, Mark.NETWORK]
    """Exponent of the focal loss; 0: the cross-entropy."""
    logit_tau: Annotated[float, Field(ge=0), Mark.SEARCHABLE, Mark.NETWORK]
    """How much of the logarithm of an emotion's share logit_adjusted adds to its logit; 0: the cross-entropy."""
    sample: Annotated[Literal["natural", "balanced", "corpora"], Mark.SEARCHABLE, Mark.NETWORK]
    """Clips of an epoch: each once; as many draws, shared equally among emotions and their speakers (balanced), or among corpora first."""
    class_weights: Annotated[Literal["none", "balanced"] | Annotated[float, Field(ge=0, le=1)], Mark.SEARCHABLE, Mark.NETWORK]
    """The loss weighs emotions by the inverse of their number of training clips (balanced), or by a power of it from 0 (none) to 1."""
    label_smoothing: Annotated[Share, Mark.SEARCHABLE, Mark.NETWORK]
    """Share of the target spread over all emotions."""
    feature_norm: Annotated[Literal["none", "corpus", "speaker"], Mark.NETWORK]
    """With freeze=encoder, the head's input is standardised: corpus, by all training clips; speaker, by all clips that a speaker has on its
    side, also of the test (transductive: such a model serves no single recording)."""
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

    @property
    def space(self) -> Space:
        """The classes that `emotions` and `merge` make; refuses what makes none, as `Space.of` says."""
        return Space.of(self.emotions, self.merge)


class BaselineSettings(Section):
    features: Annotated[Literal["functionals", "egemaps"], Mark.SEARCHABLE]
    """What describes a clip: functionals, 411 numbers by torchaudio; egemaps, 88 by openSMILE (optional, not free for every use)."""
    classifier: Annotated[Literal["svm", "logistic"], Mark.SEARCHABLE]
    """svm: support vector machine with an RBF kernel; logistic: logistic regression; both with balanced emotions."""
    C: Annotated[float, Field(gt=0), Mark.SEARCHABLE]
    """Inverse of the regularisation."""
    gamma: Annotated[Annotated[float, Field(gt=0)] | Literal["scale"], Mark.SEARCHABLE]
    """Of the RBF kernel; scale: 1 / (numbers x their variance)."""
