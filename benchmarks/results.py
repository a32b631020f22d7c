"""Results as files: JSON with every repeat, and a Markdown page made from it.

The time of a contender is the median of its repeats per unit of work; its range goes from quartile to quartile, or, of fewer than five
repeats, from the least to the most. A ratio is the peer's time per unit over ours; its range sets the ends against each other at their
worst and best. Peak memory is that of the contender's own process, Python and libraries included, plus its largest child's.
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import hardware_name

RESULTS = Path(__file__).parent / "results"
FEW = 5
"""Quartiles of fewer values would leave out half of what the machine does by chance."""


@dataclass(frozen=True)
class Span:
    """A median in its range."""

    low: float
    median: float
    high: float


def claim_of(result: Mapping[str, Any]) -> str:
    """Return the name of a result's claim, with the scale where it was measured at another.

    >>> claim_of({"claim": "ingest", "scale": 1}), claim_of({"claim": "ingest", "scale": 4.0})
    ('ingest', 'ingest × 4')
    """
    return result["claim"] if result["scale"] == 1 else f"{result['claim']} × {result['scale']:g}"


def seconds_per_unit(row: Mapping[str, Any]) -> Span:
    """Return the time of a contender per unit of work.

    >>> seconds_per_unit({"seconds": [2.0, 4.0, 3.0, 5.0, 6.0], "amount": 2})
    Span(low=1.5, median=2.0, high=2.5)
    >>> seconds_per_unit({"seconds": [2.0, 4.0, 3.0], "amount": 2})
    Span(low=1.0, median=1.5, high=2.0)
    """
    return span_of([seconds / row["amount"] for seconds in row["seconds"]])


def span_of(values: Sequence[float]) -> Span:
    """Return the median and the range of some values."""
    if len(values) < FEW:
        return Span(min(values), statistics.median(values), max(values))
    return Span(*statistics.quantiles(values, n=4, method="inclusive"))


def times_faster(ours: Mapping[str, Any], peer: Mapping[str, Any]) -> Span:
    """Return how many times faster ours is than a peer; below 1 it is slower.

    >>> times_faster({"seconds": [1.0], "amount": 1}, {"seconds": [6.0], "amount": 2})
    Span(low=3.0, median=3.0, high=3.0)
    """
    mine, theirs = seconds_per_unit(ours), seconds_per_unit(peer)
    return Span(theirs.low / mine.high, theirs.median / mine.median, theirs.high / mine.low)


def write_result(folder: Path, result: Mapping[str, Any]) -> str:
    """Write a result's JSON and Markdown, named by claim, hardware and month; return the page."""
    scale = "" if result["scale"] == 1 else f"-x{result['scale']:g}"
    path = folder / f"{result['claim']}{scale}_{hardware_name(result['machine'])}_{result['month']}.json"
    folder.mkdir(parents=True, exist_ok=True)
    page = page_of(result)
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(page, encoding="utf-8")
    return page


def page_of(result: Mapping[str, Any]) -> str:
    """Return a result as a Markdown page: what was measured, every contender, and every ratio, lost ones too."""
    facts = list(dict.fromkeys(name for row in result["rows"] for name in row.get("facts", {})))
    has_gpu = any(row.get("gpu_peak_mib") for row in result["rows"])
    unit = result["unit"]
    gpu = ["GPU MiB"] if has_gpu else []
    head = ["contender", f"s per {unit}", "range", f"{_plural(unit)} per s", "repeats", "peak MiB", *gpu, *facts]
    lines = [f"# {result['claim']}", "", result["question"], "", *_row(head), *_row(["---"] * len(head))]
    for row in result["rows"]:
        lines += _row(_measured(row, has_gpu, facts) if "seconds" in row else [row["name"], *[""] * (len(head) - 1)])
    failed = [f"- {row['name']} could not run: {row['failed']}" for row in result["rows"] if "failed" in row]
    lines += [
        "",
        *_grid(result),
        *_ratios(result),
        *_limits(result),
        *failed,
        *(f"- {name}: {value}" for name, value in result["machine"].items()),
        f"- commit: {result['commit']}",
        f"- month: {result['month']}",
        f"- command: `{result['command']}`",
    ]
    return "\n".join(lines) + "\n"


def _plural(unit: str) -> str:
    return f"{unit}es" if unit.endswith("s") else f"{unit}s"


def _measured(row: Mapping[str, Any], has_gpu: bool, facts: list[str]) -> list[str]:
    span = seconds_per_unit(row)
    return [
        row["name"],
        f"{span.median:.4g}",
        f"{span.low:.4g} to {span.high:.4g}",
        f"{1 / span.median:,.4g}",
        str(len(row["seconds"])),
        f"{row['peak_mib']:.0f}",
        *([f"{row['gpu_peak_mib']:.0f}"] if has_gpu else []),
        *(f"{span_of(row['facts'][name]).median:.4g}" if name in row["facts"] else "" for name in facts),
    ]


