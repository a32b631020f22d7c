"""The sections of what is asked of finished experiments and of encoders: the errors, the page to listen to them, the embeddings."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from ser_mlops.settings.kinds import Names, OptionalName, Section, none_if_blank


class ErrorsSettings(Section):
    run_id: OptionalName
    """Id of a finished experiment (the parent run), or of one of its rounds."""
    top: Annotated[int, Field(ge=1)]
    """Rows of each table on the page; the CSV files hold all."""


class ListenSettings(Section):
    run_id: OptionalName
    """Id of a finished experiment (the parent run), or of one of its rounds."""
    address: Annotated[str, Field(min_length=1)]
    """Address to listen on; 127.0.0.1: only this machine can open the page."""
    port: Annotated[int, Field(ge=1, le=65535)]
    """Port to listen on."""


class EmbedSettings(Section):
    model: Annotated[str, Field(min_length=1)]
    """An alias, a hub id or a local folder."""
    run_id: OptionalName
    """Id of a round or of an experiment (then its best round on validation), or models:/NAME@ALIAS, in place of the model."""
    corpora: Names
    """Corpora to embed, comma-separated; none: those of the run, or all of data.corpora."""
    output: Annotated[str, Field(min_length=1)]
    """Folder for the tables; each model has a folder of its own in it."""
    layer: Annotated[Annotated[int, Field(ge=0)] | None, BeforeValidator(none_if_blank)]
    """Layer that is drawn in two dimensions; none: the one from which emotion is read best."""
    points: Annotated[int, Field(ge=50)]
    """Clips drawn at most, a random sample."""
    seed: int
    """Seed of that sample, of the folds of the probes and of t-SNE."""
