"""The tables of benchmarks, made from the results by `python -m benchmarks.table`: all rows in benchmarks/README.md, eight in README.md."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.machine import ROOT
from benchmarks.results import Span, claim_of, limits_of, ratios_of, read_results, seconds_per_unit

START, END = "<!-- benchmarks:start -->", "<!-- benchmarks:end -->"
HEADLINES = (
    ("frozen", "ser_mlops (cold cache)", "Trainer (base model and feature encoder frozen)"),
    ("sweep", "ser_mlops (cold cache)", "Trainer.hyperparameter_search"),
    ("feature_encoder", "ser_mlops (cold cache)", "Trainer (freeze_feature_encoder and keeps its best epoch)"),
    ("unfrozen", "ser_mlops", "Trainer (keeps its best epoch)"),
    ("evaluate", "ser_mlops", "Trainer.evaluate"),
    ("ingest", "ser_mlops on every core", "librosa.load loop"),
    ("quality", "ser_mlops beside Trainer", "difference"),
    ("tracking", "ser_mlops (everything trained)", "% of a round spent logging"),
)
"""The rows of README.md: a claim, one of ours, and the peer or the fact beside it."""
HEAD = "| claim | ours | against, or what is counted | result (range) | aim | hardware | month | commit |\n" + 8 * "|---" + "|"


def table_of(results: list[dict[str, Any]], chosen: Sequence[tuple[str, str, str]] | None = None) -> str:
    """Return one line for every ratio (`×`: times faster) and every limit, and one per contender of a claim that has neither.

    Of the rows that are `chosen`, in their order, if any are.
    """
    rows = [row for result in results for row in _rows(result)]
    if chosen is not None:
        rows = [row for key in chosen for row in rows if row.key == key]
    return "\n".join([HEAD, *(row.line for row in rows)])


class _Row(NamedTuple):
    key: tuple[str, str, str]
    """The claim, one of ours, and the peer or the fact."""
    line: str


def _rows(result: dict[str, Any]) -> list[_Row]:
    where = f"{_hardware(result['machine'])} | {result['month']} | {result['commit']} |"
    times = {
        row["name"]: f"{row['name']}: {seconds_per_unit(row).median:.3g} s per {result['unit']}"
        for row in result["rows"]
        if "seconds" in row
    }
    rows = [(ratio.ours, ratio.peer, times[ratio.ours], _shown(ratio.times, "×"), ratio.aim) for ratio in ratios_of(result)]
    rows += [(judged.contender, judged.what, judged.contender, _shown(judged.value), judged.aim) for judged in limits_of(result)]
    rows = rows or [(name, "", time, "", "") for name, time in times.items()]
    claim = claim_of(result)
    return [
        _Row((claim, ours, beside), f"| {claim} | {shown} | {beside} | {value} | {aim} | {where}")
        for ours, beside, shown, value, aim in rows
    ]


def _shown(span: Span, unit: str = "") -> str:
    return f"**{span.median:.3g}{unit}** ({span.low:.3g} to {span.high:.3g})"


def _hardware(facts: dict[str, str]) -> str:
    return facts["gpu"] if facts["gpu"] != "none" else f"{facts['cpu']}, {facts['cores']} cores"


def rewrite(page: Path, table: str) -> None:
    """Put the table between the markers of a page."""
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not end:
        raise SystemExit(f"{page.name} has no {START} … {END}")
    page.write_text(f"{before}{START}\n{table}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    results = read_results()
    rewrite(ROOT / "README.md", table_of(results, HEADLINES))
    rewrite(ROOT / "benchmarks/README.md", table_of(results))
