"""Short names of the checkpoints, and where each one lives on the Hugging Face hub."""

TINY = "tiny"
TINY_LAYERS = 2
ALIASES = {
    "HuB-LL": "facebook/hubert-large-ll60k",
    "HuB-XL": "facebook/hubert-xlarge-ll60k",
    "HuB-ER": "superb/hubert-large-superb-er",
    "HuB-SID": "superb/hubert-large-superb-sid",
    "W2V2-base": "facebook/wav2vec2-base-960h",
    "W2V2-large": "facebook/wav2vec2-large",
    "W2V2-robust": "facebook/wav2vec2-large-robust-ft-libri-960h",
    "DistilHubert": "ntu-spml/distilhubert",
    TINY: TINY,
}
"""Alias -> hub id; `tiny` is built from a config with random weights, for the synthetic demo and for tests."""
LICENCES = dict.fromkeys(ALIASES, "Apache 2.0") | {TINY: "none needed (random weights)"}
"""Alias -> licence of the checkpoint."""
