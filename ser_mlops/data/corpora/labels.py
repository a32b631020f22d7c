"""Which label a clip gets: that of its corpus, or what most listeners heard; and what becomes of clips on which listeners disagree.

- acted: the corpus's own label, the emotion that an actor was asked for; in MSP-Podcast the consensus of its label file.
- perceived: what most listeners heard. A clip without a majority is left out.
- votes: the same, but a clip without a majority stays if anybody heard one of the seven in it. It has no label (`num_labels` 0): it can be
  trained on as a distribution, and is not tested.

A majority is the one emotion with most votes, be they more than half of them or not. Where several lead, a tie rule decides:

- drop: the clip has no majority.
- acted: the acted emotion, where it is one of those that lead; otherwise as drop.
- both: each of those that lead is a label of the clip (`num_labels` 2 or more), where all are among the seven; otherwise as drop. Such a
  clip is trained on, its target shared between them, and is not tested: no single answer to it is right.
"""

from collections.abc import Mapping
from typing import NamedTuple

from ser_mlops.data.corpora.base import TIE, Clip, Corpus
from ser_mlops.data.corpora.scan import Scan
from ser_mlops.emotions import EMOTIONS, LABELS, OTHER
from ser_mlops.errors import DataError

ACTED, PERCEIVED, BY_VOTES = CHOICES = ("acted", "perceived", "votes")
DROP, BY_ACTED, BOTH = TIES = ("drop", "acted", "both")
DISAGREE = "listeners disagree"


class Label(NamedTuple):
    """What a clip is labelled with, before the rule on calm or contempt."""

    emotion: str
    """"" where the clip is left out. Of a clip without a majority, the one of the seven with most votes, so that folds can be balanced."""
    num_labels: int = 1
    """How many emotions count as its label: 1; 0 without a majority; 2 or more that lead together."""
    reason: str = ""
    """Why it is left out."""
    rule: str = ""
    """The rule that changed its emotion or left it out."""


def choice_for(corpus: Corpus, scan: Scan, rules: Mapping[str, str | Mapping[str, str]]) -> str:
    """Return which label the clips of a corpus get: its own choice, or the one for all corpora, which is `acted` where nobody was asked.

    Raises:
        DataError: the choice needs what listeners heard, and the corpus has nothing of it.
    """
    chosen = rules["labels"]
    is_named = not isinstance(chosen, str) and corpus.name in chosen
    choice = chosen if isinstance(chosen, str) else chosen.get(corpus.name, ACTED)
    if choice == ACTED:
        return choice
    clips = [item.clip for item in scan.found if item.clip is not None]
    was_asked, has_votes = any(clip.perceived or clip.votes for clip in clips), any(clip.votes for clip in clips)
    is_imported = any(item.is_imported for item in scan.found)
    if not was_asked and not is_named and (is_imported or corpus.rule != "labels"):
        return ACTED
    needs_votes = choice == BY_VOTES or rules["ties"] == BOTH
    if not (has_votes if needs_votes else was_asked):
        files = corpus.votes_files[:1] if needs_votes else corpus.votes_files
        what = f"{' or '.join(files)} in the corpus's folder" if files else "Clip.votes of its clips, and nobody was asked"
        also = f" with ties={BOTH}" if rules["ties"] == BOTH and choice != BY_VOTES else ""
        raise DataError(f"{corpus.name}: labels={choice}{also} needs {what}, or labels={ACTED} for {corpus.name}")
    return choice


def choose_label(corpus: Corpus, clip: Clip, acted: str, choice: str, ties: str) -> Label:
    """Return the label of a clip; `acted` is what the emotion table says of its code, `choice` one of CHOICES, `ties` one of TIES."""
    if choice == ACTED:
        return Label(acted)
    rule, leading = f"labels: {choice}", leading_emotions(corpus, clip)
    if len(leading) == 1 and (choice == PERCEIVED or leading[0] in LABELS):
        return Label(leading[0], rule=rule if leading[0] != acted else "")
    if len(leading) > 1 and ties == BY_ACTED and acted in leading:
        return Label(acted, rule=f"ties: {ties}")
    votes = votes_by_emotion(corpus, clip)
    heard = {emotion: number for emotion, number in votes.items() if number and emotion != OTHER}
    most = [emotion for emotion in heard if heard[emotion] == max(heard.values())]
    nearest = acted if acted in most else next(iter(most), "")
    if len(leading) > 1 and ties == BOTH and sorted(leading) == sorted(most):
        return Label(nearest, len(most), rule=f"ties: {ties}")
    if choice == BY_VOTES and nearest:
        return Label(nearest, 0, rule=f"{rule}, no majority")
    if len(leading) == 1:
        return Label(leading[0], rule=rule)
    return Label("", reason=DISAGREE if leading or clip.perceived else "no perceived emotion", rule=rule)


def leading_emotions(corpus: Corpus, clip: Clip) -> tuple[str, ...]:
    """Return what most listeners heard, before any rule: one emotion, several where they lead together, none where nobody was asked."""
    if clip.perceived not in ("", TIE):
        codes = clip.perceived.split(":")
    else:
        most = max(clip.votes.values(), default=0)
        codes = [code for code, number in clip.votes.items() if number == most > 0]
    return tuple(dict.fromkeys(corpus.emotions.get(code, code) for code in codes))


def votes_by_emotion(corpus: Corpus, clip: Clip) -> dict[str, int]:
    """Return how many listeners heard each of EMOTIONS, and last any other."""
    counts = dict.fromkeys((*EMOTIONS, OTHER), 0)
    for code, number in clip.votes.items():
        heard = corpus.emotions.get(code, code)
        counts[heard if heard in LABELS else OTHER] += number
    return counts
