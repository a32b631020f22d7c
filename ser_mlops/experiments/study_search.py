"""How the trials of a study get their settings, and which trials are stopped early: the samplers and pruners of Optuna.

What a trial is given follows from (seed, number) and the finished trials alone, so a resumed study continues as if it had never stopped.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import BasePruner, MedianPruner, NopPruner, WilcoxonPruner
from optuna.samplers import BaseSampler, GPSampler, QMCSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, Trial

from ser_mlops.experiments.hyperband import Hyperband
from ser_mlops.seeds import derive
from ser_mlops.settings.search import Choices, Range

PRUNERS: dict[str, Callable[[int], BasePruner]] = {
    "none": lambda steps: NopPruner(),
    "median": lambda steps: MedianPruner(),
    "hyperband": Hyperband,
    "wilcoxon": lambda steps: WilcoxonPruner(),
}
"""By name, given the reports of a trial that runs to its end."""


@dataclass(frozen=True)
class Search:
    """How the trials of a study get their settings, and which are stopped early."""

    space: Mapping[str, Range | Choices]
    integers: frozenset[str]
    """Settings of the space that count something."""
    sampler: str
    startup_trials: int
    pruner: str
    steps: int
    """Reports of a trial that runs to its end."""
    seed: int

    def suggest(self, study: optuna.Study, trial: Trial) -> dict[str, Any]:
        """Return the settings of a trial.

        Every draw has a seed of its own, so that one that was interrupted half-way draws the same; tpe and gp, once they have learned, and
        qmc draw all of them at once.
        """
        study.sampler = self._sampler_for(trial.number, "all")
        _ = trial.relative_params  # drawn here, not by the first suggestion
        values = {}
        for name, distribution in self.distributions().items():
            study.sampler = self._sampler_for(trial.number, name)
            values[name] = _draw(trial, name, distribution)
        return values

    def distributions(self) -> dict[str, BaseDistribution]:
        """Return the space in Optuna's form."""
        return {name: _distribution(spread, is_integer=name in self.integers) for name, spread in self.space.items()}

    def seed_of(self, *purpose: str | int) -> int:
        return derive(self.seed, "sweep", *purpose) % 2**32

    def _sampler_for(self, number: int, name: str) -> BaseSampler:
        return SAMPLERS[self.sampler](self, number, name)


def _distribution(spread: Range | Choices, *, is_integer: bool) -> BaseDistribution:
    if isinstance(spread, Choices):
        return CategoricalDistribution(spread.choices)
    if is_integer:
        return IntDistribution(int(spread.low), int(spread.high), log=spread.log)
    return FloatDistribution(spread.low, spread.high, log=spread.log)


def _draw(trial: Trial, name: str, distribution: BaseDistribution) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(name, distribution.low, distribution.high, log=distribution.log)
    assert isinstance(distribution, FloatDistribution)
    return trial.suggest_float(name, distribution.low, distribution.high, log=distribution.log)


class _GaussianProcess(GPSampler):
    """Optuna's, which would take a trial that was interrupted after its draw for another one that is running."""

    def __init__(self, number: int, **options: Any) -> None:
        super().__init__(**options)
        self._number = number

    def _sample_relative_impl(
        self, study: optuna.Study, completed: list[FrozenTrial], running: list[FrozenTrial], space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return super()._sample_relative_impl(study, completed, [trial for trial in running if trial.number != self._number], space)


class _Sequence(QMCSampler):
    """Optuna's, with trial k at the place k - 1 of the sequence (trial 0 holds the defaults).

    Optuna counts places in the study, where one that was interrupted counts twice and two workers may count the same one, and takes the
    space from the trials that it finds.
    """

    def __init__(self, number: int, space: dict[str, BaseDistribution], seed: int) -> None:
        super().__init__(scramble=True, seed=seed)
        self._place = max(number - 1, 0)
        self._space = space

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._space

    def _find_sample_id(self, study: optuna.Study, search_space: dict[str, BaseDistribution]) -> int:
        return self._place


SAMPLERS: dict[str, Callable[[Search, int, str], BaseSampler]] = {
    "tpe": lambda search, *draw: TPESampler(seed=search.seed_of(*draw), n_startup_trials=search.startup_trials),
    "gp": lambda search, *draw: _GaussianProcess(draw[0], seed=search.seed_of(*draw), n_startup_trials=search.startup_trials),
    "qmc": lambda search, number, _: _Sequence(number, search.distributions(), search.seed_of("sequence")),
    "random": lambda search, *draw: RandomSampler(seed=search.seed_of(*draw)),
}
"""By name, given the number of a trial and what is drawn for it."""
