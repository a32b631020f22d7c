"""The README's table of benchmarks, made from the results: `python -m benchmarks.table`."""

from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT
from benchmarks.results import Span, claim_of, limits_of, ratios_of, read_results, seconds_per_unit

START, END = "<!-- benchmarks:start -->", "<!-- benchmarks:end -->"
HEAD = "| claim | ours | against, or what is counted | result (range) | aim | hardware | month | commit |\n" + 8 * "|---" + "|"


def table_of(results: list[dict[str, Any]]) -> str:
    """Return one line for every ratio (`×`: times faster) and every limit, and one per contender of a claim that has neither."""
    return "\n".join([HEAD, *(line for result in results for line in _lines(result))])


def _lines(result: dict[str, Any]) -> list[str]:
    where = f"{_hardware(result['machine'])} | {result['month']} | {result['commit']} |"
    times = {
        row["name"]: f"{row['name']}: {seconds_per_unit(row).median:.3g} s per {result['unit']}"
        for row in result["rows"]
        if "seconds" in row
    }
    lines = [[times[ratio.ours], ratio.peer, _told(ratio.times, "×"), ratio.aim] for ratio in ratios_of(result)]
    lines += [[judged.contender, judged.what, _told(judged.value), judged.aim] for judged in limits_of(result)]
    lines = lines or [[time, "", "", ""] for time in times.values()]
    return [f"| {claim_of(result)} | {' | '.join(cells)} | {where}" for cells in lines]


def _told(span: Span, unit: str = "") -> str:
    return f"**{span.median:.3g}{unit}** ({span.low:.3g} to {span.high:.3g})"


def _hardware(facts: dict[str, str]) -> str:
    return facts["gpu"] if facts["gpu"] != "none" else f"{facts['cpu']}, {facts['cores']} cores"


def rewrite(readme: Path, table: str) -> None:
    """Put the table between the markers of a page."""
    text = readme.read_text(encoding="utf-8")
    before, _, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not end:
        raise SystemExit(f"{readme.name} has no {START} … {END}")
    readme.write_text(f"{before}{START}\n{table}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    rewrite(ROOT / "README.md", table_of(read_results()))
