"""Is what comes out as good as what Trainer comes to?

The demo's CREMA (synthetic) and `tiny`, every one of its five folds held out once, three seeds, 20 epochs, batches of eight: the same
frames, initial weights, learning rate and seeds on both sides, the epoch with the best validation UAR kept, the held-out clips predicted.
Ours is `fit_round`; `transformers.Trainer` runs with the recipe's constant learning rate and without clipping (its own defaults differ),
saving after every epoch and loading the best at the end. Told are both UARs, a round being all clips tested with one seed, and their
difference with its 95 % interval (over speakers and seeds, as `compare` computes it). No worse means that the interval reaches 0 or more.
Only the recipe is proved by it, no result on people.
"""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.harness import Claim, Contender, Limit, Work, main, scaled
from benchmarks.project import copy_project
from benchmarks.trainings import Silent, new_trainer, trainer_examples
from benchmarks.workloads import Material, keep_folder

if TYPE_CHECKING:
    import numpy as np

    from ser_mlops.experiments.plan import Training
    from ser_mlops.training.recipe import Recipe

CORPUS = "CREMA"
NUM_SEEDS = 3
EPOCHS = 20
BATCH_SIZE = 8
LEARNING_RATE = 3e-3


def _train_ours(model: str, recipe: "Recipe", training: "Training", seed: int, folder: Path) -> "np.ndarray":
    """Return the logits of the held-out clips."""
    from ser_mlops.data.folders import AUDIO
    from ser_mlops.training.batching import Clips
    from ser_mlops.training.distributed import join_world
    from ser_mlops.training.evaluate import predict_logits
    from ser_mlops.training.fit import fit_round
    from ser_mlops.training.round import Round

    train, validation, test = (Clips.from_frame(frame, AUDIO) for frame in (training.train, training.validation, training.tests[CORPUS]))
    fitted = fit_round(Round(model, recipe, train, validation, seed, 0, None, {}), folder, Silent())
    return predict_logits(fitted.classifier, test, recipe.evaluation, None, join_world())


def _train_peer(model: str, recipe: "Recipe", training: "Training", seed: int, folder: Path) -> "np.ndarray":
    """Return the logits of the held-out clips, as Trainer predicts them."""
    from ser_mlops.data.folders import AUDIO
    from ser_mlops.scores.metrics import score
    from ser_mlops.training.batching import Clips

    train, validation, test = (Clips.from_frame(frame, AUDIO) for frame in (training.train, training.validation, training.tests[CORPUS]))
    labels = set(train.labels.tolist())
    material = Material(folder, model, train, validation)
    trainer = new_trainer(
        material,
        (),
        train=trainer_examples(model, train),
        validation=trainer_examples(model, validation),
        num_train_epochs=recipe.epochs,
        seed=seed,
        learning_rate=recipe.lr,
        weight_decay=recipe.weight_decay,
        per_device_train_batch_size=recipe.batch_size,
        lr_scheduler_type="constant",
        max_grad_norm=0.0,
        save_strategy="epoch",
        save_total_limit=1,
        load_best_model_at_end=True,
        metric_for_best_model="uar",
        greater_is_better=True,
    )
    trainer.compute_metrics = lambda predicted: {"uar": score(predicted.predictions, predicted.label_ids, labels)["uar"]}
    trainer.train()
    return trainer.predict(trainer_examples(model, test)).predictions


def both(scale: float) -> Work:
    """Train both sides with every seed on every fold, in one thread: the matrices of `tiny` are too small to share out."""
    import pandas as pd
    import torch

    from ser_mlops.experiments.experiment import prepare
    from ser_mlops.models.build import load_classifier
    from ser_mlops.scores.comparison import compare
    from ser_mlops.scores.predictions import prediction_table
    from ser_mlops.settings.reading import read_settings

    torch.set_num_threads(1)
    project = copy_project([CORPUS])
    project.enter()
    given = {
        "test_dataset": CORPUS,
        "fold": "all",
        "model": "tiny",
        "epochs": str(EPOCHS),
        "batch_size": str(BATCH_SIZE),
        "lr": str(LEARNING_RATE),
        "precision": "float32",
    }
    experiment = prepare(read_settings(given={f"train.{name}": value for name, value in given.items()}))
    recipe = replace(experiment.recipe, select_by="uar")
    folder = Path(keep_folder().name)

    def rounds(train: Any) -> list[pd.DataFrame]:
        tables = []
        for seed in range(1, scaled(NUM_SEEDS, scale) + 1):
            model = str(folder / f"model-{seed}")
            load_classifier("tiny", seed=seed).save(Path(model))
            parts = []
            for training in experiment.trainings:
                shutil.rmtree(folder / "work", ignore_errors=True)
                parts.append(prediction_table(training.tests[CORPUS], train(model, recipe, training, seed, folder / "work")))
            tables.append(pd.concat(parts, ignore_index=True))
        return tables

    def run() -> Mapping[str, float]:
        comparison = compare({"Trainer": rounds(_train_peer), "ser_mlops": rounds(_train_ours)}, seed=1)
        uar = comparison.rounds.mean(axis=1)
        difference = comparison.differences.set_index("score").loc["uar"]
        return {
            "UAR, ser_mlops": float(uar["ser_mlops"]),
            "UAR, Trainer": float(uar["Trainer"]),
            "difference": float(difference["difference"]),
            LOW: float(difference["ci_low"]),
            HIGH: float(difference["ci_high"]),
        }

    return Work(run, scaled(NUM_SEEDS, scale) * len(experiment.trainings))


LOW, HIGH = "difference, low end of its 95 % interval", "difference, high end of its 95 % interval"
NAME = "ser_mlops beside Trainer"
CLAIM = Claim(
    "quality",
    "Is what comes out as good as what Trainer comes to?",
    unit="training",
    contenders=(Contender(NAME, both),),
    limits=(
        Limit(NAME, None, "UAR, ser_mlops"),
        Limit(NAME, None, "UAR, Trainer"),
        Limit(NAME, None, "difference"),
        Limit(NAME, None, LOW),
        Limit(NAME, 0.0, HIGH, is_least=True),
    ),
    repeats=1,
    warmups=0,
    passes=1,
)

if __name__ == "__main__":
    main(CLAIM)
