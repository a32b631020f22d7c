"""What every clip is once it is decoded, mono int16 at 16 kHz, and which files are taken for recordings."""

import numpy as np

SAMPLE_RATE = 16_000
"""Hz; nothing after decoding resamples."""
FULL_SCALE = 32_768
"""int16 samples divided by this lie in [-1, 1)."""
SAMPLE_TYPE = np.dtype("<i2")
"""Of samples on disk."""
SOUND_SUFFIXES = (
    ".wav", ".wave", ".aiff", ".aif", ".aifc", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".au", ".snd",
    ".caf", ".w64", ".rf64", ".sph", ".nist",
)  # fmt: skip
"""Of the formats that libsndfile reads."""
MEDIA_SUFFIXES = (
    ".m4a", ".m4b", ".aac", ".amr", ".awb", ".wma", ".ac3", ".mp2", ".mka", ".weba", ".spx", ".wv", ".ape", ".tta",
    ".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".flv", ".wmv", ".3gp", ".3g2", ".mpg", ".mpeg", ".ogv",
)  # fmt: skip
"""Of other sound, and of video with sound; media.py decodes these where PyAV is installed."""
AUDIO_SUFFIXES = SOUND_SUFFIXES + MEDIA_SUFFIXES
"""A file with one of these is taken for a recording; of any other, only the suffix is counted. Then the content decides what it is."""
