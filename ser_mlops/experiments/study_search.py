"""How the trials of a study get their settings, and which trials are stopped early: the samplers and pruners of Optuna.

What a trial is given follows from (seed, number) and the finished trials alone, so a resumed study continues as if it had never stopped.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.pruners import BasePruner, MedianPruner, NopPruner, WilcoxonPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import Trial

from ser_mlops.seeds import derive
from ser_mlops.settings.search import Choices, Range

SAMPLERS: dict[str, Callable[[int, int], BaseSampler]] = {
    "tpe": lambda seed, startup: TPESampler(seed=seed, n_startup_trials=startup),
    "random": lambda seed, startup: RandomSampler(seed=seed),
}
PRUNERS: dict[str, Callable[[], BasePruner]] = {
    "none": NopPruner,
    "median": MedianPruner,
    "wilcoxon": WilcoxonPruner,
}


@dataclass(frozen=True)
class Search:
    """How the trials of a study get their settings, and which are stopped early."""

    space: Mapping[str, Range | Choices]
    integers: frozenset[str]
    """Settings of the space that count something."""
    sampler: str
    startup_trials: int
    pruner: str
    seed: int

    def suggest(self, study: optuna.Study, trial: Trial) -> dict[str, Any]:
        """Return the settings of a trial.

        Every draw has a seed of its own, so that one that was interrupted half-way draws the same; tpe, once it has learned, draws
        all of them at once.
        """
        study.sampler = self._sampler_for(trial.number, "all")
        _ = trial.relative_params  # drawn here, not by the first suggestion
        values = {}
        for name, spread in self.space.items():
            study.sampler = self._sampler_for(trial.number, name)
            if isinstance(spread, Choices):
                values[name] = trial.suggest_categorical(name, spread.choices)
            elif name in self.integers:
                values[name] = trial.suggest_int(name, int(spread.low), int(spread.high), log=spread.log)
            else:
                values[name] = trial.suggest_float(name, spread.low, spread.high, log=spread.log)
        return values

    def _sampler_for(self, number: int, name: str) -> BaseSampler:
        return SAMPLERS[self.sampler](derive(self.seed, "sweep", number, name) % 2**32, self.startup_trials)
