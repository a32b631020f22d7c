"""wav2vec 2.0."""

from ser_mlops.models.families.base import Family

FAMILY = Family("wav2vec2", unsupported={"add_adapter": "its adapter layers would not be run"})
