"""How much faster is an epoch with a frozen CNN when its outputs are computed once?

The models, clips and peers of the claim `frozen`, 24 clips to train on and 6 to validate on. Ours is a round of three epochs with a
cache that is filled inside the clock, model loading and checkpoints included (without a cache: of one epoch). Trainer is timed twice: one
epoch that saves nothing, and two that save as much as ours and end with the best one. SpeechBrain saves nothing. The peers' models are
loaded before the clock starts.
"""

from typing import Any

from benchmarks.harness import Claim, Contender, main
from benchmarks.trainings import KEEPS_BEST, SPEECHBRAIN, ours, speechbrain, trainer

SIZE: dict[str, Any] = {"num_train": 24, "num_validation": 6}
FREEZE = ("freeze_feature_encoder",)
PEER, SAVING = "Trainer (freeze_feature_encoder)", "Trainer (freeze_feature_encoder and keeps its best epoch)"

CLAIM = Claim(
    "feature_encoder",
    "How long does an epoch take when the CNN is frozen?",
    unit="epoch",
    contenders=(
        Contender("ser_mlops (cold cache)", ours("feature_encoder", rounds=1, epochs=3, cache="cold", **SIZE)),
        Contender("ser_mlops (no cache)", ours("feature_encoder", rounds=1, epochs=1, **SIZE)),
        Contender(PEER, trainer(FREEZE, **SIZE), is_peer=True),
        Contender(SAVING, trainer(FREEZE, **SIZE, **KEEPS_BEST), is_peer=True),
        Contender(
            "speechbrain (freeze_feature_extractor)",
            speechbrain(freeze_feature_extractor=True, **SIZE),
            is_peer=True,
            environment=SPEECHBRAIN,
        ),
    ),
    aims={("ser_mlops (cold cache)", peer): 1.3 for peer in (PEER, SAVING)},
    repeats=1,
    warmups=0,
)

if __name__ == "__main__":
    main(CLAIM)
