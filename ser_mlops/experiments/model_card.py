"""The card of a trained model, README.md beside its weights: what it is, what it was trained on, how it scored, and what it is not for."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from ser_mlops.data.audio.format import SAMPLE_RATE
from ser_mlops.data.corpora.registry import corpus_named
from ser_mlops.data.lock import Version
from ser_mlops.experiments.card_metadata import front_matter
from ser_mlops.experiments.plan import Training
from ser_mlops.models.aliases import ALIASES, LICENCES
from ser_mlops.models.vectors import VECTORS
from ser_mlops.scores.metrics import SELECTABLE, TABLE_SCORES
from ser_mlops.scores.tables import markdown
from ser_mlops.settings.sections import Settings
from ser_mlops.settings.training import BASELINE
from ser_mlops.tracking.provenance import code_hash, commit_tags

CLASSIFIERS_IN_WORDS = {"svm": "a support vector machine with an RBF kernel", "logistic": "a logistic regression"}
SYNTHETIC = """> **SYNTHETIC.** This model was trained and tested on synthesised sounds. It shows how a model goes through the
> laboratory; its scores say nothing about speech, and it must not be used on people."""
LIMITS = """\
- The corpora are acted or chosen speech of few speakers: expect lower scores on everyday speech, other languages and microphones.
- It always answers with one of its emotions, also to silence, music and noise, and its probabilities are as well calibrated as the
  figure `reliability` of its run shows for the test clips, not for the place where it is used.
