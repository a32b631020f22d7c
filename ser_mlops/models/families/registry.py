"""The families of encoders by `model_type`; what they are called is known without loading torch."""

from functools import lru_cache
from typing import TYPE_CHECKING

from ser_mlops.errors import ModelError, one_of

if TYPE_CHECKING:
    from ser_mlops.models.families.base import Family

MODEL_TYPES = (
    "hubert",
    "wav2vec2",
    "wavlm",
    "unispeech",
    "unispeech-sat",
    "data2vec-audio",
    "wav2vec2-conformer",
    "wav2vec2-bert",
    "whisper",
)


@lru_cache
def families() -> dict[str, "Family"]:
    """Return model_type -> family, in the order of MODEL_TYPES."""
    from ser_mlops.models.families import (
        data2vec_audio,
        hubert,
        unispeech,
        unispeech_sat,
        wav2vec2,
        wav2vec2_bert,
        wav2vec2_conformer,
        wavlm,
        whisper,
    )

    modules = (hubert, wav2vec2, wavlm, unispeech, unispeech_sat, data2vec_audio, wav2vec2_conformer, wav2vec2_bert, whisper)
    return {module.FAMILY.model_type: module.FAMILY for module in modules}


def check_family(model_type: object, model: str) -> None:
    """Refuse a model of an architecture that is no family's."""
    if model_type not in MODEL_TYPES:
        raise ModelError(f"model {model!r}: {one_of('architecture', str(model_type), MODEL_TYPES)}")
