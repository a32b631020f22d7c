"""Which clips an experiment gets wrong, how sure it is of them, whose they are, and what changes from one seed to the next.

N clips, R rounds. An answer is the argmax of a round's logits for a clip, its confidence the probability of that emotion. Everything is
taken from prediction tables, whose rows hold the paths of their clips, and facts about clips are joined by path: no order is relied on.

- A share of wrong answers is a mean over clips and rounds.
- `agreement` is the share of clips to which two rounds give the same answer, a mean over all pairs of rounds; `kappa` is that of Fleiss
  (1971), the agreement beyond the one that the rounds' answers would have by chance.
- Listeners' votes are columns of the facts (`vote_columns`): how many listeners heard each emotion, or another one, which counts and may
  lead.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from scipy.special import softmax

from ser_mlops.emotions import vote_columns
from ser_mlops.scores.predictions import emotions_of, in_one_order, logits_of
from ser_mlops.scores.raters import fleiss_kappa

OF_ROUNDS = ("path", "corpus", "speaker", "gender", "language")
GROUPINGS = {
    "corpus": "corpus",
    "emotion": "emotion",
    "speaker": "speaker",
    "gender": "gender",
    "language": "language",
    "sentence": "text",
    "intensity": "intensity",
    "length": "seconds",
    "level": "rms_db",
    "label rule": "rule",
    "file": "warnings",
}
"""What clips are grouped by, and the column that says it; a grouping without such a column, or with one value, is left out."""
IN_QUARTERS = {"seconds": "{:.2f} to {:.2f} s", "rms_db": "{:.0f} to {:.0f} dB"}
"""Columns of numbers: their clips are grouped by quarters."""
EMPTY = "none"
GROUP_COLUMNS = ["grouping", "value", "clips", "speakers", "wrong", "sd", "usual_mistake"]
PAIR_COLUMNS = ["emotion", "answer", "clips", "share", "confidence", "back"]


@dataclass(frozen=True)
class Mistakes:
    """What an experiment gets wrong."""

    clips: pd.DataFrame
    """One row per clip, in the order of paths: facts, emotion, answer (of the mean probabilities over rounds), confidence and p_emotion
    (means of the probability of that answer and of the true emotion), wrong (in how many rounds), answer_0, … of each round."""
    answers: pd.DataFrame
    """One row per wrong answer (of a clip in a round), the surest first: path, …, round, emotion, answer, confidence, p_emotion."""
    pairs: pd.DataFrame
    """One row per emotion and wrong answer, the most frequent first: clips (per round), share of the emotion's clips, mean confidence, and
    back: the share of the opposite mistake."""
    groups: pd.DataFrame
    """One row per grouping and value: clips, speakers, share of wrong answers, its sd over rounds, and the most frequent mistake."""
    stability: pd.DataFrame
    """One row per number of rounds: clips that are wrong in so many, their share, and those of them with one and the same wrong answer."""
    listeners: pd.DataFrame
    """By emotion and for all clips with votes: clips, share of votes for the label and for the answer, how often the answer is the
    listeners' first choice, and the share of wrong answers where most listeners hear the label and elsewhere. Empty without votes."""
    num_rounds: int
    agreement: float
    """nan for a single round."""
    kappa: float

    @property
    def metrics(self) -> dict[str, float]:
        """The figures that sum it up, but for what a single round cannot say."""
        wrong = self.clips["wrong"] / self.num_rounds
        always = float((wrong == 1).mean())
        values = {"wrong": float(wrong.mean()), "wrong_in_all_rounds": always, "agreement": self.agreement, "kappa": self.kappa}
        if self.num_rounds > 1:
            values["wrong_in_some_rounds"] = float(((wrong > 0) & (wrong < 1)).mean())
        return {name: value for name, value in values.items() if np.isfinite(value)}


def find_mistakes(rounds: Sequence[pd.DataFrame], facts: pd.DataFrame) -> Mistakes:
    """Find what the rounds of an experiment get wrong.

    Args:
        rounds: one prediction table per round, over the same clips in any order.
        facts: one row per clip, found by `path`; columns that the prediction tables have too are taken from those.
    """
    ordered = in_one_order(rounds, "rounds")
    logits_RNE = np.stack([logits_of(table, np.float64) for table in ordered])
    probabilities_RNE = softmax(logits_RNE, axis=2)
    answers_RN = logits_RNE.argmax(axis=2)
    labels_N = ordered[0]["labels"].to_numpy()
    names_E = np.asarray(emotions_of(ordered[0]), dtype=object)
    described = _describe(ordered[0], names_E, facts)
    clips = _clips(described, names_E, labels_N, probabilities_RNE, answers_RN)
    agreement, kappa = _agreement(answers_RN, len(names_E))
    return Mistakes(
        clips,
        _wrong_answers(described, names_E, labels_N, probabilities_RNE, answers_RN),
        _pairs(names_E, labels_N, probabilities_RNE, answers_RN),
        _groups(described, names_E, labels_N, answers_RN),
        _stability(labels_N, answers_RN),
        _listeners(described, names_E, labels_N, answers_RN),
        len(rounds),
        agreement,
        kappa,
    )


