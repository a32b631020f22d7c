"""The families of encoders by `model_type`, and what they are called, without loading torch."""

from functools import lru_cache
from typing import TYPE_CHECKING

from ser_mlops.errors import ModelError, one_of

if TYPE_CHECKING:
    from ser_mlops.models.families.base import Family

MODEL_TYPES = (
    "hubert",
    "wav2vec2",
)


@lru_cache
def families() -> dict[str, "Family"]:
    """Return model_type -> family."""
    from ser_mlops.models.families import hubert, wav2vec2  # which load torch

    modules = (hubert, wav2vec2)
    return {module.FAMILY.model_type: module.FAMILY for module in modules}


def check_family(model_type: object, model: str) -> None:
    """Refuse a model of an architecture that is no family's."""
    if model_type not in MODEL_TYPES:
        raise ModelError(f"model {model!r}: {one_of('architecture', str(model_type), MODEL_TYPES)}")
