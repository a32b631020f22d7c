"""How much faster is a whole experiment with a frozen encoder when its outputs are computed once?

HuBERT of base size (95 M random weights) with a head for seven emotions, synthetic clips of the lengths of CREMA's (96 to train on, 24 to
validate on, 2.5 s on average), three rounds of 20 epochs, batches of two. Ours loads models, fills the cache, trains, validates after
every epoch and saves checkpoints, all inside the clock. The peers are `transformers.Trainer` on the same clips, validating after every
epoch and saving nothing, once as people write it (`freeze_base_model()`, which still goes back through the outputs of the CNN) and once
with `freeze_feature_encoder()` added, and `speechbrain.Brain` as its emotion recipe writes it. They are timed over a quarter of the clips
of one epoch, their model loaded before the clock starts: every clip of every epoch costs them the same, so all sides are compared by the
time per epoch, and 60 of the peers' epochs are an experiment. Processor time stands beside the clock's, because other work on a machine
hardly moves it.
"""

from typing import Any

from benchmarks.harness import Claim, Contender, main
from benchmarks.trainings import SPEECHBRAIN, ours, speechbrain, trainer

ROUNDS = 3
EPOCHS = 20
SIZE: dict[str, Any] = {"num_train": 96, "num_validation": 24}
SHARE = 0.25
EXPERIMENT: dict[str, Any] = {"rounds": ROUNDS, "epochs": EPOCHS, **SIZE}
AS_WRITTEN = "Trainer (freeze_base_model)"
BOTH_FROZEN = "Trainer (base model and feature encoder frozen)"

CLAIM = Claim(
    "frozen",
    "How long does an epoch of a whole experiment (3 rounds x 20 epochs) take when the encoder is frozen?",
    unit="epoch",
    contenders=(
        Contender("ser_mlops (cold cache)", ours("encoder", cache="cold", **EXPERIMENT)),
        Contender("ser_mlops (cold bfloat16 cache)", ours("encoder", cache="cold", precision="bfloat16", **EXPERIMENT)),
        Contender("ser_mlops (warm cache)", ours("encoder", cache="warm", **EXPERIMENT)),
        Contender(AS_WRITTEN, trainer(("freeze_base_model",), **SIZE, share=SHARE), is_peer=True),
        Contender(BOTH_FROZEN, trainer(("freeze_base_model", "freeze_feature_encoder"), **SIZE, share=SHARE), is_peer=True),
        Contender("speechbrain (freeze)", speechbrain(freeze=True, **SIZE, share=SHARE), is_peer=True, environment=SPEECHBRAIN),
    ),
    aims={
        ("ser_mlops (cold cache)", AS_WRITTEN): 130.0,
        ("ser_mlops (cold cache)", BOTH_FROZEN): 65.0,
        ("ser_mlops (warm cache)", AS_WRITTEN): 1000.0,
    },
    repeats=1,
    warmups=0,
    passes=4,
)

if __name__ == "__main__":
    main(CLAIM)
