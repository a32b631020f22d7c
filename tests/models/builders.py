"""Checkpoints of the aliases' architectures in tiny sizes, as they stand on the hub, and clips to run them on."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    Data2VecAudioConfig,
    Data2VecAudioModel,
    HubertConfig,
    HubertForSequenceClassification,
    HubertModel,
    PreTrainedModel,
    SeamlessM4TFeatureExtractor,
    UniSpeechSatConfig,
    UniSpeechSatForPreTraining,
    Wav2Vec2BertConfig,
    Wav2Vec2BertModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2ForPreTraining,
    WavLMConfig,
    WavLMModel,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

from ser_mlops.models.aliases import ALIASES
from ser_mlops.models.classifier import EmotionClassifier

SIZE = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "conv_dim": (16, 16, 16),
    "conv_kernel": (10, 3, 2),
    "conv_stride": (5, 4, 4),
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    "classifier_proj_size": 16,
    "vocab_size": 32,
    "codevector_dim": 16,
    "proj_codevector_dim": 16,
    "num_codevectors_per_group": 8,
}
LAYER_NORM = {"feat_extract_norm": "layer", "conv_bias": True, "do_stable_layer_norm": True}
GROUP_NORM = {"feat_extract_norm": "group", "conv_bias": False, "do_stable_layer_norm": False}
ARCHITECTURES = {
    "HuB-LL": (HubertModel, HubertConfig, LAYER_NORM),
    "HuB-XL": (HubertModel, HubertConfig, LAYER_NORM | {"hidden_size": 40, "num_hidden_layers": 4}),
    "HuB-ER": (HubertForSequenceClassification, HubertConfig, LAYER_NORM | {"use_weighted_layer_sum": True, "num_labels": 4}),
    "HuB-SID": (HubertForSequenceClassification, HubertConfig, LAYER_NORM | {"use_weighted_layer_sum": True, "num_labels": 1251}),
    "W2V2-base": (Wav2Vec2ForCTC, Wav2Vec2Config, GROUP_NORM),
    "W2V2-large": (Wav2Vec2ForPreTraining, Wav2Vec2Config, GROUP_NORM),
    "W2V2-robust": (Wav2Vec2ForCTC, Wav2Vec2Config, LAYER_NORM),
    "DistilHubert": (HubertModel, HubertConfig, GROUP_NORM | {"num_hidden_layers": 2, "feat_proj_layer_norm": False}),
}
"""Alias -> what its checkpoint was saved from, and how that differs from the others."""
BUCKETS = {"num_buckets": 8, "max_bucket_distance": 20}
WHISPER = {
    "d_model": 32,
    "encoder_layers": 3,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 48,
    "decoder_layers": 1,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": 8,
    "max_source_positions": 50,
    "num_mel_bins": 80,
    "classifier_proj_size": 16,
    "vocab_size": 32,
    **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"), 1),
}
"""Clips of one second instead of thirty."""
NEWER: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "HuB-base": (HubertModel, HubertConfig, GROUP_NORM),
    "W2V2-base-ssl": (Wav2Vec2ForPreTraining, Wav2Vec2Config, GROUP_NORM),
    "W2V2-robust-ssl": (Wav2Vec2ForPreTraining, Wav2Vec2Config, LAYER_NORM),
    "WavLM-base+": (WavLMModel, WavLMConfig, GROUP_NORM | BUCKETS),
    "WavLM-large": (WavLMModel, WavLMConfig, LAYER_NORM | BUCKETS),
    "USAT-large": (UniSpeechSatForPreTraining, UniSpeechSatConfig, LAYER_NORM),
    "D2V-large": (Data2VecAudioModel, Data2VecAudioConfig, {"num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 5}),
    "W2V-BERT": (Wav2Vec2BertModel, Wav2Vec2BertConfig, {"feature_projection_input_dim": 160, "conv_depthwise_kernel_size": 7}),
    **dict.fromkeys(("Whisper-small", "Whisper-medium"), (WhisperForConditionalGeneration, WhisperConfig, WHISPER)),
    "Whisper-large-v3": (WhisperForConditionalGeneration, WhisperConfig, WHISPER | {"num_mel_bins": 128}),
}
"""The same for the other families, and for checkpoints whose architecture stands above."""

OLD_CONFIG = {
    "feat_extract_dropout": 0.0,
    "gradient_checkpointing": False,
    "hidden_dropout_prob": 0.1,
    "tokenizer_class": "Wav2Vec2CTCTokenizer",
    "torch_dtype": "float32",
    "transformers_version": "4.10.0.dev0",
}
OLD_PREPROCESSOR = {
    "do_normalize": True,
    "feature_size": 1,
    "padding_side": "right",
    "padding_value": 0.0,
    "return_attention_mask": False,
    "sampling_rate": 16000,
}
"""Keys as checkpoints of 2021 have them."""


def build_net(alias: str, **changes: object) -> PreTrainedModel:
    """The network that an alias's checkpoint was saved from, in a tiny size."""
    make, make_config, differences = (ARCHITECTURES | NEWER)[alias]
    torch.manual_seed(7)
    return make(make_config(**SIZE | differences | changes))


def extractor_of(alias: str, config: Any) -> Any:
    """The feature extractor that an alias's checkpoint has."""
    if alias.startswith("Whisper"):
        return WhisperFeatureExtractor(feature_size=config.num_mel_bins, chunk_length=config.max_source_positions // 50)
    return SeamlessM4TFeatureExtractor(padding_value=1) if alias == "W2V-BERT" else Wav2Vec2FeatureExtractor(return_attention_mask=False)


def write_checkpoint(folder: Path, alias: str, *, old: bool = False, drop: tuple[str, ...] = (), **changes: object) -> Path:
    """Write a checkpoint as the hub has it; `old` is the .bin of years ago, `drop` names weights that it lacks."""
    net = build_net(alias, **changes)
    net.save_pretrained(folder, state_dict={key: value for key, value in net.state_dict().items() if not key.endswith(drop or "-")})
    extractor = extractor_of(alias, net.config)
    extractor.save_pretrained(folder)
    if old:
        names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
        weights = net.state_dict()
        for new_name, old_name in names.items():
            weights = {key.replace(new_name, old_name): value for key, value in weights.items()}
        torch.save(weights, folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
        (folder / "config.json").write_text(json.dumps(json.loads((folder / "config.json").read_text()) | OLD_CONFIG))
        if isinstance(extractor, Wav2Vec2FeatureExtractor):
            (folder / "preprocessor_config.json").write_text(json.dumps(OLD_PREPROCESSOR))
    return folder


def some_waves(*num_samples: int) -> list[np.ndarray]:
    """int16 noise at the level of speech."""
    random = np.random.default_rng(3)
    return [np.clip(random.normal(0, 3000, number), -32768, 32767).astype(np.int16) for number in num_samples]


def padded(classifier: EmotionClassifier, waves: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """values_BS and lengths_B of a batch."""
    prepared = [torch.from_numpy(classifier.prepare(wave)) for wave in waves]
    return pad_sequence(prepared, batch_first=True), torch.tensor([len(wave) for wave in prepared])


def write_to_cache(home: Path, alias: str, **how: object) -> None:
    """Put a stand-in into a Hugging Face cache, under the name of the real repository."""
    repository = home / "hub" / f"models--{ALIASES[alias].replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    write_checkpoint(repository / "snapshots" / ("0" * 40), alias, **how)
