"""Decode every clip of a corpus once, to mono int16 at 16 kHz. `python -m pipelines.audio --corpus CREMA`"""

import argparse

from ser_mlops.commands import run_command
from ser_mlops.settings.cores import available_cores
from ser_mlops.settings.reading import read_settings


def main() -> None:
    parser = argparse.ArgumentParser(description="Write data/audio/CORPUS.npy and its index, data/audio/CORPUS.parquet.")
    parser.add_argument("--corpus", required=True)
    name = parser.parse_args().corpus
    settings = read_settings()
    from ser_mlops.data.audio.defects import defect_in
    from ser_mlops.data.audio.format import SAMPLE_RATE
    from ser_mlops.data.audio.listing import read_listing
    from ser_mlops.data.audio.store import write_audio
    from ser_mlops.data.folders import audio_file, listing_file

    files = read_listing(listing_file(name))
    audio = settings.audio
    index = write_audio(files, audio_file(name), audio.min_seconds, available_cores(), keep_cut_off=audio.cut_off == "keep")
    minutes = index["num_samples"].sum() / SAMPLE_RATE / 60
    print(f"{name}: {len(index)} files, {minutes:.1f} minutes of audio")
    defects = index.loc[index["defect"] != "", "defect"].map(defect_in)
    warnings = index.loc[index["warnings"] != "", "warnings"].str.split(", ").explode()
    for what, counted in (("left out", defects), ("kept with a warning", warnings)):
        for reason, count in counted.value_counts().items():
            print(f"  {what}: {count} {reason}")


if __name__ == "__main__":
    run_command(main)
