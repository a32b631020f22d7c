"""Embed corpora by every layer of an encoder, and say what a linear probe reads from each: entry point `embed`."""

from ser_mlops.commands import parse_arguments
from ser_mlops.tracking.command import run_tracked_command


def main() -> None:
    used = ["embed", "drawing", "data.corpora", "paths.checkpoints", "paths.cache"]
    settings = parse_arguments(used, "Embed corpora by every layer of a model: mlflow run . -e embed -P model=HuB-LL -P corpora=CREMA")
    from pathlib import Path

    from ser_mlops.experiments.embeddings import conduct_embedding
    from ser_mlops.tracking.recovery import bring_all

    bring_all(Path(settings.paths.checkpoints))
    conduct_embedding(settings)


if __name__ == "__main__":
    run_tracked_command("embed", main)
