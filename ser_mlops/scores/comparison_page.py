"""The comparison as a Markdown page, the claims first."""

from ser_mlops.scores.comparison import GROUPINGS, Comparison
from ser_mlops.scores.tables import markdown


def comparison_page(comparison: Comparison, title: str, note: str = "") -> str:
    """Return the comparison as a Markdown page, the claims first."""
    uar = comparison.differences[comparison.differences["score"] == "uar"]
    claims = [
        f"- **{row.experiment}** against **{row.baseline}**: {row.difference:+.1%} UAR (95 % interval {row.ci_low:+.1%} to "
        f"{row.ci_high:+.1%}, p {row.p_holm:.4f}): {row.verdict}."
        for row in uar.itertuples()
    ]
    sections = [
        f"# {title}",
        *([f"**{note}**"] if note else []),
        "\n".join(claims),
        "## Scores",
        markdown(comparison.scores),
        "## Differences (experiment minus baseline)",
        markdown(comparison.differences),
        "p_units: permutation over speakers (or clips, see the notes); p_rounds: t test over rounds; p: the larger of the two; "
        "p_holm: corrected over the pairs. A difference is claimed where p_holm is below 0.05, the interval leaves 0 out, and both "
        "experiments were made with one seed.",
        "## Who is served how well (UAR)",
        *(part for grouping in GROUPINGS for part in _group_section(comparison, grouping)),
        "### Largest gaps",
        markdown(comparison.gaps),
        "## Notes",
        "\n".join(f"- {text}" for text in comparison.notes),
    ]
    return "\n\n".join(sections) + "\n"


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
