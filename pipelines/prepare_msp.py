"""Check MSP-Podcast's annotations against its audio and import them. `mlflow run . -e prepare_msp -P annotations=… -P audio_dir=…`"""

from pathlib import Path

from ser_mlops.commands import parse_arguments
from ser_mlops.errors import SettingsError
from ser_mlops.tracking.command import run_tracked_command


def main() -> None:
    settings = parse_arguments(
        ["prepare_msp", "data.raw"], "Write data/imported/MSP_PODCAST.parquet from the label file; the catalogue reads it."
    )
    given = settings.prepare_msp
    if given.annotations is None or given.audio_dir is None:
        raise SettingsError("expected annotations (labels_consensus.csv) and audio_dir (the folder Audios)")
    from ser_mlops.data.importing.msp import prepare_msp

    output = Path(given.output) if given.output else None
    raw = Path(settings.data.raw)
    counts = prepare_msp(Path(given.annotations), Path(given.audio_dir), raw, output)
    print("MSP_PODCAST: " + ", ".join(f"{count} rows {what}" for what, count in counts.items()))
    if not (raw / "MSP_PODCAST").exists():
        print(f"next: link {given.audio_dir} as {raw / 'MSP_PODCAST'}, then dvc repro")


if __name__ == "__main__":
    run_tracked_command("prepare_msp", main)
