"""Train and test several models in the same way, and lay them out as a table: entry point `survey`."""

from ser_mlops.commands import parse_given
from ser_mlops.settings.reading import read_settings
from ser_mlops.tracking.command import run_tracked_command

USED = (
    "survey",
    "train",
    "baseline",
    "table.score",
    "table.cell",
    "table.ensemble",
    "data",
    "paths.checkpoints",
    "paths.cache",
    "serving",
    "drawing",
    "launch",
    "slurm",
)
DECIDED = ("train.model", "train.experiment_type", "train.resume", "train.name")
"""Settings that the survey decides and refuses."""


def main() -> None:
    description = "Several models through the same experiment: mlflow run . -e survey -P models=baseline,HuB-LL -P name=value"
    given = parse_given(USED, description, unlisted=DECIDED)
    settings = read_settings(
        given={name: value for name, value in given.items() if name.startswith(("survey", "table", "paths", "launch", "drawing"))}
    )
    from ser_mlops.experiments.survey import prepare_survey  # imports pandas

    survey = prepare_survey(given, settings.survey)
    from ser_mlops.launching.survey_dispatch import launch_survey  # imports torch, transformers and MLflow

    launch_survey(survey, settings)


if __name__ == "__main__":
    run_tracked_command("survey", main)