def _grid(result: Mapping[str, Any]) -> list[str]:
    """Return the times of contenders that are named `what: where` as a table, a row for each what and a column for each where."""
    ran = {row["name"]: seconds_per_unit(row).median for row in result["rows"] if "seconds" in row and ": " in row["name"]}
    works, wheres = (list(dict.fromkeys(name.split(": ")[place] for name in ran)) for place in (0, 1))
    if len(wheres) < 2:
        return []
    rows = [[what, *(f"{ran[name]:.3g}" if (name := f"{what}: {where}") in ran else "" for where in wheres)] for what in works]
    head = [f"s per {result['unit']}", *wheres]
    return [*_row(head), *_row(["---"] * len(head)), *(line for row in rows for line in _row(row)), ""]


@dataclass(frozen=True)
class Ratio:
    """One of ours against one peer."""

    ours: str
    peer: str
    times: Span
    aim: str
    """`3 reached`, `3 missed`, or empty where nothing was aimed at."""


def ratios_of(result: Mapping[str, Any]) -> list[Ratio]:
    """Return every one of ours that ran against every peer of its kind that ran, those that ours loses too."""
    ran = [row for row in result["rows"] if "seconds" in row]
    aims = {(aim["ours"], aim["peer"]): aim["times"] for aim in result["aims"]}
    ratios = []
    for mine in (row for row in ran if not row["is_peer"]):
        for peer in (row for row in ran if row["is_peer"] and row["kind"] == mine["kind"]):
            times, aim = times_faster(mine, peer), aims.get((mine["name"], peer["name"]))
            verdict = "" if aim is None else f"{aim:g} {'reached' if times.median >= aim else 'missed'}"
            ratios.append(Ratio(mine["name"], peer["name"], times, verdict))
    return ratios


def _ratios(result: Mapping[str, Any]) -> list[str]:
    lines = []
    for ratio in ratios_of(result):
        times = ratio.times
        lines += _row([ratio.ours, ratio.peer, f"{times.median:.3g}", f"{times.low:.3g} to {times.high:.3g}", ratio.aim])
    return [*_row(["ours", "peer", "times faster", "range", "aim"]), *_row(["---"] * 5), *lines, ""] if lines else []


@dataclass(frozen=True)
class Judged:
    """A fact of a contender beside what it should come to."""

    contender: str
    what: str
    value: Span
    aim: str
    """`at most 2 reached`, `at least 80 missed`, or empty where nothing was aimed at."""


def limits_of(result: Mapping[str, Any]) -> list[Judged]:
    """Return every limit of a claim whose contender ran."""
    ran = {row["name"]: row for row in result["rows"] if "seconds" in row}
    judged = []
    for limit in result["limits"]:
        name, fact, against = limit["contender"], limit["fact"], limit["against"]
        if name in ran and (not against or against in ran):
            value, what = _fact(ran[name], fact), fact or f"s per {result['unit']}"
            if against:
                base, what = _fact(ran[against], fact), f"{what}, divided by that of {against}"
                value = Span(value.low / base.high, value.median / base.median, value.high / base.low)
            judged.append(Judged(name, what, value, _judge(value.median, limit["value"], limit["is_least"])))
    return judged


def _judge(value: float, aim: float | None, is_least: bool) -> str:
    if aim is None:
        return ""
    is_reached = value >= aim if is_least else value <= aim
    return f"at {'least' if is_least else 'most'} {aim:g} {'reached' if is_reached else 'missed'}"


def _fact(row: Mapping[str, Any], name: str) -> Span:
    return span_of(row["facts"][name]) if name else seconds_per_unit(row)


def _limits(result: Mapping[str, Any]) -> list[str]:
    lines = []
    for judged in limits_of(result):
        value = judged.value
        lines += _row([judged.contender, judged.what, f"{value.median:.3g}", f"{value.low:.3g} to {value.high:.3g}", judged.aim])
    return [*_row(["contender", "what", "came to", "range", "aim"]), *_row(["---"] * 5), *lines, ""] if lines else []


def _row(cells: list[str]) -> list[str]:
    return [f"| {' | '.join(cells)} |"]


def read_results(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """Return the newest result of every claim, scale and hardware, in the order of their file names."""
    newest: dict[tuple[str, str], dict[str, Any]] = {}
    for path in sorted(folder.glob("*.json"), key=lambda path: path.stem.rsplit("_", 1)[1]):
        claim, hardware = path.stem.rsplit("_", 1)[0].rsplit("_", 1)
        newest[claim, hardware] = json.loads(path.read_text(encoding="utf-8"))
    return [newest[key] for key in sorted(newest)]
