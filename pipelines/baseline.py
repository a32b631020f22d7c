"""Train and test the baseline: entry point `main` with model=baseline, which needs no download and no GPU."""

from pipelines.train import train
from ser_mlops.commands import parse_given
from ser_mlops.errors import SettingsError
from ser_mlops.settings.fields import names_marked
from ser_mlops.settings.kinds import Mark
from ser_mlops.settings.training import BASELINE
from ser_mlops.tracking.command import run_tracked_command

USED = ("baseline", "train", "data", "paths.checkpoints", "paths.cache", "serving", "drawing", "launch", "slurm")
MODEL = "train.model"


def main() -> None:
    description = "Train, track and test the baseline: mlflow run . -e baseline -P name=value, with the names below."
    given = parse_given(USED, description, unlisted=names_marked(Mark.NETWORK))
    if given.setdefault(MODEL, BASELINE) != BASELINE:
        raise SettingsError(f"model={given[MODEL]} is trained by entry point main: mlflow run . -P model={given[MODEL]}")
    train(given)


if __name__ == "__main__":
    run_tracked_command("baseline", main)
