"""What does a head over all layers of a frozen encoder cost, beside one over the last?

The models, clips and rounds of the claim `frozen`, with a warm cache: three rounds of 20 epochs over a learned sum of the 13 states of
HuBERT-base, and over its last layer alone. The peer is Trainer over the same sum, base model and CNN frozen, over a quarter of the clips of
one epoch; layerdrop is 0 on both sides, as a dropped layer would leave its weight without a value.
"""

from typing import Any

from benchmarks.harness import Claim, Contender, Limit, main
from benchmarks.trainings import ours, trainer

SIZE: dict[str, Any] = {"num_train": 96, "num_validation": 24}
EXPERIMENT: dict[str, Any] = {"rounds": 3, "epochs": 20, "cache": "warm", **SIZE}
WEIGHTED = {"use_weighted_layer_sum": True, "layerdrop": 0.0}
ALL, LAST = "ser_mlops (all layers)", "ser_mlops (last layer)"
PEER = "Trainer (all layers of a frozen base model and feature encoder)"

CLAIM = Claim(
    "layers",
    "How long does an epoch over the cached outputs of all layers take, and of the last?",
    unit="epoch",
    contenders=(
        Contender(ALL, ours("encoder", geometry=WEIGHTED, **EXPERIMENT), kind="all layers"),
        Contender(LAST, ours("encoder", **EXPERIMENT), kind="last layer"),
        Contender(
            PEER,
            trainer(("freeze_base_model", "freeze_feature_encoder"), geometry=WEIGHTED, share=0.25, **SIZE),
            is_peer=True,
            kind="all layers",
        ),
    ),
    limits=(Limit(ALL, 1.3, against=LAST),),
    repeats=1,
    warmups=0,
    passes=4,
)

if __name__ == "__main__":
    main(CLAIM)
