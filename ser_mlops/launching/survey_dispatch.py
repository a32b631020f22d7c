"""Runs a survey: one model after the other where the settings say, then the table of all of them."""

import os
from pathlib import Path

from ser_mlops.errors import Interrupted, SerError, SettingsError, TrackingError
from ser_mlops.experiments.announcement import announce, announce_trainings
from ser_mlops.experiments.overview import conduct_overview
from ser_mlops.experiments.survey import Survey, describe_survey, survey_failures
from ser_mlops.launching.dispatch import check_launch, launch
from ser_mlops.launching.handover import SYNC
from ser_mlops.models.threads import keeping_threads
from ser_mlops.settings.sections import Settings
from ser_mlops.tracking.names import SURVEY_TAG
from ser_mlops.tracking.opened_run import keeping_opened_run
from ser_mlops.tracking.recovery import experiment_in_use
from ser_mlops.tracking.relay import is_embedded
from ser_mlops.tracking.store import open_store, parents_tagged


def launch_survey(survey: Survey, settings: Settings) -> None:
    """Run every model that is not finished, and lay all out as a table, a run of its own; `settings` are those of the command.

    A model that fails does not keep the others from running. With `detach`, return when all are queued: their table is made later.

    Raises:
        Interrupted: it was asked to stop; the same command resumes it.
        TrackingError: a model failed, after the others have run; or another command runs the survey.
    """
    if "WORLD_SIZE" in os.environ:
        raise SettingsError("a survey does not go with torchrun: give launcher=slurm or parallel=N, or main for one model")
    print(describe_survey(survey), flush=True)
    fills = {member.model: check_launch(member.experiment) for member in survey.left}
    checkpoints = Path(settings.paths.checkpoints)
    failures: dict[str, str] = {}
    with experiment_in_use(checkpoints, f"survey-{survey.name}"), keeping_opened_run():
        for number, member in enumerate(survey.members, start=1):
            say = f"survey {survey.name}: {number} of {len(survey.members)}, {member.model}"
            if member.is_finished:
                print(f"{say}: finished, run {member.run_id}", flush=True)
                continue
            print(say, flush=True)
            announce(member.experiment.settings, "training" if member.run_id is None else f"resuming run {member.run_id}")
            announce_trainings(member.experiment)
            try:
                with keeping_threads():  # those of a run that is resumed are not those of the next model
                    launch(member.experiment, fills[member.model])
            except Interrupted:
                done = sum(other.is_finished for other in survey.members[number:]) + number - 1 - len(failures)
                raise Interrupted(
                    f"survey {survey.name} was interrupted: {done} of {len(survey.members)} models are finished. "
                    "To resume, give the same command again"
                ) from None
            except SerError as error:
                failures[member.model] = str(error)
                print(f"{say} failed: {error}", flush=True)
    if settings.launch.detach and survey.left:
        first = f"{SYNC}, then " if is_embedded() else ""
        print(f"once the jobs have ended: {first}mlflow run . -e table -P tag={SURVEY_TAG}={survey.name}")
    else:
        _lay_out(survey, settings, checkpoints)
    if failures:
        raise TrackingError(survey_failures(failures, [member.model for member in survey.members]))


def _lay_out(survey: Survey, settings: Settings, checkpoints: Path) -> None:
    """Make the table of the models that are finished, in the order of the survey."""
    found = parents_tagged(open_store(), SURVEY_TAG, survey.name)
    run_ids = {run.data.tags["model"]: run.info.run_id for run in found}
    runs = tuple(run_ids[member.model] for member in survey.members if member.model in run_ids)
    if runs:
        chosen = settings.table.model_copy(update={"runs": runs, "tag": None})
        conduct_overview(chosen, checkpoints, settings.drawing.figures, tags={SURVEY_TAG: survey.name})
