"""UniSpeech-SAT."""

from ser_mlops.models.families.base import Family

FAMILY = Family("unispeech-sat")
