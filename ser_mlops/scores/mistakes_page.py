"""The mistakes of an experiment as a Markdown page, the figures that sum them up first."""

from collections.abc import Sequence

import pandas as pd

from ser_mlops.scores.mistakes import Mistakes
from ser_mlops.scores.tables import markdown


def mistakes_page(mistakes: Mistakes, title: str, top: int, notes: Sequence[str] = (), warning: str = "") -> str:
    """Return the page; tables show at most `top` rows."""
    sections = [f"# {title}", *([f"**{warning}**"] if warning else []), in_a_sentence(mistakes)]
    if notes:
        sections += ["\n".join(f"- {note}" for note in notes)]
    sections += ["## Confident mistakes", *_rows(mistakes.answers, top, "wrong answers, the surest first")]
    sections += ["## Confused emotions", "Clips per round; share of the emotion's clips; back: the share of the opposite mistake."]
    pairs = mistakes.pairs.assign(clips=[f"{clips:.1f}" for clips in mistakes.pairs["clips"]])
    sections += _rows(_percent(pairs, ("share", "back")), top, "pairs")
    if mistakes.num_rounds > 1:
        sections += ["## From seed to seed", _seeds(mistakes), markdown(_percent(mistakes.stability, ("share",)))]
        sections += _rows(_always_wrong(mistakes.clips, mistakes.num_rounds), top, "clips that every round gets wrong, the surest first")
    if not mistakes.listeners.empty:
        sections += ["## Listeners", LISTENERS, markdown(mistakes.listeners.map(_as_share))]
    sections += ["## Whose errors", "wrong: share of wrong answers over clips and rounds; sd: over rounds."]
    for grouping, table in mistakes.groups.groupby("grouping", sort=False):
        shown = table.drop(columns="grouping")
        if grouping not in ("length", "level"):
            shown = shown.sort_values("wrong", ascending=False, kind="stable")
        sections += [f"### By {grouping}", *_rows(_percent(shown, ("wrong", "sd")), top, "values, the worst first")]
    return "\n\n".join(sections) + "\n"


LISTENERS = (
    "Of the clips that listeners voted on: the share of their votes for the label and for the model's answer; how often its answer is what "
    "most of them heard; and its share of wrong answers where more than half of them heard the label, and elsewhere."
)


def in_a_sentence(mistakes: Mistakes) -> str:
    """Return how many answers are wrong, how sure, and what the rounds agree on."""
    metrics, clips = mistakes.metrics, len(mistakes.clips)
    said = f"{metrics['wrong']:.1%} of the answers to {clips:,} clips are wrong"
    if not mistakes.answers.empty:
        said += f", at a mean confidence of {mistakes.answers['confidence'].mean():.1%}"
    if mistakes.num_rounds > 1:
        some = "one" if mistakes.num_rounds == 2 else "some"
        said += (
            f". Every round gets {metrics['wrong_in_all_rounds']:.1%} of the clips wrong; another {metrics['wrong_in_some_rounds']:.1%} "
            f"are wrong in {some} of the {mistakes.num_rounds} rounds"
        )
    return f"{said}."


def _seeds(mistakes: Mistakes) -> str:
    kappa = f" (Fleiss' kappa {mistakes.kappa:.2f})" if "kappa" in mistakes.metrics else ""
    return (
        f"Two rounds give the same answer to {mistakes.agreement:.1%} of the clips{kappa}. Below: how many clips are wrong in how many "
        f"of the {mistakes.num_rounds} rounds, and how many of them get one and the same wrong answer."
    )


def _always_wrong(clips: pd.DataFrame, num_rounds: int) -> pd.DataFrame:
    """Return the clips that every round gets wrong, the surest answer first; where the rounds differ, their answers are listed."""
    chosen = clips[clips["wrong"] == num_rounds].sort_values(["confidence", "path"], ascending=[False, True])
    answers = [
        ", ".join(dict.fromkeys(row)) for row in chosen[[f"answer_{number}" for number in range(num_rounds)]].itertuples(index=False)
    ]
    return chosen[["path", "speaker", "emotion", "confidence", "p_emotion"]].assign(answers=answers)


def _rows(table: pd.DataFrame, top: int, what: str) -> list[str]:
    """Return a table, cut at `top` rows with a line that says so."""
    if table.empty:
        return [f"No {what}."]
    cut = [f"The first {top} of {len(table):,} {what}."] if len(table) > top else []
    return [*cut, markdown(table.head(top), floats=".3f")]


def _percent(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    return table.assign(**{column: table[column].map(_as_share) for column in columns})


def _as_share(value: object) -> object:
    return ("" if pd.isna(value) else f"{value:.1%}") if isinstance(value, float) else value