- An emotion that is heard is not an emotion that is felt. Do not use it to decide about people.
- Scores differ between speakers, genders and languages: see the tables of `compare` before relying on it for a group."""


def model_card(
    training: Training,
    best_epochs: Mapping[int, int],
    scores: Mapping[str, Mapping[str, float]],
    settings: Settings,
    versions: Mapping[str, Version],
    note: str,
) -> str:
    """Return the card as Markdown with the front matter of the Hugging Face hub.

    `best_epochs` are those of the rounds: of one, or of several whose ensemble it is. `scores` are those on the test clips by test set,
    under "" those of all together; `note` is what figures say of synthetic data.
    """
    train = settings.train
    about = _baseline(settings) if train.model == BASELINE else _network(settings, tuple(best_epochs.values()))
    is_ensemble = len(best_epochs) > 1
    what = f"ensemble of {len(best_epochs)} rounds" if is_ensemble else f"round {next(iter(best_epochs))}"
    title = f"{training.name}, {what}: {train.model}"
    return (
        "\n\n".join(
            [
                f"---\n{front_matter(training, title, about.library, train.model, _shown(scores), note)}\n---",
                f"# {title}",
                *([SYNTHETIC] if note else []),
                *([_ensemble(len(best_epochs), train.model)] if is_ensemble else []),
                f"{_emotions(training)} Experiment type `{train.experiment_type}`, {about.model}",
                f"{about.opened} `contract.json` says what must happen to a recording before.",
                "## Data",
                _sides(training),
                _split(training, settings),
                _versions(versions),
                "## Scores on test clips",
                _scores(scores),
                _lengths(training, settings),
                "## Limits",
                LIMITS,
                "## Licences",
                f"- {about.licence}\n" + _licences(versions, settings, note),
                f"Code: {_code()}.",
            ]
        )
        + "\n"
    )


def served_window(settings: Settings) -> float:
    """Return the seconds beyond which a served model answers in windows: those of its evaluation where that cut windows, too."""
    return float(settings.train.max_seconds or 0) if _evaluates_windows(settings) else settings.serving.window_seconds


def serving_obstacle(settings: Settings) -> str:
    """Return why the model of a round cannot classify a recording by itself; empty if it can."""
    if settings.train.model == BASELINE or settings.train.feature_norm != "speaker":
        return ""
    return "trained with feature_norm=speaker: its head takes outputs standardised over all clips of a speaker, not one recording"


def _evaluates_windows(settings: Settings) -> bool:
    train = settings.train
    return train.model != BASELINE and train.evaluate_long == "windows" and train.max_seconds is not None


@dataclass(frozen=True)
class _About:
    """What a card says of the kind of model."""

    library: str
    model: str
    opened: str
    licence: str


def _ensemble(num_rounds: int, model: str) -> str:
    differ = "nothing in the baseline is random, so they are equal" if model == BASELINE else "trained alike, each with a seed of its own"
    return (
        f"The mean of the probabilities of {num_rounds} models ({differ}): the folders `round_0` to `round_{num_rounds - 1}`. What is said "
        "of opening a folder and of its contract holds for each of them."
    )


def _network(settings: Settings, best_epochs: tuple[int, ...]) -> _About:
    train = settings.train
    epochs = f"epoch {best_epochs[0]}" if len(best_epochs) == 1 else f"epochs {', '.join(map(str, best_epochs))}"
    checkpoint = ALIASES.get(train.model, train.model)
    adapter = f", trained by {train.adapter} of rank {train.lora_rank}, which is in the weights" if train.adapter != "none" else ""
    return _About(
        "transformers",
        f"checkpoint {checkpoint}, freeze `{train.freeze}`{adapter}; the weights are those of {epochs} of {train.epochs}, the "
        f"best on validation by {train.select_by}.",
        "`AutoModelForAudioClassification.from_pretrained` opens this folder."
        + (f" **It was {obstacle}, so what it answers to one is meaningless.**" if (obstacle := serving_obstacle(settings)) else ""),
        f"checkpoint {checkpoint}: {LICENCES.get(train.model, 'see its own card')}",
    )


def _baseline(settings: Settings) -> _About:
    chosen = settings.baseline
    kernel = f", gamma {chosen.gamma}" if chosen.classifier == "svm" else ""
    return _About(
        "sklearn",
        f"the baseline: {VECTORS[chosen.features].size} numbers of a clip ({chosen.features}), standardised, into "
        f"{CLASSIFIERS_IN_WORDS[chosen.classifier]} (C {chosen.C:g}{kernel}) that weighs emotions inversely to their number of clips; its "
        "scores become probabilities at the temperature that fits the validation clips best.",
        "`skops.io.load` opens `pipeline.skops`, a scikit-learn pipeline, without unpickling anything.",
        f"features: {VECTORS[chosen.features].licence}",
    )


def _emotions(training: Training) -> str:
    """Say which emotions the model has heard, and which it can answer all the same."""
    counts = training.sides["train"]["emotions"].value_counts()
    heard = [emotion for emotion in training.space.classes if counts.get(emotion, 0)]
    unheard = [emotion for emotion in training.space.classes if emotion not in heard]
    answers = f" It was trained on no clip of {' or '.join(unheard)}, and an answer of that name means nothing." if unheard else ""
    joined = "".join(f" Its {into} is {emotion}, too." for emotion, into in training.space.joined)
    others = training.space.left_out
    outside = (
        f" Clips of {' or '.join(others)} were left out of training and tests: a recording of them gets one of its names." if others else ""
    )
    return f"Classifies speech into {', '.join(heard)}.{answers}{joined}{outside}"


def _sides(training: Training) -> str:
    return markdown(
        pd.DataFrame(
            [
                {"side": side, "corpus": corpus, "clips": len(clips), "speakers": clips["speaker"].nunique()}
                for side, frame in training.sides.items()
                for corpus, clips in frame.groupby("corpus", observed=True)
            ]
        )
    )


def _split(training: Training, settings: Settings) -> str:
    kept = ", ".join(f"{unit} of {corpus}" for corpus, unit in training.validation_by.items())
    rules = settings.catalogue
    return (
        f"Split by {settings.frames.split} ({training.speakers}); "
        f"fold held out: {'none' if training.fold is None else training.fold}; kept whole in validation: {kept}; "
        f"calm: {rules.calm}, contempt: {rules.contempt}, labels: {rules.labels_in_words}."
    )


def _versions(versions: Mapping[str, Version]) -> str:
    return markdown(
        pd.DataFrame(
            [
                {"corpus": corpus, "frame (MD5, DVC)": version.frame_md5, "audio (MD5, DVC)": version.audio_md5}
                for corpus, version in versions.items()
            ]
        )
    )


def _shown(scores: Mapping[str, Mapping[str, float]]) -> dict[str, Mapping[str, float]]:
    """Return the scores by test set; those of all together where there are several."""
    return {name: values for name, values in scores.items() if name or len(scores) > 2}


def _scores(scores: Mapping[str, Mapping[str, float]]) -> str:
    recalls = {name: value for name, value in scores[""].items() if name.startswith("recall/")}
    return (
        markdown(
            pd.DataFrame(
                [
                    {"test set": name or "all together"} | {score: values[score] for score in TABLE_SCORES if score in SELECTABLE}
                    for name, values in _shown(scores).items()
                ]
            )
        )
        + "\n\nRecall: "
        + ", ".join(f"{name.removeprefix('recall/')} {value:.3f}" for name, value in recalls.items())
        + "."
    )


def _lengths(training: Training, settings: Settings) -> str:
    """Say for which recordings the model as it is served answers what its scores were computed from."""
    seconds = served_window(settings)
    lengths = pd.concat(training.tests.values())["num_samples"]
    num_longer = int((lengths > round(seconds * SAMPLE_RATE)).sum())
    evaluated = "by the mean of its windows' logits" if _evaluates_windows(settings) else "whole"
    return (
        f"A recording of at most {seconds:g} s is classified as it was evaluated. A longer one was evaluated {evaluated}; as served, "
        f"each of its windows gets an answer of its own ({num_longer} of {len(lengths)} test clips are longer)."
    )


def _licences(versions: Mapping[str, Version], settings: Settings, note: str) -> str:
    of = "synthetic sounds in the naming of " if note else ""
    return "\n".join(f"- {of}{name}: {corpus_named(name, settings.data.own_corpora).licence}" for name in versions)


def _code() -> str:
    commit = commit_tags()
    changes = " with changes" if commit["dirty"] == "true" else ""
    return f"commit {commit['commit'][:12]}{changes}, SHA-256 of ser_mlops {code_hash()[:16]}"
