"""Is an epoch in which everything is trained as fast as the one people write?

The models, clips and peers of the claim `frozen`, 24 clips to train on and 6 to validate on. Ours is a round of two epochs, model
loading and checkpoints (weights and both moments of AdamW, 1.1 GB) included. Trainer is timed twice: one epoch that saves nothing, and two
that save as much as ours and end with the best one. SpeechBrain saves nothing. The peers' models are loaded before the clock starts.
"""

from typing import Any

from benchmarks.harness import Claim, Contender, main
from benchmarks.trainings import KEEPS_BEST, SPEECHBRAIN, ours, speechbrain, trainer

SIZE: dict[str, Any] = {"num_train": 24, "num_validation": 6}
PEER, SAVING = "Trainer", "Trainer (keeps its best epoch)"

CLAIM = Claim(
    "unfrozen",
    "How long does an epoch take when everything is trained?",
    unit="epoch",
    contenders=(
        Contender("ser_mlops", ours("none", rounds=1, epochs=2, **SIZE)),
        Contender(PEER, trainer((), **SIZE), is_peer=True),
        Contender(SAVING, trainer((), **SIZE, **KEEPS_BEST), is_peer=True),
        Contender("speechbrain", speechbrain(**SIZE), is_peer=True, environment=SPEECHBRAIN),
    ),
    aims={("ser_mlops", peer): 1.3 for peer in (PEER, SAVING)},
    repeats=1,
    warmups=0,
)

if __name__ == "__main__":
    main(CLAIM)
