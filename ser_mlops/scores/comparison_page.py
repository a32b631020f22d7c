"""The comparison as a Markdown page, the claims first."""

from typing import Any

import numpy as np

from ser_mlops.scores.comparison import GROUPINGS, Comparison
from ser_mlops.scores.summary import NO_INTERVAL
from ser_mlops.scores.tables import markdown, points, points_between


def comparison_page(comparison: Comparison, title: str, note: str = "") -> str:
    """Return the comparison as a Markdown page, the claims first."""
    uar = comparison.differences[comparison.differences["score"] == "uar"]
    claims = [
        f"- **{row.experiment}** against **{row.baseline}**: {points(row.difference)} UAR ({_evidence(row)}): {row.verdict}."
        for row in uar.itertuples()
    ]
    sections = [
        f"# {title}",
        *([f"**{note}**"] if note else []),
        "\n".join(claims),
        "Scores and differences in the tables are shares: 0.01 is one percentage point; loss and cross_entropy are in nats, js_divergence "
        "in bits.",
        "## Scores",
        markdown(comparison.scores),
        "## Differences (experiment minus baseline)",
        markdown(comparison.differences),
        "p_units: permutation over speakers (empty where there are too few to claim anything); p_rounds: t test over rounds; p: the larger "
        "of the two; p_holm: corrected over the pairs. A difference is claimed where p_holm is below 0.05, the interval leaves 0 out, and "
        "both experiments were divided by the same seeds and rules. An empty interval means that there is none: see the notes.",
        "## Who is served how well (UAR)",
        *(part for grouping in GROUPINGS for part in _group_section(comparison, grouping)),
        "### Largest gaps",
        markdown(comparison.gaps),
        "## Notes",
        "\n".join(f"- {text}" for text in comparison.notes),
    ]
    return "\n\n".join(sections) + "\n"


def _evidence(row: Any) -> str:
    """Return the interval and p of a difference."""
    interval = f"95 % interval {points_between(row.ci_low, row.ci_high)}" if np.isfinite(row.ci_low) else NO_INTERVAL
    return f"{interval}, p {row.p_holm:.4f}" if np.isfinite(row.p_holm) else f"{interval}, no p"


def _group_section(comparison: Comparison, grouping: str) -> list[str]:
    chosen = comparison.groups[comparison.groups["grouping"] == grouping]
    changes = comparison.group_differences[comparison.group_differences["grouping"] == grouping]
    if chosen["value"].nunique() == 1:
        return [f"### By {grouping}", f"All clips: {chosen['value'].iloc[0]}."]
    return [
        f"### By {grouping}",
        markdown(chosen.drop(columns="grouping")),
        markdown(changes.drop(columns=["grouping", "clips", "speakers"])),
    ]
