"""How long does a sweep over learning rate and weight decay take with a frozen encoder?

HuBERT of base size (random weights), the demo's CREMA (synthetic, 120 clips, a fifth of them held out), 20 trials of one round of 20
epochs, batches of two. Ours is the command `python -m pipelines.sweep` from its start to its end: the cache filled, every trial logged to
MLflow (sqlite) as a run of its own, figures drawn, the best settings trained once more and tested. The peer is
`Trainer.hyperparameter_search(backend="optuna")` over the same space on the same clips, `freeze_base_model()` called, validating after
every epoch and saving and logging nothing. It is timed over one trial of one epoch, its model read from memory: every epoch costs it the
same, so both sides are compared by the time per epoch of a trial, and 400 of the peer's are a sweep.
"""

import copy
import os
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.harness import Claim, Contender, Work, main, scaled
from benchmarks.project import RUNS, copy_project, enter_with_material
from benchmarks.trainings import new_trainer, trainer_examples
from benchmarks.workloads import write_model

TRIALS = 20
EPOCHS = 20
CORPUS = "CREMA"


def ours(*, is_warm: bool) -> Callable[[float], Work]:
    def begin(scale: float) -> Work:
        project = copy_project([CORPUS])
        model = write_model(project.root / "model")

        def sweep(trials: int) -> None:
            project.python(
                "pipelines.sweep",
                test_dataset=CORPUS,
                model=model,
                freeze="encoder",
                trials=trials,
                rounds=1,
                epochs=EPOCHS,
                precision="float32",
            )

        def run() -> Mapping[str, float]:
            start = os.times()
            sweep(scaled(TRIALS, scale))
            end = os.times()
            busy = end.children_user + end.children_system - start.children_user - start.children_system
            return {"processor s per epoch": busy / (scaled(TRIALS, scale) * EPOCHS)}

        if is_warm:
            sweep(1)
        return Work(run, scaled(TRIALS, scale) * EPOCHS, lambda: project.remove(*RUNS, *(() if is_warm else ("cache",))))

    return begin


def trainer(scale: float) -> Work:
    material = enter_with_material(CORPUS)
    from transformers import AutoModelForAudioClassification

    loaded = AutoModelForAudioClassification.from_pretrained(material.model)
    loaded.freeze_base_model()
    train, validation = (trainer_examples(material.model, clips) for clips in (material.train, material.validation))
    search = new_trainer(material, (), train=train, validation=validation)
    search.model_init = lambda trial=None: copy.deepcopy(loaded)

    def space(trial: Any) -> dict[str, float]:
        return {
            "learning_rate": trial.suggest_float("learning_rate", 1e-6, 1e-2, log=True),
            "weight_decay": trial.suggest_float("weight_decay", 1e-4, 1e-1, log=True),
        }

    trials = scaled(1, scale)

    def run() -> Mapping[str, float]:
        start = os.times()
        search.hyperparameter_search(space, backend="optuna", n_trials=trials, direction="minimize")
        end = os.times()
        return {"processor s per epoch": (end.user + end.system - start.user - start.system) / trials}

    return Work(run, trials)


PEER = "Trainer.hyperparameter_search"
CLAIM = Claim(
    "sweep",
    "How long does a sweep over learning rate and weight decay take with a frozen encoder?",
    unit="epoch",
    contenders=(
        Contender("ser_mlops (cold cache)", ours(is_warm=False)),
        Contender("ser_mlops (warm cache)", ours(is_warm=True)),
        Contender(PEER, trainer, is_peer=True),
    ),
    aims={("ser_mlops (cold cache)", PEER): 100.0},
    repeats=1,
    warmups=0,
)

if __name__ == "__main__":
    main(CLAIM)
