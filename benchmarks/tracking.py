"""Which share of a round's time goes into logging it?

HuBERT of base size (random weights), the demo's SAVEE (synthetic), a tracking store of its own (sqlite) that fills as rounds go. Ours is a
round of the entry point `main` in which everything is trained, and one with a frozen encoder whose cache is warm (seconds instead of an
hour, so that the same logging weighs most). Logged are settings, data, every epoch, scores, predictions, figures and the model. The peer
is `transformers.Trainer` with `report_to="mlflow"`, as people write it: settings and metrics, no predictions, no figures, no model.

What counts as logging is the time during which training waits: in the functions that record, in the end of the notebook, in which the last
records and the model are sent, and in Trainer's callback. Beside it stands the processor time of sending, most of it in a thread of its
own meanwhile. Where everything is trained, one epoch is timed and multiplied by 20, the recipe's; what is logged once per round counts
once.
"""

import os
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.harness import Claim, Contender, Limit, Work, main, scaled
from benchmarks.project import copy_project, enter_with_material
from benchmarks.trainings import new_trainer, trainer_examples
from benchmarks.workloads import write_model

CORPUS = "SAVEE"
EPOCHS = 20
SHARE = "% of a round spent logging"


@dataclass
class Clock:
    """Adds up the time that is spent in some functions, counting one that calls another once."""

    read: Callable[[], float] = time.perf_counter
    seconds: float = 0.0
    depth: int = 0

    @contextmanager
    def running(self) -> Any:
        start, self.depth = self.read(), self.depth + 1
        try:
            yield
        finally:
            self.depth -= 1
            if not self.depth:
                self.seconds += self.read() - start

    def watch(self, owner: Any, *names: str) -> None:
        """Time some functions of a module or class from now on."""
        for name in names:
            setattr(owner, name, self._timed(getattr(owner, name)))

    def _timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **options: Any) -> Any:
            with self.running():
                return function(*arguments, **options)

        return timed


def ours(freeze: str, epochs: int) -> Callable[[float], Work]:
    """A round of so many epochs, of which its 20 are reckoned."""

    def begin(scale: float) -> Work:
        project = copy_project([CORPUS])
        project.enter()
        model = write_model(project.root / "model")
        from ser_mlops.experiments import recording as notes
        from ser_mlops.experiments import rounds
        from ser_mlops.experiments.experiment import prepare
        from ser_mlops.settings.reading import read_settings
        from ser_mlops.tracking import outbox

        number = scaled(epochs, scale)
        per_epoch, per_round, sending = Clock(), Clock(), Clock(time.thread_time)
        per_epoch.watch(notes.EpochLog, "epoch")
        per_round.watch(rounds, "describe_experiment", "begin_training", "record_result", "record_model", "record_summary")
        per_round.watch(outbox.Outbox, "flush", "close")
        sending.watch(outbox, "send")
        given = {"test_dataset": CORPUS, "model": model, "freeze": freeze, "epochs": str(number), "rounds": "1", "precision": "float32"}

        def conduct() -> None:
            rounds.conduct(prepare(read_settings(given={f"train.{name}": value for name, value in given.items()})))

        def run() -> Mapping[str, float]:
            per_epoch.seconds = per_round.seconds = sending.seconds = 0.0
            start = time.perf_counter()
            conduct()
            share = _share(time.perf_counter() - start, per_epoch.seconds, per_round.seconds, number)
            return share | {"sending: processor s per round": sending.seconds}

        if freeze == "encoder":
            conduct()
        return Work(run, number)

    return begin


def _share(seconds: float, per_epoch: float, per_round: float, epochs: int) -> dict[str, float]:
    """Reckon a round of 20 epochs from one of another number."""
    of_epochs = (seconds - per_round) * EPOCHS / epochs
    logging = per_epoch * EPOCHS / epochs + per_round
    return {SHARE: 100 * logging / (of_epochs + per_round), "logging: s per round": logging, "round: s": of_epochs + per_round}


def trainer(scale: float) -> Work:
    material = enter_with_material(CORPUS)
    os.environ["MLFLOW_EXPERIMENT_NAME"] = "peer"
    from transformers.integrations.integration_utils import MLflowCallback

    number, per_epoch, per_round = scaled(1, scale), Clock(), Clock()
    per_epoch.watch(MLflowCallback, "on_log")
    per_round.watch(MLflowCallback, "setup", "on_train_begin", "on_train_end", "on_save")
    train, validation = (trainer_examples(material.model, clips) for clips in (material.train, material.validation))

    def run() -> Mapping[str, float]:
        per_epoch.seconds = per_round.seconds = 0.0
        start = time.perf_counter()
        new_trainer(material, (), train=train, validation=validation, num_train_epochs=number, report_to=["mlflow"]).train()
        return _share(time.perf_counter() - start, per_epoch.seconds, per_round.seconds, number)

    return Work(run, number)


CLAIM = Claim(
    "tracking",
    "Which share of a round's time goes into logging it?",
    unit="epoch",
    contenders=(
        Contender("ser_mlops (everything trained)", ours("none", 1), kind="everything trained"),
        Contender("ser_mlops (frozen encoder with a warm cache)", ours("encoder", EPOCHS), kind="frozen"),
        Contender('Trainer (report_to="mlflow")', trainer, is_peer=True),
    ),
    limits=(
        Limit("ser_mlops (everything trained)", 2.0, SHARE),
        Limit("ser_mlops (frozen encoder with a warm cache)", None, SHARE),
        Limit('Trainer (report_to="mlflow")', None, SHARE),
    ),
    repeats=1,
    warmups=0,
    passes=4,
)

if __name__ == "__main__":
    main(CLAIM)
