"""The catalogue of a corpus: one row per file found, with the label rules applied and their effect recorded.

| column | what |
|---|---|
| path, code, speaker, gender, language, text, part | what the scan found; speaker as CREMA/1001 |
| emotion, labels | after the rules; "" and -1 where the file is left out |
| group | clips that share a speaker or a scene, directly or through others: CREMA/1001 |
| perceived | what most listeners heard: an emotion before any rule, TIE where several lead, "" where nobody was asked |
| votes_neutral … votes_surprise, votes_other | how many listeners heard it |
| num_labels | how many emotions count as the clip's label: 1, or another number by the rules of `labels` |
| reason | "" or why the file is left out: by its name or by a rule |
| rule | the rule that changed the emotion or left the clip out: `calm: neutral`, `labels: perceived`, `ties: both` |

`attrs["other_files"]` counts the files without an audio suffix, by suffix (parquet keeps it).
"""

from collections.abc import Mapping

import pandas as pd

from ser_mlops.data.corpora.base import TIE, UNKNOWN, Clip, Corpus
from ser_mlops.data.corpora.labels import ACTED, Label, choice_for, choose_label, leading_emotions, votes_by_emotion
from ser_mlops.data.corpora.scan import Found, Scan
from ser_mlops.emotions import LABELS, VOTES
from ser_mlops.errors import DataError

NAMED = ("path", "code", "emotion", "labels", "speaker", "gender", "language", "text", "group", "part")
COLUMNS = (*NAMED, "perceived", *VOTES, "num_labels", "reason", "rule")
NO_LABEL = -1


def catalogue(corpus: Corpus, scan: Scan, rules: Mapping[str, str | Mapping[str, str]]) -> pd.DataFrame:
    """Return the catalogue of a scanned corpus.

    Args:
        corpus: which one.
        scan: what is in its folder.
        rules: the choice for each rule: calm, contempt, labels (of all corpora, or by corpus), ties.

    Raises:
        DataError: no clip is left, or labels are to be what listeners heard and there are none.
    """
    choice = choice_for(corpus, scan, rules)
    groups = iter(group_clips([item.clip for item in scan.found if item.clip is not None]))
    rows = [_row(corpus, item, f"{corpus.name}/{next(groups)}" if item.clip else "", choice, rules) for item in scan.found]
    numbers = dict.fromkeys(("labels", *VOTES, "num_labels"), "int64")
    table = pd.DataFrame(rows, columns=list(COLUMNS)).astype(dict.fromkeys(COLUMNS, "str") | numbers)
    if (table["labels"] == NO_LABEL).all():
        counts = ", ".join(f"{count} {reason}" for reason, count in table["reason"].value_counts().head(5).items())
        raise DataError(f"no clip of {corpus.name} is left: {counts}")
    table.attrs["other_files"] = scan.other_files
    return table


def _row(corpus: Corpus, item: Found, group: str, choice: str, rules: Mapping[str, str | Mapping[str, str]]) -> tuple[str | int, ...]:
    clip = item.clip
    if clip is None:
        return (item.path, "", "", NO_LABEL, *[""] * 7, *[0] * len(VOTES), 0, item.reason, "")
    label = choose_label(corpus, clip, item.emotion, ACTED if item.is_imported else choice, str(rules.get("ties")))
    label = label if label.reason else apply_rule(corpus, label, str(rules.get(corpus.rule)))
    described = (f"{corpus.name}/{clip.speaker}", clip.gender, clip.language, clip.text, group, clip.part)
    heard, votes = leading_emotions(corpus, clip), votes_by_emotion(corpus, clip).values()
    perceived = TIE if len(heard) > 1 else next(iter(heard), clip.perceived)
    labelled = (item.path, clip.code, label.emotion, LABELS.get(label.emotion, NO_LABEL))
    return (*labelled, *described, perceived, *votes, label.num_labels if label.emotion else 0, label.reason, label.rule)


def apply_rule(corpus: Corpus, label: Label, choice: str) -> Label:
    """Apply the corpus's rule on calm or contempt to a label; an emotion that is not one of the seven then leaves the clip out.

    `choice` is the setting of that rule: calm: neutral | drop; contempt: drop | disgust.
    """
    if corpus.rule == label.emotion:
        label = label._replace(emotion=label.emotion if choice == "drop" else choice, rule=f"{corpus.rule}: {choice}")
    return label if label.emotion in LABELS else Label("", reason=f"emotion: {label.emotion}", rule=label.rule)


def group_clips(clips: list[Clip]) -> list[str]:
    """Return the group of every clip: clips that share a known speaker or a scene, directly or through others, are one group.

    Where an official partition divides a group, the partition wins and each side is a group of its own (`97@test1`).
    """
    keys = [_keys(clip) for clip in clips]
    parents: dict[tuple[str, str], tuple[str, str]] = {}

    def root(key: tuple[str, str]) -> tuple[str, str]:
        parents.setdefault(key, key)
        while parents[key] != key:
            parents[key] = parents[parents[key]]
            key = parents[key]
        return key

    for first, *rest in keys:
        for other in rest:
            low, high = sorted((root(first), root(other)))
            parents[high] = low
    groups = [root(own[0])[1] for own in keys]
    parts: dict[str, set[str]] = {}
    for group, clip in zip(groups, clips, strict=True):
        parts.setdefault(group, set()).add(clip.part)
    return [f"{group}@{clip.part}" if len(parts[group]) > 1 else group for group, clip in zip(groups, clips, strict=True)]


def _keys(clip: Clip) -> list[tuple[str, str]]:
    keys = [("scene", clip.scene)] if clip.scene else []
    if clip.speaker != UNKNOWN:
        keys.append(("speaker", clip.speaker))
    return keys or [("recording", clip.recording)]
