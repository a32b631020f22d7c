"""A survey: several models through the same experiment, each a parent run of its own, tagged `survey=NAME`; the same command resumes it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ser_mlops.errors import SettingsError, counted
from ser_mlops.experiments.experiment import Experiment, prepare
from ser_mlops.experiments.resuming import FREE_ON_RESUME, resolve_settings
from ser_mlops.seeds import derive
from ser_mlops.settings.fields import inapplicable
from ser_mlops.settings.reading import applicable_settings, read_settings
from ser_mlops.settings.search import SurveySettings
from ser_mlops.settings.sections import Settings
from ser_mlops.settings.training import BASELINE
from ser_mlops.tracking.names import SURVEY_TAG

OWN = {
    "train.model": "models",
    "train.experiment_type": "experiment_type",
    "train.resume": "the same command again, which resumes a survey",
    "train.name": "survey",
}
"""Settings of a training that a survey decides -> what to give instead."""
NO_NUMBERS = ("train.name", "train.tags")
"""Settings that may differ between the runs of a survey."""


@dataclass(frozen=True)
class Member:
    """One model of a survey."""

    model: str
    experiment: Experiment
    run_id: str | None
    """Its run, where an earlier call has begun one."""
    is_finished: bool


@dataclass(frozen=True)
class Survey:
    """The models of a survey in the order of its table's rows."""

    name: str
    members: tuple[Member, ...]

    @property
    def left(self) -> list[Member]:
        """The models that are not finished."""
        return [member for member in self.members if not member.is_finished]


def prepare_survey(given: Mapping[str, str], chosen: SurveySettings) -> Survey:
    """Check every experiment of a survey before anything is computed, and find those that an earlier call has begun.

    `given` are the settings of the command line by dotted name. A setting that one of the models does not have (lr of the baseline) is
    left out for that model; one that none has is refused.

    Raises:
        SettingsError: no models, one twice, a setting that the survey decides, or one that differs from that of a run that it has begun.
        CheckpointError: code or data changed since a run of the survey was started.
    """
    if not chosen.models:
        raise SettingsError("models is empty, expected names of models, comma-separated: models=baseline,HuB-LL")
    if twice := sorted({model for model in chosen.models if chosen.models.count(model) > 1}):
        raise SettingsError(f"models names {', '.join(twice)} twice")
    if taken := next((name for name in given if name in OWN), None):
        raise SettingsError(f"{taken}={given[taken]} does not go with a survey, use {OWN[taken]}")
    of_model = _given_by_model(given, chosen)
    fresh = {model: prepare(read_settings(given=of)) for model, of in of_model.items()}
    name = chosen.survey or _name_after(fresh)
    begun = _runs_of(name, Path(next(iter(fresh.values())).settings.paths.checkpoints))
    return Survey(name, tuple(_member(model, fresh[model], _tagged(of_model[model], name), begun.get(model)) for model in fresh))


def _given_by_model(given: Mapping[str, str], chosen: SurveySettings) -> dict[str, dict[str, str]]:
    """Return what is given of the settings that each model has; recipes are for networks."""
    trained = {name: value for name, value in given.items() if not name.startswith(("survey.", "table."))}
    unused = {model: inapplicable(read_settings(given={"train.model": model, "train.recipe": "none"})) for model in chosen.models}
    for name in trained:
        if all(name in names for names in unused.values()):
            read_settings(given={"train.model": chosen.models[0], name: trained[name]})  # which says why it is refused
    of_model = {}
    for model in chosen.models:
        own = {"train.model": model, "train.experiment_type": chosen.experiment_type}
        if model == BASELINE and len(chosen.models) > 1:
            own["train.recipe"] = "none"
        of_model[model] = {name: value for name, value in trained.items() if name not in unused[model]} | own
    return of_model


def _tagged(given: Mapping[str, str], name: str) -> dict[str, str]:
    tags = f"{SURVEY_TAG}={name}"
    return {**given, "train.tags": f"{given['train.tags']},{tags}" if given.get("train.tags") else tags}


def _name_after(experiments: Mapping[str, Experiment]) -> str:
    """Name a survey after all that its numbers depend on, so that the same command resumes it."""
    identities = {model: experiment.identity() for model, experiment in experiments.items()}
    return f"{derive(0, json.dumps(identities, sort_keys=True)):016x}"


def _runs_of(name: str, checkpoints: Path) -> dict[str, tuple[str, bool]]:
    """Return the run of each model that a survey has begun, and whether it is finished; of several the finished one, or the newest."""
    from ser_mlops.tracking.recovery import bring_all
    from ser_mlops.tracking.store import open_store, parents_tagged

    bring_all(checkpoints)
    runs = parents_tagged(open_store(), SURVEY_TAG, name, only_finished=False)
    runs.sort(key=lambda run: run.info.status == "FINISHED")
    return {run.data.tags["model"]: (run.info.run_id, run.info.status == "FINISHED") for run in runs}


def _member(model: str, fresh: Experiment, given: Mapping[str, str], begun: tuple[str, bool] | None) -> Member:
    if begun is None:
        return Member(model, replace(fresh, settings=read_settings(given=given)), None, is_finished=False)
    run_id, is_finished = begun
    settings = resolve_settings({**given, "train.resume": run_id})
    _refuse_other(settings, fresh.settings, run_id)
    experiment = prepare(settings)
    return Member(model, experiment, run_id, is_finished)


def _refuse_other(begun: Settings, today: Settings, run_id: str) -> None:
    """Refuse to resume a survey whose run was started with other settings: its rows would differ in more than the model."""
    then, now = applicable_settings(begun), applicable_settings(today)
    differing = [name for name in then if name not in (*FREE_ON_RESUME, *NO_NUMBERS) and now.get(name) != then[name]]
    if differing:
        what = "; ".join(f"{name.removeprefix('train.')} was {then[name]}, is {now.get(name)}" for name in differing)
        raise SettingsError(f"run {run_id} of the survey was started with other settings: {what}. Another name (survey=NAME) begins afresh")


def describe_survey(survey: Survey) -> str:
    """Say what a survey consists of and how far it is."""
    finished = len(survey.members) - len(survey.left)
    return (
        f"survey {survey.name}: {counted(len(survey.members), 'model')} ({', '.join(member.model for member in survey.members)}), "
        f"{finished} finished, {len(survey.left)} to run; the same command resumes it"
    )


def survey_failures(failures: Mapping[str, str], names: Sequence[str]) -> str:
    """Word which models of a survey failed, and why."""
    reasons = "; ".join(f"{model}: {reason}" for model, reason in failures.items())
    return f"{len(failures)} of {counted(len(names), 'model')} failed, the same command tries them again: {reasons}"
