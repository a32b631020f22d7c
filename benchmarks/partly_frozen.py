"""How much faster is an epoch when the CNN and nine of twelve layers are frozen and their outputs computed once?

The models and clips of the claim `feature_encoder`, 24 clips to train on and 6 to validate on. Ours is a round of three epochs of
`freeze=encoder:9`, model loading and checkpoints included, with a cache that is filled before the clock starts (warm), inside it (cold), or
not at all. Trainer gets the same parts frozen by `requires_grad_(False)`, all of what lies below the tenth layer, so that it goes back no
further; it is timed over one epoch that saves nothing, its model loaded before the clock starts.
"""

from typing import Any

from benchmarks.harness import Claim, Contender, main
from benchmarks.trainings import ours, trainer

SIZE: dict[str, Any] = {"num_train": 24, "num_validation": 6}
DEPTH = 9
OURS: dict[str, Any] = {"rounds": 1, "epochs": 3, **SIZE}
PEER = f"Trainer (CNN and {DEPTH} layers frozen)"
WARM = "ser_mlops (warm cache)"


def freeze_below(model: Any) -> None:
    """Freeze everything below the first trained layer."""
    base = model.hubert
    for part in (base.feature_extractor, base.feature_projection, base.encoder.pos_conv_embed, base.encoder.layer_norm):
        part.requires_grad_(False)
    for layer in base.encoder.layers[:DEPTH]:
        layer.requires_grad_(False)
    base.masked_spec_embed.requires_grad_(False)


CLAIM = Claim(
    "partly_frozen",
    f"How long does an epoch take when the CNN and the first {DEPTH} of 12 layers are frozen?",
    unit="epoch",
    contenders=(
        Contender(WARM, ours(f"encoder:{DEPTH}", cache="warm", **OURS)),
        Contender("ser_mlops (warm bfloat16 cache)", ours(f"encoder:{DEPTH}", cache="warm", precision="bfloat16", **OURS)),
        Contender("ser_mlops (cold cache)", ours(f"encoder:{DEPTH}", cache="cold", **OURS)),
        Contender("ser_mlops (no cache)", ours(f"encoder:{DEPTH}", **OURS)),
        Contender(PEER, trainer((freeze_below,), **SIZE), is_peer=True),
    ),
    aims={(WARM, PEER): 2.5},
    repeats=1,
    warmups=0,
)

if __name__ == "__main__":
    main(CLAIM)
