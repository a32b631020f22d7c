"""Builds emotion classifiers: from a checkpoint of the hub or of a local folder with a new head, or from one we trained."""

import copy
import pickle
from collections.abc import Collection, Sequence
from functools import lru_cache
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    HubertConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Wav2Vec2FeatureExtractor,
)

from ser_mlops.emotions import EMOTIONS
from ser_mlops.errors import ModelError
from ser_mlops.models.aliases import TINY, TINY_LAYERS
from ser_mlops.models.classifier import EmotionClassifier, quiet
from ser_mlops.models.families.registry import check_family, families
from ser_mlops.models.location import CONFIG, check_local, folder_of
from ser_mlops.seeds import derive

NEW_KEYS = ("classifier.", "projector.", "layer_weights", "masked_spec_embed")
"""Only these may be missing from a checkpoint: the head, and the SpecAugment vector that CTC checkpoints lack."""
TINY_BODY_SEED = 19730309
LAYERS = {"checkpoint": None, "last": False, "all": True}
"""What the head takes -> whether it weighs all layers; None: as the checkpoint's config says."""


def load_classifier(
    model: str,
    *,
    seed: int,
    emotions: tuple[str, ...] = EMOTIONS,
    layers: str = "checkpoint",
    attention_mask: bool = True,
    share_encoder: bool = False,
) -> EmotionClassifier:
    """Load an alias, a hub id or a local folder as a classifier of some of the seven emotions, ready to be trained.

    A head that the checkpoint lacks, or that is of other classes, is drawn from `seed`; the global random state stays as it
    was. The same model and seed give the same weights. `layers` is a key of LAYERS.

    With `share_encoder`, the weights below the head are read once and are the very same in all classifiers of the process that are loaded
    so: for those that keep them frozen.

    Raises:
        ModelError: the name is unknown, files are out of reach or unreadable, or the checkpoint is incomplete.
    """
    if share_encoder:
        net, extractor, new = _open_shared(model, emotions, layers, _version_of(model))
        base = families()[net.config.model_type].base(net)
        shared = {id(weight): weight for weight in (*base.parameters(), *base.buffers())}
        net, extractor = copy.deepcopy((net, extractor), shared)
    else:
        net, extractor, new = _open(model, emotions, layers)
    _initialise(net, new, seed)
    return EmotionClassifier(net, extractor, attention_mask=attention_mask)


def _open(model: str, emotions: tuple[str, ...], layers: str) -> tuple[PreTrainedModel, Wav2Vec2FeatureExtractor, set[str]]:
    """Return network, feature extractor and the keys that are to be drawn."""
    if model == TINY:
        net, extractor = _tiny(emotions, bool(LAYERS[layers]))
        return net, extractor, {key for key, _ in net.named_parameters() if key.startswith(NEW_KEYS)}
    return _read(folder_of(model), model, emotions, LAYERS[layers])


@lru_cache(maxsize=1)
def _open_shared(
    model: str, emotions: tuple[str, ...], layers: str, version: tuple[tuple[str, int], ...]
) -> tuple[PreTrainedModel, Wav2Vec2FeatureExtractor, set[str]]:
    """Open a model whose encoder is shared.

    A SpecAugment vector that the checkpoint lacks is zero: nothing trains it, and beside adapters it is what masked steps are filled with.
    """
    net, extractor, new = _open(model, emotions, layers)
    below = {key for key in new if key.startswith(f"{families()[net.config.model_type].base_name(net)}.")}
    for key in below:
        nn.init.zeros_(net.get_parameter(key))
    return net, extractor, new - below


def _version_of(model: str) -> tuple[tuple[str, int], ...]:
    """Return what changes when the files of a model do."""
    files = [] if model == TINY else sorted(folder_of(model).iterdir())
    return tuple((path.name, path.stat().st_mtime_ns) for path in files)


def open_classifier(folder: Path) -> EmotionClassifier:
    """Open what `EmotionClassifier.save` wrote; a head that was not trained for some of the seven emotions is refused."""
    check_local(folder, str(folder))
    net, extractor, new = _read(folder, str(folder), None, None)
    if new:
        raise ModelError(f"{folder} is no trained emotion classifier: its {', '.join(sorted(new))} would be new")
    return EmotionClassifier(net, extractor, attention_mask=extractor.return_attention_mask)


