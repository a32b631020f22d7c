"""How much faster is an epoch with a frozen CNN when its outputs are computed once?

The models, clips and peers of `benchmarks/frozen.py`, 24 clips to train on and 6 to validate on. Ours is a round of three epochs with a
cache that is filled inside the clock, model loading and checkpoints included (without a cache: of one epoch); the peers are one epoch,
their model loaded before the clock starts.
"""

from typing import Any

from benchmarks.frozen import SPEECHBRAIN, ours, speechbrain, trainer
from benchmarks.harness import Claim, Contender, main

SIZE: dict[str, Any] = {"num_train": 24, "num_validation": 6}
PEER = "Trainer (freeze_feature_encoder)"

CLAIM = Claim(
    "feature_encoder",
    "How long does an epoch take when the CNN is frozen?",
    unit="epoch",
    contenders=(
        Contender("ser_mlops (cold cache)", ours("feature_encoder", rounds=1, epochs=3, cache="cold", **SIZE)),
        Contender("ser_mlops (no cache)", ours("feature_encoder", rounds=1, epochs=1, **SIZE)),
        Contender(PEER, trainer(("freeze_feature_encoder",), **SIZE), is_peer=True),
        Contender("speechbrain (freeze_feature_extractor)", speechbrain(freeze_feature_extractor=True, **SIZE), is_peer=True,
                  environment=SPEECHBRAIN),
    ),
    aims={("ser_mlops (cold cache)", PEER): 1.3},
    repeats=1,
    warmups=0,
)

if __name__ == "__main__":
    main(CLAIM)
