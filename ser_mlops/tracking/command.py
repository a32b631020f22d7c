"""Runs a command for which `mlflow run` may have opened a run: whatever stops the command is said on that run.

Nothing heavy is imported here, so that `--help` and a refusal outside of `mlflow run` answer at once.
"""

import os
from collections.abc import Callable

from ser_mlops.commands import run_command

OPENED_RUN = "MLFLOW_RUN_ID"
"""Environment variable with the id of the run that `mlflow run` opened. A worker process that inherited it would write into the parent."""


def run_tracked_command(name: str, command: Callable[[], int | None]) -> None:
    """Run a command and exit with its code, as `run_command` does; `name` is its entry point.

    Where the command ends without having taken the run that `mlflow run` opened for it, that run is named after the command; if it
    failed, the run says why, and `mlflow run` marks it FAILED.
    """

    failure: Exception | None = None

    def remembered() -> int | None:
        nonlocal failure
        try:
            return command()
        except Exception as error:
            failure = error
            raise

    try:
        run_command(remembered)  # prints why the call is refused before MLflow, which takes a second to import, hears of it
    finally:
        run_id = os.environ.get(OPENED_RUN)
        if run_id:
            from ser_mlops.tracking.opened_run import describe_opened_run

            describe_opened_run(run_id, name, failure)