def _read(
    folder: Path, model: str, emotions: tuple[str, ...] | None, weighs_layers: bool | None
) -> tuple[PreTrainedModel, Wav2Vec2FeatureExtractor, set[str]]:
    """Return network, feature extractor and the keys that the checkpoint did not bring; without `emotions`, those of its own head stay."""
    with quiet(), torch.random.fork_rng(devices=[]):
        try:
            config = AutoConfig.from_pretrained(folder, local_files_only=True)
            extractor = AutoFeatureExtractor.from_pretrained(folder, local_files_only=True)
            _check(config, model)
            own = tuple(config.id2label.get(label) for label in range(config.num_labels))
            emotions = emotions or (own if _is_space(own) else EMOTIONS)
            is_same_head = own == emotions
            if weighs_layers is not None:
                config.use_weighted_layer_sum = weighs_layers
            config.id2label, config.label2id = _labels(emotions)
            net, found = AutoModelForAudioClassification.from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                local_files_only=True,
            )
        except (OSError, ValueError, RuntimeError, SafetensorError, pickle.UnpicklingError) as error:
            raise ModelError(
                f"model {model!r}: the files in {folder} cannot be read ({' '.join(str(error).split())[:300]}); fetch them again"
            ) from error
    new = set(found["missing_keys"]) | {key for key, *_ in found["mismatched_keys"]}
    lost = sorted(key for key in new if not key.startswith(NEW_KEYS) and not key.endswith("masked_spec_embed"))
    if lost:
        raise ModelError(
            f"model {model!r}: {len(lost)} weights are missing or of another size: {', '.join(lost[:5])}"
            f"{', …' if len(lost) > 5 else ''}; only the head may be missing"
        )
    if not is_same_head:
        new |= {"classifier.weight", "classifier.bias"}
    _align(net)
    return net.eval(), extractor, new


def _is_space(names: Sequence[str | None]) -> bool:
    """Say whether classes are two or more of the seven emotions, in their order."""
    return len(names) > 1 and list(names) == [emotion for emotion in EMOTIONS if emotion in names]


def _labels(emotions: Sequence[str]) -> tuple[dict[int, str], dict[str, int]]:
    """Return id2label and label2id of a config."""
    return dict(enumerate(emotions)), {emotion: label for label, emotion in enumerate(emotions)}


def _align(net: PreTrainedModel) -> None:
    """Move weights out of the mapped file, where they lie at odd addresses: products of equal weights would differ in their last bit."""
    for weight in (*net.parameters(), *net.buffers()):
        weight.data = weight.data.clone()


def _check(config: PreTrainedConfig, model: str) -> None:
    check_family(config.model_type, model)
    for key, reason in (families()[config.model_type].unsupported or {}).items():
        if getattr(config, key, False):
            raise ModelError(f"model {model!r}: {CONFIG} says {key}, which is not supported: {reason}")


def _initialise(net: PreTrainedModel, keys: Collection[str], seed: int) -> None:
    """Draw new weights as transformers does, each from the seed and its own name."""
    with torch.no_grad():
        for key, weight in net.named_parameters():
            if key not in keys:
                continue
            generator = torch.Generator().manual_seed(derive(seed, "weights", key))
            if key == "layer_weights":
                weight.fill_(1 / len(weight))
            elif key.endswith("masked_spec_embed"):
                weight.uniform_(generator=generator)
            elif key.endswith("bias"):
                weight.zero_()
            else:
                std = getattr(net.config, "initializer_range", None) or net.config.init_std  # as Whisper calls it
                weight.normal_(std=std, generator=generator)


def _tiny(emotions: tuple[str, ...], weighs_layers: bool) -> tuple[PreTrainedModel, Wav2Vec2FeatureExtractor]:
    """Build a HuBERT of 24,000 random weights with HuB-LL's norms and 20 ms steps; filters of 20 ms see pitch from the first layer."""
    id2label, label2id = _labels(emotions)
    config = HubertConfig(
        hidden_size=24,
        num_hidden_layers=TINY_LAYERS,
        num_attention_heads=2,
        intermediate_size=48,
        classifier_proj_size=24,
        conv_dim=(24, 24),
        conv_kernel=(320, 5),
        conv_stride=(160, 2),
        feat_extract_norm="layer",
        conv_bias=True,
        do_stable_layer_norm=True,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=1,  # in groups of 8, oneDNN's bfloat16 is wrong
        hidden_dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        feat_proj_dropout=0.0,
        layerdrop=0.0,
        apply_spec_augment=False,
        use_weighted_layer_sum=weighs_layers,
        id2label=id2label,
        label2id=label2id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(TINY_BODY_SEED)
        net = AutoModelForAudioClassification.from_config(config)
    return net.eval(), Wav2Vec2FeatureExtractor(do_normalize=True)
