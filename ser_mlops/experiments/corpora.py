"""Which corpora a command names: known from its settings alone, before pandas is imported and a frame is read."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ser_mlops.errors import SettingsError, one_of

if TYPE_CHECKING:
    from ser_mlops.settings.sections import Settings

MANY = 3
"""More corpora than this are counted in a name, not listed."""


def corpora_named(settings: "Settings") -> tuple[str, ...]:
    """Return the corpora that a training reads, in the order of data.corpora; refuse names that are not among them."""
    train = settings.train
    return corpora_of(settings.data.corpora, train.experiment_type, train.train_datasets, train.test_dataset, train.test_split_source)


def corpora_of(
    known: Sequence[str], experiment_type: str, train_datasets: Sequence[str], test_dataset: str | None, test_split_source: str | None
) -> tuple[str, ...]:
    """Return the corpora that a command reads, in the order of `known`; refuse names that are not among them."""
    for name in (*train_datasets, *([test_dataset] if test_dataset else []), *([test_split_source] if test_split_source else [])):
        if name not in known:
            raise SettingsError(f"{one_of('corpus', name, known)} (data.corpora in params.yaml)")
    if experiment_type != "indep":
        return tuple(name for name in known if not train_datasets or name in train_datasets)
    if test_dataset is None and test_split_source is None:
        raise SettingsError(f"test_dataset is needed by experiment_type=indep, expected one of: {', '.join(known)}")
    wanted = {*train_datasets, test_dataset, test_split_source} - {None}
    if test_split_source and not train_datasets:
        wanted = set(known)
    return tuple(name for name in known if name in wanted)


def name_corpora(names: Sequence[str]) -> str:
    """Name some corpora together.

    >>> name_corpora(["CAFE", "TESS"]), name_corpora(["CAFE", "CREMA", "EMOFILM", "TESS"])
    ('CAFE+TESS', '4 corpora')
    """
    return "+".join(names) if len(names) <= MANY else f"{len(names)} corpora"
