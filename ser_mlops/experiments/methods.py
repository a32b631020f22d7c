"""The methods section of a paper, written from the record of an experiment: a paragraph and the entries that it cites.

Every sentence follows from the record: settings.yaml, tags, environment.txt and prediction tables of the runs. What the record does not
hold is not said. Citations are written [[key, key]] until the paragraph is rendered as Markdown (pandoc) or LaTeX.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ser_mlops.data.corpora.registry import corpus_named
from ser_mlops.errors import TrackingError, counted
from ser_mlops.experiments.artifacts import ENVIRONMENT_FILE, SETTINGS_FILE
from ser_mlops.experiments.bibliography import ADAMW_KEY, CHECKPOINTS, CORPORA, EGEMAPS_KEY, LORA_KEY, TOOLS, bibliography
from ser_mlops.experiments.comparison import read_rounds_by_test
from ser_mlops.models.aliases import ALIASES, TINY
from ser_mlops.models.vectors import EGEMAPS, VECTORS
from ser_mlops.settings.reading import parse_settings
from ser_mlops.settings.sections import Settings
from ser_mlops.settings.training import BASELINE
from ser_mlops.tracking.opened_run import put_opened_run_aside
from ser_mlops.tracking.store import children_of, find_run, open_store, parent_id_of, read_artifact

CITED = re.compile(r"\[\[([\w, ]+)\]\]")
PROTOCOLS = {
    "indep": "The model was trained on {train} and tested on {tests}",
    "cross": "The model was trained on {corpora} together, without a held-out fold of each, and tested on these folds",
    "matrix": "Each corpus in turn was left out of training and tested whole",
    "within": "Each corpus was used alone: every fold was held out in turn, so that every clip was tested once",
}

TIES = {"drop": "", "acted": ", of several with as many votes the acted one", "both": ", of several with as many votes each of them"}
NO_MAJORITY = {
    "perceived": "clips about which they disagree otherwise were left out",
    "votes": "clips about which they disagree otherwise have no label, and only clips with one label were tested",
}


@dataclass(frozen=True)
class Record:
    """What an experiment's runs say about it."""

    settings: Settings
    tags: Mapping[str, str]
    packages: Mapping[str, str]
    """Name -> version."""
    python: str
    corpora: Sequence[str]
    tests: Mapping[str, tuple[int, int, int]]
    """Clips, speakers and emotions of every test set."""
    num_rounds: int
    validation: Mapping[str, str]
    """Corpus -> what was kept whole in its validation clips: group, text, clip or part."""

    @property
    def is_baseline(self) -> bool:
        return self.settings.train.model == BASELINE

    @property
    def checkpoint(self) -> str:
        return ALIASES.get(self.settings.train.model, self.settings.train.model)


_TARGETS = {"hard": "", "soft": "targets the shares of the listeners' votes ({prior:g} added to each emotion)"}
_LOSSES = {
    "cross_entropy": "",
    "focal": "focal loss (Lin et al., 2017; gamma {gamma:g})",
    "logit_adjusted": "logit-adjusted cross-entropy (Menon et al., 2021; tau {tau:g})",
}
_SAMPLES = {
    "natural": "",
    "balanced": "clips drawn in equal shares for emotions and their speakers",
    "corpora": "clips drawn in equal shares for corpora, and within each for emotions and their speakers",
}
"""What the paragraph says of a setting, by its value; nothing of the defaults."""


def conduct_methods(run_id: str) -> str:
    """Write methods.md, methods.tex and citations.bib into the run of a finished experiment; return the paragraph."""
    client = open_store()
    run_id = find_run(client, run_id).info.run_id  # that of an imported run may be given as it was at home
    text = paragraph(read_record(run_id))
    client.log_text(run_id, as_markdown(text), "methods.md")
    client.log_text(run_id, as_latex(text), "methods.tex")
    client.log_text(run_id, bibliography(keys_of(text)), "citations.bib")
    put_opened_run_aside(run_id, "methods call")
    print(as_markdown(text))
    print(f"methods.md, methods.tex and citations.bib are among the artifacts of run {run_id}")
    return text


