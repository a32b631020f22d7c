"""What every clip is once it is decoded, mono int16 at 16 kHz, and which files are taken for recordings."""

import numpy as np

SAMPLE_RATE = 16_000
"""Hz; nothing after decoding resamples."""
FULL_SCALE = 32_768
"""int16 samples divided by this lie in [-1, 1)."""
SAMPLE_TYPE = np.dtype("<i2")
"""Of samples on disk."""
AUDIO_SUFFIXES = (".wav", ".aiff", ".aif", ".flac", ".ogg", ".mp3")
"""A file with another suffix is counted and not decoded. Of the others, the content decides what they are."""
