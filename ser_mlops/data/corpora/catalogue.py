"""The catalogue of a corpus: one row per file found, with the label rules applied and their effect recorded.

| column | what |
|---|---|
| path, code, speaker, gender, language, text, part | what the scan found; speaker as CREMA/1001 |
| emotion, labels | after the rules; "" and -1 where the file is left out |
| group | clips that share a speaker or a scene, directly or through others: CREMA/1001 |
| perceived | what most listeners heard: an emotion before any rule, TIE where several lead, "" where nobody was asked |
| votes_neutral … votes_surprise, votes_other | how many listeners heard it |
| reason | "" or why the file is left out: by its name or by a rule |
| rule | the rule that changed the emotion or left the clip out: `calm: neutral`, `contempt: drop`, `labels: perceived` |

`attrs["other_files"]` counts the files without an audio suffix, by suffix (parquet keeps it).
"""

from collections.abc import Mapping

import pandas as pd

from ser_mlops.data.corpora.base import TIE, UNKNOWN, Clip, Corpus
from ser_mlops.data.corpora.scan import Found, Scan
from ser_mlops.emotions import EMOTIONS, LABELS, OTHER, VOTES
from ser_mlops.errors import DataError

NAMED = ("path", "code", "emotion", "labels", "speaker", "gender", "language", "text", "group", "part")
COLUMNS = (*NAMED, "perceived", *VOTES, "reason", "rule")
NO_LABEL = -1


def catalogue(corpus: Corpus, scan: Scan, rules: Mapping[str, str]) -> pd.DataFrame:
    """Return the catalogue of a scanned corpus.

    Args:
        corpus: which one.
        scan: what is in its folder.
        rules: the choice for each rule: calm, contempt, labels.

    Raises:
        DataError: no clip is left, or perceived labels are requested where there are none.
    """
    choice = rules[corpus.rule] if corpus.rule else ""
    if choice == "perceived" and not any(item.clip is not None and (item.clip.perceived or item.is_imported) for item in scan.found):
        raise DataError(
            f"{corpus.name}: labels=perceived needs processedResults/summaryTable.csv or tabulatedVotes.csv in the corpus's folder"
        )
    groups = iter(group_clips([item.clip for item in scan.found if item.clip is not None]))
    rows = [_row(corpus, item, f"{corpus.name}/{next(groups)}" if item.clip else "", choice) for item in scan.found]
    table = pd.DataFrame(rows, columns=list(COLUMNS)).astype(dict.fromkeys(COLUMNS, "str") | dict.fromkeys(("labels", *VOTES), "int64"))
    if (table["labels"] == NO_LABEL).all():
        counts = ", ".join(f"{count} {reason}" for reason, count in table["reason"].value_counts().head(5).items())
        raise DataError(f"no clip of {corpus.name} is left: {counts}")
    table.attrs["other_files"] = scan.other_files
    return table


def _row(corpus: Corpus, item: Found, group: str, choice: str) -> tuple[str | int, ...]:
    clip = item.clip
    if clip is None:
        return (item.path, "", "", NO_LABEL, *[""] * 7, *[0] * len(VOTES), item.reason, "")
    emotion, reason, rule = apply_rule(corpus, clip, item.emotion, "" if item.is_imported and choice == "perceived" else choice)
    described = (f"{corpus.name}/{clip.speaker}", clip.gender, clip.language, clip.text, group, clip.part)
    perceived, votes = corpus.emotions.get(clip.perceived, clip.perceived), votes_by_emotion(corpus, clip)
    return (item.path, clip.code, emotion, LABELS.get(emotion, NO_LABEL), *described, perceived, *votes, reason, rule)


def votes_by_emotion(corpus: Corpus, clip: Clip) -> list[int]:
    """Return how many listeners heard each of EMOTIONS, and last any other; the order of VOTES."""
    counts = dict.fromkeys((*EMOTIONS, OTHER), 0)
    for code, number in clip.votes.items():
        heard = corpus.emotions.get(code, code)
        counts[heard if heard in LABELS else OTHER] += number
    return list(counts.values())


def apply_rule(corpus: Corpus, clip: Clip, emotion: str, choice: str) -> tuple[str, str, str]:
    """Apply the corpus's rule to one clip; return its emotion, or "" and why it is left out, and the rule if it had an effect.

    Args:
        corpus: whose rule.
        clip: the clip.
        emotion: what the emotion table says of its code.
        choice: the setting of the corpus's rule: calm: neutral | drop; contempt: drop | disgust; labels: acted | perceived.
    """
    rule = ""
    if corpus.rule == "labels" and choice == "perceived":
        if clip.perceived in ("", TIE):
            return "", "listeners disagree" if clip.perceived else "no perceived emotion", "labels: perceived"
        perceived = corpus.emotions.get(clip.perceived, clip.perceived)
        emotion, rule = perceived, "labels: perceived" if perceived != emotion else ""
    elif corpus.rule == emotion:
        emotion, rule = emotion if choice == "drop" else choice, f"{corpus.rule}: {choice}"
    return (emotion, "", rule) if emotion in LABELS else ("", f"emotion: {emotion}", rule)


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
