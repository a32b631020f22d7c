"""HuBERT and DistilHuBERT."""

from ser_mlops.models.families.base import Family

FAMILY = Family("hubert", unsupported={"conv_pos_batch_norm": "its norm before the positions would see padding"})
