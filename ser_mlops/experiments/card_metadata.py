"""What the Hugging Face hub reads of a model card, in the hub's words: the front matter of README.md.

No licence is in it: that of the model follows from those of checkpoint and corpora, which the card lists, and is chosen by who publishes.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from huggingface_hub import EvalResult, ModelCardData

from ser_mlops.experiments.plan import Training
from ser_mlops.models.aliases import ALIASES

TASK, TASK_IN_WORDS = "audio-classification", "Speech emotion recognition"
METRICS = {
    "uar": ("recall", "UAR (unweighted average recall)", {"average": "macro"}),
    "accuracy": ("accuracy", "Accuracy (WA)", None),
    "f1_macro": ("f1", "F1, macro average", {"average": "macro"}),
}
"""Score -> the hub's metric, its name there, and what tells it from others of that metric."""
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def front_matter(training: Training, title: str, library: str, model: str, scores: Mapping[str, Mapping[str, float]], note: str) -> str:
    """Return the front matter as YAML.

    `scores` are those of the test sets that the card shows, `note` is what figures say of synthetic data.
    """
    data = ModelCardData(
        language=sorted(map(str, training.train["language"].unique())),
        library_name=library,
        pipeline_tag=TASK,
        tags=["speech-emotion-recognition", *(["synthetic"] if note else [])],
        base_model=hub_id_of(model),
        datasets=[_id_of(corpus, note) for corpus in training.train_datasets],
        metrics=[metric for metric, *_ in METRICS.values()],
        model_name=title,
        eval_results=[
            EvalResult(
                task_type=TASK,
                task_name=TASK_IN_WORDS,
                dataset_type=_id_of(name or "all", note),
                dataset_name=f"{name or 'all test sets together'}{' (synthetic)' if note else ''}",
                dataset_split="test",
                dataset_args=None if training.fold is None else {"fold": training.fold},
                metric_type=metric,
                metric_name=shown,
                metric_args=arguments,
                metric_value=float(values[score]),
            )
            for name, values in scores.items()
            for score, (metric, shown, arguments) in METRICS.items()
        ],
    )
    return data.to_yaml()


def hub_id_of(model: str) -> str | None:
    """Return the checkpoint on the hub from which a model was trained; None if it is none of the hub's.

    >>> hub_id_of("HuB-LL"), hub_id_of("tiny")
    ('facebook/hubert-large-ll60k', None)
    """
    checkpoint = ALIASES.get(model, model)
    return checkpoint if HUB_ID.fullmatch(checkpoint) and not Path(checkpoint).is_dir() else None


def _id_of(corpus: str, note: str) -> str:
    """Name a corpus, or the synthetic sounds in its naming."""
    return f"synthetic-{corpus}" if note else corpus
