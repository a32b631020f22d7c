"""What do adapters cost and save, beside tuning everything above the CNN?

The models and clips of the claim `feature_encoder`, 24 clips to train on and 6 to validate on, the CNN frozen on all sides. Adapters of
rank 8 stand in the feed-forward parts of all layers. Ours is a round of two epochs with a warm cache of the CNN, model loading and
checkpoints included. The peers are Trainer on the same clips, with `peft.get_peft_model` as its documentation writes it, and without. The
size of the saved weights and the peak of memory stand beside the time.
"""

from typing import Any

from benchmarks.harness import Claim, Contender, Limit, main
from benchmarks.trainings import ours, trainer

SIZE: dict[str, Any] = {"num_train": 24, "num_validation": 6}
OURS: dict[str, Any] = {"rounds": 1, "epochs": 2, "cache": "warm", **SIZE}
LORA, FULL = "ser_mlops (lora)", "ser_mlops (everything above the CNN)"
PEER_LORA, PEER_FULL = "Trainer (peft)", "Trainer (freeze_feature_encoder)"


def adapt(model: Any) -> Any:
    """Return the model with adapters, as peft's documentation writes it."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=8, lora_alpha=16, target_modules=["intermediate_dense", "output_dense"], modules_to_save=["projector", "classifier"]
    )
    return get_peft_model(model, config)


CLAIM = Claim(
    "lora",
    "How long does an epoch take with adapters, and when everything above the CNN is tuned?",
    unit="epoch",
    contenders=(
        Contender(LORA, ours("feature_encoder", adapter="lora", **OURS), kind="adapters"),
        Contender(FULL, ours("feature_encoder", **OURS), kind="everything"),
        Contender(PEER_LORA, trainer((adapt,), **SIZE), is_peer=True, kind="adapters"),
        Contender(PEER_FULL, trainer(("freeze_feature_encoder",), **SIZE), is_peer=True, kind="everything"),
    ),
    aims={(LORA, PEER_LORA): 1.0},
    limits=(
        Limit(LORA, None, against=FULL),
        Limit(LORA, 0.05, "MiB of saved weights", against=FULL),
    ),
    repeats=1,
    warmups=0,
)

if __name__ == "__main__":
    main(CLAIM)
