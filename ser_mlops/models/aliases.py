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
    "HuB-base": "facebook/hubert-base-ls960",
    "W2V2-base-ssl": "facebook/wav2vec2-base",
    "W2V2-robust-ssl": "facebook/wav2vec2-large-robust",
    "WavLM-base+": "microsoft/wavlm-base-plus",
    "WavLM-large": "microsoft/wavlm-large",
    "USAT-large": "microsoft/unispeech-sat-large",
    "D2V-large": "facebook/data2vec-audio-large",
    "W2V-BERT": "facebook/w2v-bert-2.0",
    "Whisper-small": "openai/whisper-small",
    "Whisper-medium": "openai/whisper-medium",
    "Whisper-large-v3": "openai/whisper-large-v3",
    TINY: TINY,
}
"""Alias -> hub id; `tiny` is built from a config with random weights, for the synthetic demo and for tests."""
MICROSOFT = "CC BY-SA 3.0 (Microsoft's UniSpeech repository; see its model card)"
LICENCES = (
    dict.fromkeys(ALIASES, "Apache 2.0")
    | dict.fromkeys(("WavLM-base+", "WavLM-large", "USAT-large"), MICROSOFT)
    | {"W2V-BERT": "MIT", TINY: "none needed (random weights)"}
)
"""Alias -> licence of the checkpoint."""