def read_record(run_id: str) -> Record:
    """Read what the runs of a finished experiment say about it.

    Raises:
        TrackingError: the run is no finished experiment.
    """
    client = open_store()
    run = find_run(client, run_id)
    if parent_id := parent_id_of(run):
        raise TrackingError(f"run {run_id} is one round of experiment {parent_id}: give the id of that experiment")
    if run.info.status != "FINISHED" or run.data.tags.get("kind") not in PROTOCOLS:
        raise TrackingError(
            f"run {run_id} is {run.info.status}, kind {run.data.tags.get('kind')}: expected a FINISHED experiment of {', '.join(PROTOCOLS)}"
        )
    settings = parse_settings(
        read_artifact(client, run_id, SETTINGS_FILE).read_text(encoding="utf-8"), f"settings.yaml of run {run_id}", is_resolved=True
    )
    first, *listed = read_artifact(client, run_id, ENVIRONMENT_FILE).read_text(encoding="utf-8").splitlines()
    by_test = read_rounds_by_test(client, run)
    tests = {name: (len(tables[0]), tables[0]["speaker"].nunique(), tables[0]["labels"].nunique()) for name, tables in by_test.items()}
    validation = {
        key.removeprefix("validation."): value.removeprefix("by ")
        for child in children_of(client, run)
        for key, value in child.data.tags.items()
        if key.startswith("validation.")
    }
    tags = run.data.tags
    return Record(
        settings=settings,
        tags=tags,
        packages=dict(line.split("==", 1) for line in listed if "==" in line),
        python=first.split()[2],
        corpora=[key.removeprefix("dvc.") for key in tags if key.startswith("dvc.")],
        tests=tests,
        num_rounds=max(map(len, by_test.values())),
        validation=validation,
    )


def paragraph(record: Record) -> str:
    """Return the paragraph, with [[key]] where something is cited."""
    parts = [_data(record), _protocol(record), _validation(record), _model(record), _training(record), _scores(record), _software(record)]
    return " ".join(filter(None, parts))


def _data(record: Record) -> str:
    named = [_corpus(record, name) for name in record.corpora]
    sentences = [f"We used {_listed(named)}."]
    if record.tags.get("data") == "synthetic":
        sentences.append(
            "The recordings are SYNTHETIC: sounds made in the naming of these corpora, not the corpora themselves; the scores say nothing."
        )
    rules = record.settings.catalogue
    if "RAVDESS" in record.corpora:
        sentences.append(f"Calm speech of RAVDESS was {'counted as neutral' if rules.calm == 'neutral' else 'left out'}.")
    if "EMOFILM" in record.corpora:
        sentences.append(f"Contempt in EmoFilm was {'left out' if rules.contempt == 'drop' else 'counted as disgust'}.")
    sentences += [_labels(record, name) for name in record.corpora]
    emotions = max(number for _, _, number in record.tests.values())
    space = record.settings.train.space
    sentences.append(f"The classes are {_listed(list(space.classes))}; the test sets have up to {emotions} of them.")
    sentences += [f"{emotion.capitalize()} was counted as {into}." for emotion, into in space.joined]
    if space.left_out:
        sentences.append(f"Clips of {_listed(list(space.left_out))} were left out.")
    return " ".join(filter(None, sentences))


def _labels(record: Record, name: str) -> str:
    """Say whose word the labels of a corpus are, where listeners of it were asked."""
    rules, corpus = record.settings.catalogue, corpus_named(name, record.settings.data.own_corpora)
    choice, title = rules.labels_of(name), _title(record, name)
    if choice == "acted":
        return f"The emotions of {title} are those that the actors meant." if corpus.rule == "labels" else ""
    if isinstance(rules.labels, str) and not corpus.votes_files:
        return ""
    return f"The emotions of {title} are those that most listeners heard{TIES[rules.ties]}; {NO_MAJORITY[choice]}."


def _title(record: Record, name: str) -> str:
    return corpus_named(name, record.settings.data.own_corpora).title.partition(" (")[0]


def _corpus(record: Record, name: str) -> str:
    title = _title(record, name)
    version = f"version {record.tags[f'dvc.{name}'][:8]} of our frame"
    return f"{title} [[{CORPORA[name]}]] ({version})" if name in CORPORA else f"{title} ({version})"