def _describe(table: pd.DataFrame, names_E: np.ndarray, facts: pd.DataFrame) -> pd.DataFrame:
    """Return what is known about each clip of a prediction table, in its order; a clip without facts has empty ones."""
    known = table[list(OF_ROUNDS)].assign(emotion=names_E[table["labels"].to_numpy()])
    new = [column for column in facts.columns if column not in (*known.columns, "labels", "emotions")]
    return known.merge(facts[["path", *new]], on="path", how="left", validate="one_to_one")


def _of_labels(probabilities_NE: np.ndarray, labels_N: np.ndarray) -> np.ndarray:
    return probabilities_NE[np.arange(len(labels_N)), labels_N]


def _clips(
    described: pd.DataFrame, names_E: np.ndarray, labels_N: np.ndarray, probabilities_RNE: np.ndarray, answers_RN: np.ndarray
) -> pd.DataFrame:
    mean_NE = probabilities_RNE.mean(axis=0)
    answers_N = mean_NE.argmax(axis=1)
    return described.assign(
        answer=names_E[answers_N],
        confidence=_of_labels(mean_NE, answers_N),
        p_emotion=_of_labels(mean_NE, labels_N),
        wrong=(answers_RN != labels_N).sum(axis=0),
        **{f"answer_{number}": names_E[answers] for number, answers in enumerate(answers_RN)},
    )


def _wrong_answers(
    described: pd.DataFrame, names_E: np.ndarray, labels_N: np.ndarray, probabilities_RNE: np.ndarray, answers_RN: np.ndarray
) -> pd.DataFrame:
    tables = []
    for number, (probabilities_NE, answers_N) in enumerate(zip(probabilities_RNE, answers_RN, strict=True)):
        table = described[["path", "corpus", "speaker", "emotion"]].assign(
            round=number,
            answer=names_E[answers_N],
            confidence=_of_labels(probabilities_NE, answers_N),
            p_emotion=_of_labels(probabilities_NE, labels_N),
        )
        tables.append(table[answers_N != labels_N])
    columns = ["path", "corpus", "speaker", "round", "emotion", "answer", "confidence", "p_emotion"]
    return pd.concat(tables)[columns].sort_values(["confidence", "path", "round"], ascending=[False, True, True], ignore_index=True)


def _pairs(names_E: np.ndarray, labels_N: np.ndarray, probabilities_RNE: np.ndarray, answers_RN: np.ndarray) -> pd.DataFrame:
    num_rounds, num_names = len(answers_RN), len(names_E)
    supports = np.bincount(labels_N, minlength=num_names)
    counts = np.bincount((labels_N * num_names + answers_RN).ravel(), minlength=num_names**2).reshape(num_names, num_names)
    shares = np.divide(counts / num_rounds, supports[:, None], out=np.full(counts.shape, np.nan), where=supports[:, None] > 0)
    confidences_RN = np.stack([_of_labels(table, answers) for table, answers in zip(probabilities_RNE, answers_RN, strict=True)])
    rows = []
    for label, answer in zip(*np.nonzero(counts), strict=True):
        if label != answer:
            chosen = (labels_N == label) & (answers_RN == answer)
            values = (counts[label, answer] / num_rounds, shares[label, answer], confidences_RN[chosen].mean(), shares[answer, label])
            rows.append((names_E[label], names_E[answer], *values))
    return pd.DataFrame(rows, columns=PAIR_COLUMNS).sort_values("share", ascending=False, kind="stable", ignore_index=True)


def _groups(described: pd.DataFrame, names_E: np.ndarray, labels_N: np.ndarray, answers_RN: np.ndarray) -> pd.DataFrame:
    wrong_RN = answers_RN != labels_N
    rows = []
    for grouping, column in GROUPINGS.items():
        if column not in described:
            continue
        values = _values(described, column)
        if values.nunique() < 2:
            continue
        for value, places in values.groupby(values, observed=True, sort=True).indices.items():
            by_round_R = wrong_RN[:, places].mean(axis=1)
            sd = float(by_round_R.std(ddof=1)) if len(by_round_R) > 1 else np.nan
            usual = _usual_mistake(names_E, labels_N[places], answers_RN[:, places])
            speakers = described["speaker"].iloc[places].nunique()
            rows.append((grouping, str(value), len(places), speakers, by_round_R.mean(), sd, usual))
    return pd.DataFrame(rows, columns=GROUP_COLUMNS)


