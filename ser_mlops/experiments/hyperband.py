"""Hyperband as a pruner that can be resumed: which trials are stopped follows from their reports alone.

Brackets and rungs are those of Optuna's HyperbandPruner (https://jmlr.org/papers/v18/16-558.html, with the asynchronous halving of
https://arxiv.org/abs/1810.05934). That one notes in a trial that it has reached a rung before anybody knows that it is pruned there: killed
in between, the trial would pass the rung when it is resumed. It also hands samplers the trials of one bracket, but not before its first
report in a process, so that what a resumed study draws would differ.
"""

import math
from binascii import crc32
from collections.abc import Mapping

import optuna
from optuna.pruners import BasePruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

FACTOR = 3
"""Of the trials that reach a rung, one in so many goes on to the next, which is so many times as far."""


class Hyperband(BasePruner):
    """Stops trials at the steps 1, 3, 9, … (a bracket begins later than the one before); a trial has at most `max_steps`."""

    def __init__(self, max_steps: int) -> None:
        count = math.floor(math.log(max_steps, FACTOR)) + 1
        self._shares = [math.ceil(count * FACTOR ** (count - 1 - bracket) / (count - bracket)) for bracket in range(count)]

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        *before, step = sorted(trial.intermediate_values)
        bracket = self._bracket_of(study.study_name, trial.number)
        rivals = [
            other.intermediate_values
            for other in study.get_trials(deepcopy=False)
            if other.number != trial.number and self._bracket_of(study.study_name, other.number) == bracket
        ]
        value = trial.intermediate_values[step]
        rung = FACTOR**bracket
        while rung <= step:
            if not before or before[-1] < rung:  # reached by this step
                values = [value, *(reached for reports in rivals if (reached := _value_at(rung, reports)) is not None)]
                values.sort(reverse=study.direction == StudyDirection.MAXIMIZE)
                last = values[max(len(values) // FACTOR, 1) - 1]
                if not (value >= last if study.direction == StudyDirection.MAXIMIZE else value <= last):
                    return True
            rung *= FACTOR
        return False

    def _bracket_of(self, study_name: str, number: int) -> int:
        place = crc32(f"{study_name}_{number}".encode()) % sum(self._shares)
        return next(bracket for bracket in range(len(self._shares)) if place < sum(self._shares[: bracket + 1]))


def _value_at(rung: int, reports: Mapping[int, float]) -> float | None:
    """Return what a trial reported when it reached a rung; None if it did not."""
    return next((reports[step] for step in sorted(reports) if step >= rung), None)