def _protocol(record: Record) -> str:
    train, tests = (
        record.settings.train,
        [f"{name} ({clips} clips, {counted(speakers, 'speaker')})" for name, (clips, speakers, _) in record.tests.items()],
    )
    trained = _listed(list(train.train_datasets) or [train.test_dataset or ""])
    said = PROTOCOLS[train.experiment_type].format(train=trained, tests=_listed(list(record.tests)), corpora=_listed(list(record.corpora)))
    fold = ""
    if (
        train.experiment_type == "indep"
        and train.test_split_source is None
        and (train.test_dataset or "") in (*train.train_datasets, *record.tests)
    ):
        fold = " (every fold held out in turn)" if train.fold == "all" else ""
    split = record.tags["split"].partition(" (")[2].rstrip(")")
    return f"{said}{fold}; {split}. Test sets: {_listed(tests)}."


def _validation(record: Record) -> str:
    by: dict[str, list[str]] = {}
    for corpus, unit in record.validation.items():
        by.setdefault(unit, []).append(corpus)
    drawn = [f"{_listed(corpora)} by {unit}" for unit, corpora in by.items() if unit != "part"]
    said = ""
    if drawn:
        share = f"{100 * record.settings.train.validation_share:g} %"
        seed = record.settings.train.seed
        said = f"For validation, {share} of the training side were set aside ({'; '.join(drawn)}), drawn from seed {seed}."
    if "part" in by:
        said += f" {_listed(by['part'])} validated on the official validation part."
    return said.strip()


def _model(record: Record) -> str:
    if record.is_baseline:
        chosen = record.settings.baseline
        size = VECTORS[chosen.features].size
        if chosen.features == EGEMAPS:
            numbers = f"the {size} functionals of eGeMAPS [[{EGEMAPS_KEY}]], computed by openSMILE [[{TOOLS['opensmile']}]]"
        else:
            numbers = f"{size} functionals of MFCC, their deltas, energy and pitch, computed by torchaudio [[{TOOLS['torchaudio']}]]"
        kernel = f", gamma {chosen.gamma}" if chosen.classifier == "svm" else ""
        name = "a support vector machine with an RBF kernel" if chosen.classifier == "svm" else "a logistic regression"
        weighed = f"(C {chosen.C:g}{kernel}, classes weighted inversely to their frequency; scikit-learn [[{TOOLS['scikit-learn']}]])"
        return f"A clip is described by {numbers}, which are standardised and classified by {name} {weighed}."
    if record.settings.train.model == TINY:
        return "The encoder is a tiny HuBERT with random weights, which exists for demonstrations."
    cited = CHECKPOINTS.get(record.checkpoint)
    citation = f" [[{', '.join(cited)}]]" if cited else ""
    heard = {"last": "its last layer, averaged over time, goes", "all": "a learned sum of all its layers, averaged over time, goes"}
    pooled = heard.get(record.settings.train.layers, "its outputs, averaged over time, go")
    return (
        f"The encoder is the checkpoint {record.checkpoint}{citation}, loaded with transformers "
        f"[[{TOOLS['transformers']}]]; {pooled} into a linear classifier."
    )


