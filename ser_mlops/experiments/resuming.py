"""Resuming an experiment: its settings are those of its run, and code and data must be those that it was started with."""

from collections.abc import Mapping
from pathlib import Path

from ser_mlops.data.lock import Version
from ser_mlops.errors import CheckpointError, SettingsError
from ser_mlops.experiments.artifacts import CODE_FILE, SETTINGS_FILE
from ser_mlops.settings.fields import names_marked
from ser_mlops.settings.kinds import Mark
from ser_mlops.settings.reading import flatten_settings, parse_settings, read_settings
from ser_mlops.settings.sections import LAUNCH_SECTIONS, RUN_SECTIONS, Settings
from ser_mlops.tracking.outbox import OUTBOX
from ser_mlops.tracking.provenance import changed_files, code_hash, code_listing

FREE_ON_RESUME = names_marked(Mark.FREE)
"""Settings that a resumed experiment may change."""


def resolve_settings(given: Mapping[str, str]) -> Settings:
    """Return the settings of a command: params.yaml with what was given or, with `resume`, those of the resumed run.

    What is given and free on resume replaces what the run was started with, so that checkpoints are found where they are.

    Raises:
        SettingsError: a given value differs from the resumed run's.
    """
    settings = read_settings(given=given)
    run_id = settings.train.resume
    if run_id is None:
        return settings
    from ser_mlops.tracking.names import STUDY_TAG
    from ser_mlops.tracking.recovery import recover
    from ser_mlops.tracking.store import find_run, open_store, read_artifact

    client = open_store()
    resumed = find_run(client, run_id)
    run_id = resumed.info.run_id  # that of an imported run may be given as it was at home
    if STUDY_TAG in resumed.data.tags:
        raise SettingsError(f"run {run_id} is a sweep, which its study resumes: give the sweep's command again")
    recover(client, Path(settings.paths.checkpoints) / OUTBOX, run_id)
    stored = parse_settings(
        read_artifact(client, run_id, SETTINGS_FILE).read_text(encoding="utf-8"), f"settings.yaml of run {run_id}", is_resolved=True
    )
    now, then = flatten_settings(settings, (*RUN_SECTIONS, *LAUNCH_SECTIONS)), flatten_settings(stored)
    for name in given:
        if name in then and name not in FREE_ON_RESUME and now[name] != then[name]:
            plain = name.removeprefix("train.")
            raise SettingsError(f"{plain}={given[name]}, but run {run_id} was started with {then[name]}: leave it out, or start a new run")
    content = stored.model_dump() | settings.model_dump(include=set(LAUNCH_SECTIONS))
    for name in FREE_ON_RESUME:
        if name in given:
            section, key = name.split(".")
            content[section][key] = now[name]
    content["train"]["resume"] = run_id  # params.yaml may name it, too
    return Settings.model_validate(content)


def refuse_changed(versions: Mapping[str, Version], run_id: str) -> None:
    """Raise CheckpointError where code or data are not those that a run was started with: its rounds would not be comparable."""
    from ser_mlops.tracking.store import find_run, open_store, read_artifact

    client = open_store()
    then = find_run(client, run_id).data.tags
    frames = {corpus: then.get(f"dvc.{corpus}") for corpus in versions}
    listing = code_listing() if then.get("code") == code_hash() else read_artifact(client, run_id, CODE_FILE).read_text(encoding="utf-8")
    refuse_differing(versions, frames, listing, run_id)


def refuse_differing(versions: Mapping[str, Version], frames: Mapping[str, str | None], listing: str, run_id: str) -> None:
    """Raise CheckpointError where frames or code differ from those of a run, given by the frames' hashes and the listing of the code."""
    changed = [f"the frame of {corpus}" for corpus, version in versions.items() if frames.get(corpus) != version.frame_md5]
    if files := changed_files(listing, code_listing()):
        changed.append(f"{', '.join(files)} of ser_mlops")
    if changed:
        raise CheckpointError(f"run {run_id} cannot be resumed: {'; '.join(changed)} changed since it was started. Start a new run")


def restore_threads(run_id: str) -> None:
    """Compute in as many threads as the run did: sums are cut up by them, and its rounds would differ in their last bits.

    Rounds that run side by side share these threads; a saved round of another number is refused by its state.
    """
    import torch

    from ser_mlops.tracking.store import find_run, open_store

    threads = find_run(open_store(), run_id).data.tags.get("threads")
    if threads is not None and int(threads) != torch.get_num_threads():
        print(f"computing in {threads} threads, as run {run_id} did, instead of {torch.get_num_threads()}")
        torch.set_num_threads(int(threads))
