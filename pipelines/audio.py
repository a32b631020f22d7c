"""Decode every clip of a corpus once, to mono int16 at 16 kHz. `python -m pipelines.audio --corpus CREMA`"""

import argparse

from ser_mlops.commands import run_command
from ser_mlops.settings.reading import read_settings


def main() -> None:
    parser = argparse.ArgumentParser(description="Write data/audio/CORPUS.npy and its index, data/audio/CORPUS.parquet.")
    parser.add_argument("--corpus", required=True)
    name = parser.parse_args().corpus
    settings = read_settings()
    from ser_mlops.data.audio.format import SAMPLE_RATE
    from ser_mlops.data.audio.listing import read_listing
    from ser_mlops.data.audio.store import available_cores, write_audio
    from ser_mlops.data.folders import audio_file, listing_file

    files = read_listing(listing_file(name))
    index = write_audio(files, audio_file(name), settings.audio.min_seconds, available_cores())
    minutes = index["num_samples"].sum() / SAMPLE_RATE / 60
    print(f"{name}: {len(index)} files, {minutes:.1f} minutes of audio, {(index['defect'] != '').sum()} files with a defect")


if __name__ == "__main__":
    run_command(main)