def _training(record: Record) -> str:
    train = record.settings.train
    if record.is_baseline:
        equal = f", so its {record.num_rounds} rounds are equal" if record.num_rounds > 1 else ""
        return f"Nothing in this training is random{equal}."
    rounds = f"The training was repeated in {record.num_rounds} rounds with seeds derived from {train.seed}."
    if record.num_rounds == 1:
        rounds = f"The training was run once, with seed {train.seed}."
    frozen = {
        "none": "Nothing was frozen",
        "feature_encoder": "The convolutional feature encoder was frozen",
        "encoder": "The encoder was frozen",
    }
    layers = train.freeze.partition(":")[2]
    said = frozen.get(train.freeze, f"The convolutional feature encoder and the first {layers} layers of the encoder were frozen")
    trained = "all weights were trained" if train.freeze == "none" else "the rest was trained"
    if train.adapter == "lora":
        said = "The encoder's own weights were frozen"
        size = f"rank {train.lora_rank}, alpha {train.lora_alpha:g}, dropout {train.lora_dropout:g}"
        projections = _listed([target.replace("_", "-") for target in train.lora_targets])
        where = f"its layers above the first {layers}" if layers else "its layers"
        trained = f"low-rank adapters [[{LORA_KEY}]] ({size}) beside the {projections} projections of {where}, and the head, were trained"
    extras = [
        "" if train.decay_all else "not of biases, norms and layer weights",
        f"head learning rate {train.head_lr:g}" if train.head_lr is not None else "",
        f"layer-wise decay {train.layer_decay:g}" if train.layer_decay != 1 else "",
        f"{train.schedule} schedule" if train.schedule != "constant" else "",
        f"warm-up over {100 * train.warmup:g} % of the steps" if train.warmup else "",
        f"gradients accumulated over {train.accumulate} batches" if train.accumulate != 1 else "",
        f"gradients clipped at {train.clip_norm:g}" if train.clip_norm is not None else "",
        _TARGETS[train.targets].format(prior=train.votes_prior),
        _LOSSES[train.loss].format(gamma=train.focal_gamma, tau=train.logit_tau),
        _SAMPLES[train.sample],
        f"class weights {train.class_weights}" if train.class_weights not in ("none", 0) else "",
        f"label smoothing {train.label_smoothing:g}" if train.label_smoothing else "",
        f"head inputs standardised per {train.feature_norm}" if train.feature_norm != "none" else "",
        f"augmentation by {_listed(list(train.augment))}" if train.augment else "",
        f"early stopping after {train.early_stopping} epochs without a better score" if train.early_stopping is not None else "",
        "" if train.attention_mask else "without an attention mask",
        f"clips cropped to {train.max_seconds:g} s in training" if train.max_seconds is not None else "",
    ]
    recipe = ", ".join(
        filter(None, [f"learning rate {train.lr:g}", f"weight decay {train.weight_decay:g}", f"batches of {train.batch_size}", *extras])
    )
    best = "lowest loss" if train.select_by == "loss" else f"best {_score(train.select_by)}"
    return (
        f"{said}; {trained} with AdamW [[{ADAMW_KEY}]] for at most {counted(train.epochs, 'epoch')} ({recipe}), and the epoch "
        f"with the {best} on validation was tested. {rounds}"
    )


def _scores(record: Record) -> str:
    over = "speakers and seeds" if record.num_rounds > 1 else "speakers"
    how = (
        "a jackknife over speakers and, over several rounds, their variance; Student's t"
        if record.num_rounds > 1
        else "a jackknife over speakers"
    )
    mean = " as the mean over rounds," if record.num_rounds > 1 else ""
    return f"We report the unweighted average recall (UAR){mean} with 95 % intervals over {over} ({how})."


def _software(record: Record) -> str:
    tools = ["torch", "scikit-learn"] if record.is_baseline else ["torch", "transformers"]
    versions = [
        f"{name} {record.packages[name]}" + ("" if name in ("scikit-learn", "transformers") else f" [[{TOOLS[name]}]]")
        for name in (*tools, "mlflow")
        if name in record.packages
    ]
    commit = f"commit {record.tags['commit'][:12]}{' with changes' if record.tags.get('dirty') == 'true' else ''}"
    gpu = "" if record.tags.get("gpu", "none") == "none" else f" on {record.tags['gpu']}"
    return f"Computed{gpu} with Python {record.python}, {_listed(versions)}; {commit} of the code."


def keys_of(text: str) -> list[str]:
    """Return the cited keys, in the order of their first citation.

    >>> keys_of("A [[b]] and [[c, b]].")
    ['b', 'c']
    """
    return list(dict.fromkeys(key.strip() for group in CITED.findall(text) for key in group.split(",")))


def as_markdown(text: str) -> str:
    """Return the paragraph with citations as pandoc reads them.

    >>> as_markdown("A [[b, c]].")
    'A [@b; @c].'
    """
    return CITED.sub(lambda found: f"[{'; '.join(f'@{key.strip()}' for key in found[1].split(','))}]", text)


def as_latex(text: str) -> str:
    r"""Return the paragraph in LaTeX.

    >>> as_latex("15 % of A_1 [[b, c]].")
    '15 \\% of A\\_1~\\cite{b,c}.'
    """
    escaped = re.sub(r"([&%$#_{}])", r"\\\1", text)
    return re.sub(r" \[\[([^\]]+)\]\]", lambda found: f"~\\cite{{{found[1].replace(' ', '')}}}", escaped)


def _score(name: str) -> str:
    return "UAR" if name == "uar" else name.replace("_", " ")


def _listed(names: Sequence[str]) -> str:
    """Return names with commas and an `and`.

    >>> _listed(["a"]), _listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
