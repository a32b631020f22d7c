"""Makes the ensemble of an experiment's rounds one model of its parent run, which is registered and served like that of a round."""

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from ser_mlops.experiments.experiment import Experiment, round_key
from ser_mlops.experiments.model_card import model_card
from ser_mlops.experiments.plan import Training
from ser_mlops.experiments.recording import read_result
from ser_mlops.experiments.results import Result
from ser_mlops.files import hand_over, size_in_words, write_text
from ser_mlops.scores.predictions import ensemble_of
from ser_mlops.serving.champion import ENSEMBLE_TABLES, LoggedEnsemble, best_round, fetched, refuse_freed
from ser_mlops.serving.predictor import CARD, ENSEMBLE_FACTS, ENSEMBLE_FOLDER, ROUND_FOLDER, Predictor
from ser_mlops.tracking.sender import Sender
from ser_mlops.tracking.store import MlflowClient, Run, child_key, children_of, find_run, open_store, using_store


def log_ensemble(experiment: Experiment, parent_id: str) -> LoggedEnsemble:
    """Log the ensemble of the rounds of a finished experiment as a model of its parent run, with its prediction tables.

    Where there are several trainings (folds, corpora), it is of that which validation likes best. Doing it again makes no second one.

    Raises:
        ModelError: the model of a round was freed.
        TrackingError: the store cannot be used.
    """
    with using_store():
        client = open_store()
        parent = find_run(client, parent_id)
        training, rounds = _rounds_of_best(client, experiment, parent)
        for run in rounds.values():
            refuse_freed(run)
        results = {
            round: read_result(client, run.info.run_id, training, round, is_baseline=experiment.is_baseline)
            for round, run in rounds.items()
        }
        tables = {name: ensemble_of([result.tables[name] for result in results.values()]) for name in training.tests}
        with TemporaryDirectory(dir=experiment.settings.paths.checkpoints) as staging:
            card = _card(experiment, training, tables, {round: result.best_epoch for round, result in results.items()})
            folder = _assemble(experiment, rounds, card, Path(staging), parent_id)
            size = sum(file.stat().st_size for file in (folder / ENSEMBLE_FOLDER).rglob("*") if file.is_file())
            words = f"{len(rounds)} rounds of {training.name}"
            for name, table in tables.items():
                table.to_parquet(Path(staging) / f"test_{name}.parquet", index=False)
                client.log_artifact(parent_id, str(Path(staging) / f"test_{name}.parquet"), ENSEMBLE_TABLES)
            named = f"{training.name} ensemble of {len(rounds)} rounds {experiment.settings.train.model.replace('/', ' ')}"
            model_id = Sender(client).log_model(parent_id, folder, named, scores="_ensemble")
    return LoggedEnsemble(model_id, f"{words}, {size_in_words(size)}")


def _rounds_of_best(client: MlflowClient, experiment: Experiment, parent: Run) -> tuple[Training, dict[int, Run]]:
    """Return the training that has the best round, and the runs of all its rounds."""
    training, _ = experiment.find_round(child_key(best_round(client, parent)))
    runs = {child_key(run): run for run in children_of(client, parent)}
    return training, {round: runs[round_key(training, round)] for round in range(experiment.settings.train.rounds)}


def _card(experiment: Experiment, training: Training, tables: Mapping[str, pd.DataFrame], best_epochs: Mapping[int, int]) -> str:
    scores = Result(training, 0, 0, pd.DataFrame(), tables).scores
    return model_card(training, best_epochs, scores, experiment.settings, experiment.versions, experiment.note)


def _assemble(experiment: Experiment, rounds: Mapping[int, Run], card: str, staging: Path, parent_id: str) -> Path:
    """Return the folder of an MLflow model that holds the model folders of some rounds; it has been opened as it will be served."""
    from ser_mlops.serving.pyfunc import save_pyfunc  # imports MLflow's servers

    together = staging / ENSEMBLE_FOLDER
    for round, run in rounds.items():
        with fetched(run.info.run_id, staging) as model_folder:
            hand_over(model_folder, together / f"{ROUND_FOLDER}{round}")
    facts = {"experiment": parent_id, "rounds": {f"{ROUND_FOLDER}{round}": run.info.run_id for round, run in rounds.items()}}
    write_text(together / ENSEMBLE_FACTS, json.dumps(facts, indent=2) + "\n")
    write_text(together / CARD, card)
    predictor = Predictor.open(together)
    folder = staging / "model"
    save_pyfunc(folder, experiment.settings.serving.model_dump(exclude={"window_seconds"}), predictor.model)
    together.rename(folder / ENSEMBLE_FOLDER)
    return folder
