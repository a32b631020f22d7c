"""Is an epoch in which everything is trained as fast as the one people write?

The models, clips and peers of `benchmarks/frozen.py`, 24 clips to train on and 6 to validate on. Ours is a round of two epochs, model
loading and checkpoints (weights and both moments of AdamW, 1.1 GB) included; the peers are one epoch that saves nothing, their model
loaded before the clock starts.
"""

from typing import Any

from benchmarks.frozen import SPEECHBRAIN, ours, speechbrain, trainer
from benchmarks.harness import Claim, Contender, main

SIZE: dict[str, Any] = {"num_train": 24, "num_validation": 6}

CLAIM = Claim(
    "unfrozen",
    "How long does an epoch take when everything is trained?",
    unit="epoch",
    contenders=(
        Contender("ser_mlops", ours("none", rounds=1, epochs=2, **SIZE)),
        Contender("Trainer", trainer((), **SIZE), is_peer=True),
        Contender("speechbrain", speechbrain(**SIZE), is_peer=True, environment=SPEECHBRAIN),
    ),
    aims={("ser_mlops", "Trainer"): 1.3},
    repeats=1,
    warmups=0,
)

if __name__ == "__main__":
    main(CLAIM)
