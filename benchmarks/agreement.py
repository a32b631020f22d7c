"""Does a second run reproduce the first? `python -m benchmarks --results FOLDER`, then `python -m benchmarks.agreement FOLDER`.

A ratio or a limit agrees if the ranges of both runs touch, or if its medians differ by 10 % at most: the passes of one run follow each
other within minutes, so that their range is narrower than what a machine shifts by in hours.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.machine import hardware_name
from benchmarks.results import RESULTS, Span, claim_of, limits_of, ratios_of, read_results

TOLERANCE = 0.1
HEAD = "| claim | ours | against, or what is counted | first run (range) | second run (range) | agrees |\n" + 6 * "|---" + "|"


def agree(first: Span, second: Span) -> bool:
    """Say whether two ranges touch, or the medians are within TOLERANCE.

    >>> agree(Span(1, 2, 3), Span(2.9, 4, 5)), agree(Span(1, 2, 3), Span(3.1, 4, 5)), agree(Span(2, 2, 2), Span(2.1, 2.15, 2.2))
    (True, False, True)
    """
    touch = first.low <= second.high and second.low <= first.high
    return touch or abs(second.median - first.median) <= TOLERANCE * abs(first.median)


def compare(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> Iterator[str]:
    """Yield a line of the table for every ratio and limit that both runs measured."""
    others = {_key(result): result for result in second}
    for result in first:
        if _key(result) in others:
            first_figures, second_figures = _figures(result), _figures(others[_key(result)])
            for name in first_figures.keys() & second_figures.keys():
                yield _line(claim_of(result), name, first_figures[name], second_figures[name])


def _key(result: dict[str, Any]) -> tuple[str, str]:
    return claim_of(result), hardware_name(result["machine"])


def _figures(result: dict[str, Any]) -> dict[tuple[str, str], Span]:
    ratios = {(ratio.ours, f"{ratio.peer}, times faster"): ratio.times for ratio in ratios_of(result)}
    return ratios | {(judged.contender, judged.what): judged.value for judged in limits_of(result)}


def _line(claim: str, name: tuple[str, str], first: Span, second: Span) -> str:
    shown = (f"{span.median:.3g} ({span.low:.3g} to {span.high:.3g})" for span in (first, second))
    return f"| {claim} | {' | '.join(name)} | {' | '.join(shown)} | {'yes' if agree(first, second) else 'no'} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="results of the second run")
    parser.add_argument("--first", type=Path, default=RESULTS, help="results of the first run [benchmarks/results]")
    chosen = parser.parse_args()
    print(HEAD, *sorted(compare(read_results(chosen.first), read_results(chosen.folder))), sep="\n")
