"""The sections of what travels from one tracking store to another."""

from typing import Annotated, Literal

from pydantic import Field

from ser_mlops.settings.kinds import Names, OptionalName, Section


class ExportRunsSettings(Section):
    runs: Names
    """Run ids of one or more experiments (parent runs) that have ended, comma-separated."""
    tag: OptionalName
    """KEY=VALUE: all finished experiments with this tag as well, oldest first."""
    output: Annotated[str, Field(min_length=1)]
    """A name that ends with .zip, or a folder to be made."""
    models: Literal["none", "best", "all"]
    """Models of the rounds to take along; best: of each experiment the one that validation likes best."""


class ImportRunsSettings(Section):
    archive: OptionalName
    """The zip or the folder that export_runs wrote."""


class SyncSettings(Section):
    offline: OptionalName
    """mlflow.db of an embedded store, with its mlruns beside it: its finished experiments are brought as well."""
    unfinished: bool
    """true: those that failed or were interrupted, too."""
    models: Literal["none", "best", "all"]
    """Models of the rounds to bring."""
