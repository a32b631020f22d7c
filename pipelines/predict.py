"""Predict: entry point `predict`, the emotions of a recording or of a folder of them, as a table."""

from ser_mlops.commands import parse_arguments
from ser_mlops.tracking.command import run_tracked_command


def main() -> int:
    settings = parse_arguments(
        ["predict", "paths.checkpoints"], "Classify recordings: mlflow run . -e predict -P model_uri=models:/ser@champion -P audio=FILE"
    )
    from pathlib import Path

    from ser_mlops.serving.batch import conduct_prediction
    from ser_mlops.tracking.recovery import bring_all

    chosen = settings.predict
    bring_all(Path(settings.paths.checkpoints))
    return conduct_prediction(
        chosen.model_uri,
        chosen.audio,
        Path(chosen.output),
        window_seconds=chosen.window_seconds,
        batch_size=chosen.batch_size,
        checkpoints=Path(settings.paths.checkpoints),
    )


if __name__ == "__main__":
    run_tracked_command("predict", main)