def _values(described: pd.DataFrame, column: str) -> pd.Series:
    """Return the group of each clip by a column: quarters of numbers, and sentences with the name of their corpus."""
    values = described[column]
    if column in IN_QUARTERS:
        return _quarters(values, IN_QUARTERS[column])
    values = values.astype("object").where(values.notna(), EMPTY).astype("str")
    values = values.where(values != "", EMPTY)
    is_of_corpus = column in ("text", "intensity") and described["corpus"].nunique() > 1
    return described["corpus"].astype("str") + " " + values if is_of_corpus else values


def _quarters(values: pd.Series, text: str) -> pd.Series:
    """Return the quarter of each number, as a category in order; a number that is missing has none."""
    if values.nunique() < 2:
        return pd.Series(np.nan, index=values.index, dtype="object")
    quarters, edges = pd.qcut(values, 4, labels=False, retbins=True, duplicates="drop")
    names = [text.format(low, high) for low, high in pairwise(edges)]
    if len(set(names)) < len(names):  # edges that are alike once they are rounded
        names = [f"{name} (quarter {number + 1})" for number, name in enumerate(names)]
    return pd.Series(pd.Categorical.from_codes(quarters.fillna(-1).astype(int), categories=names, ordered=True), index=values.index)


def _usual_mistake(names_E: np.ndarray, labels_N: np.ndarray, answers_RN: np.ndarray) -> str:
    labels = labels_N.tolist()
    counted = Counter(pair for answers in answers_RN.tolist() for pair in zip(labels, answers, strict=True))
    found = [(count, pair) for pair, count in counted.items() if pair[0] != pair[1]]
    if not found:
        return ""
    _, (label, answer) = max(found, key=lambda item: (item[0], -item[1][0], -item[1][1]))
    return f"{names_E[label]} → {names_E[answer]}"


def _stability(labels_N: np.ndarray, answers_RN: np.ndarray) -> pd.DataFrame:
    wrong_RN = answers_RN != labels_N
    counts_N = wrong_RN.sum(axis=0)
    highest, lowest = np.where(wrong_RN, answers_RN, -1).max(axis=0), np.where(wrong_RN, answers_RN, answers_RN.max() + 1).min(axis=0)
    rows = []
    for number in range(len(answers_RN) + 1):
        chosen = counts_N == number
        alike = int((chosen & (highest == lowest)).sum())
        rows.append({"wrong_in": number, "clips": int(chosen.sum()), "share": float(chosen.mean()), "same_answer": alike})
    return pd.DataFrame(rows)


def _agreement(answers_RN: np.ndarray, num_emotions: int) -> tuple[float, float]:
    """Return the agreement of the rounds and Fleiss' kappa; nan for a single round, and no kappa where all answers are one emotion."""
    num_rounds, num_clips = answers_RN.shape
    if num_rounds < 2:
        return np.nan, np.nan
    counts_NE = np.stack([np.bincount(answers, minlength=num_emotions) for answers in answers_RN.T])
    pairs = (counts_NE * (counts_NE - 1)).sum() / (num_clips * num_rounds * (num_rounds - 1))
    return float(pairs), fleiss_kappa(counts_NE)


def _listeners(described: pd.DataFrame, names_E: np.ndarray, labels_N: np.ndarray, answers_RN: np.ndarray) -> pd.DataFrame:
    columns = list(vote_columns(list(names_E)))
    present = [column for column in columns if column in described]
    if not present:
        return pd.DataFrame()
    votes_NE = described.reindex(columns=columns).fillna(0).to_numpy(dtype=np.float64)
    has_votes = votes_NE.sum(axis=1) > 0
    if not has_votes.any():
        return pd.DataFrame()
    shares_NE = votes_NE[has_votes] / votes_NE[has_votes].sum(axis=1, keepdims=True)
    labels, answers_RV = labels_N[has_votes], answers_RN[:, has_votes]
    for_label = _of_labels(shares_NE, labels)
    for_answer_RV = np.stack([_of_labels(shares_NE, answers) for answers in answers_RV])
    is_first_RV = for_answer_RV == shares_NE.max(axis=1)
    wrong_RV = answers_RV != labels
    sides = {"wrong_where_heard": for_label > 0.5, "wrong_elsewhere": for_label <= 0.5}
    rows = []
    for name, chosen in [("all", np.ones(len(labels), bool)), *((names_E[label], labels == label) for label in np.unique(labels))]:
        row = {"emotion": name, "clips": int(chosen.sum()), "votes_for_label": for_label[chosen].mean()}
        row |= {"votes_for_answer": for_answer_RV[:, chosen].mean(), "answer_is_first_choice": is_first_RV[:, chosen].mean()}
        row |= {side: wrong_RV[:, chosen & where].mean() if (chosen & where).any() else np.nan for side, where in sides.items()}
        rows.append(row)
    return pd.DataFrame(rows)
