"""How a claim is measured: every contender in a process of its own, warmed up, timed several times, in turns with the others.

A claim is one file beside this one, `benchmarks/NAME.py`:

    def read_ours(scale: int) -> Work: ...        # what is timed; what it needs is set up here, outside the clock
    def read_theirs(scale: int) -> Work: ...

    CLAIM = Claim("epoch_read", "How long does an epoch's reading take?", unit="clip", contenders=(
        Contender("ser_mlops", read_ours),
        Contender("librosa.load", read_theirs, is_peer=True, environment=Environment("librosa", ("librosa",))),
    ), aims={("ser_mlops", "librosa.load"): 3.0})

    if __name__ == "__main__":
        main(CLAIM)

`python -m benchmarks.epoch_read` measures it and writes `results/epoch_read_<hardware>_<YYYY-MM>.json` and a page (.md). This module
and the top of a claim's file import the standard library alone, because they also run in the peers' environments.
"""

import argparse
import gc
import json
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.peers import Environment
from benchmarks.results import RESULTS, write_result


@dataclass(frozen=True)
class Work:
    """What one contender does, once per repeat."""

    run: Callable[[], Mapping[str, float] | None]
    """Timed. May return facts to stand beside the time (a UAR); those of the last repeat are kept."""
    amount: float
    """How many of the claim's units one run does; contenders are compared by the time per unit."""
    prepare: Callable[[], object] = lambda: None
    """Called before every run, outside the clock (to empty a cache)."""


@dataclass(frozen=True)
class Contender:
    """One way of doing the work."""

    name: str
    begin: Callable[[int], Work]
    """Set the work up at a scale."""
    is_peer: bool = False
    """What people would pick instead; everything else is ours."""
    environment: Environment | None = None
    """Where it runs, if not in our own environment."""


@dataclass(frozen=True)
class Claim:
    """A question, what is counted, and who contends; each of ours is compared with each peer."""

    name: str
    question: str
    unit: str
    """What is counted, in the singular: clip, epoch, trial."""
    contenders: tuple[Contender, ...]
    aims: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """How many times faster ours should be than a peer, by the two names."""
    repeats: int = 5
    warmups: int = 1
    passes: int = 2
    """Processes per contender, taken in turns, so that a machine that slows down does so for all."""


def measure(work: Work, repeats: int, warmups: int) -> dict[str, Any]:
    """Return the seconds of every repeat, the peak memory of the process so far and the facts of the last run."""
    for _ in range(warmups):
        work.prepare()
        work.run()
    seconds, facts = [], None
    for _ in range(repeats):
        work.prepare()
        gc.collect()
        _synchronise()
        start = time.perf_counter()
        facts = work.run()
        _synchronise()
        seconds.append(time.perf_counter() - start)
    return {"seconds": seconds, "amount": work.amount, "peak_mib": machine.peak_memory_mib(), "gpu_peak_mib": _gpu_peak_mib(),
            "facts": dict(facts or {})}


def _cuda() -> Any:
    """Return torch.cuda if this process has begun to use it: kernels are launched ahead of time, so the clock has to wait for them."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_initialized() else None


def _synchronise() -> None:
    if cuda := _cuda():
        cuda.synchronize()


def _gpu_peak_mib() -> float:
    cuda = _cuda()
    return cuda.max_memory_allocated() / 2**20 if cuda else 0.0


def main(claim: Claim, arguments: Sequence[str] | None = None) -> None:
    """Measure a claim from the command line and write its result."""
    options = _parse(claim, arguments)
    if options.measure:
        contender = next(contender for contender in claim.contenders if contender.name == options.measure)
        measured = measure(contender.begin(options.scale), options.repeats, options.warmups)
        Path(options.out).write_text(json.dumps(measured))
        return
    spec = sys.modules["__main__"].__spec__
    assert spec is not None, "a claim is run by its module's name: python -m benchmarks.NAME"
    chosen = [contender for contender in claim.contenders if not options.only or contender.name in options.only.split(",")]
    outcomes: dict[str, list[dict[str, Any]]] = {contender.name: [] for contender in chosen}
    for number in range(options.passes):
        for contender in chosen:
            outcome = _measure_apart(spec.name, contender, options)
            outcomes[contender.name].append(outcome)
            print(f"{claim.name} {number + 1}/{options.passes} {contender.name}: {_told(outcome)}", flush=True)
    print(write_result(Path(options.results), _result(claim, chosen, outcomes, spec.name, options)))


def _parse(claim: Claim, arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=claim.question)
    parser.add_argument("--scale", type=int, default=1, help="how much larger the work is [1]")
    parser.add_argument("--repeats", type=int, default=claim.repeats, help=f"timed runs per process [{claim.repeats}]")
    parser.add_argument("--warmups", type=int, default=claim.warmups, help=f"untimed runs before them [{claim.warmups}]")
    parser.add_argument("--passes", type=int, default=claim.passes, help=f"processes per contender [{claim.passes}]")
    parser.add_argument("--only", default="", help=f"some of: {', '.join(contender.name for contender in claim.contenders)} [all]")
    parser.add_argument("--results", default=RESULTS, help="folder of the result [benchmarks/results]")
    parser.add_argument("--commit", default="", help="the commit that is measured, where git cannot tell")
    parser.add_argument("--measure", default="", help=argparse.SUPPRESS)
    parser.add_argument("--out", default="", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _measure_apart(module: str, contender: Contender, options: argparse.Namespace) -> dict[str, Any]:
    """Measure a contender in a process of its own; return {"failed": why} where it cannot be."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "measured.json"
        try:
            python = contender.environment.python() if contender.environment else sys.executable
            subprocess.run([python, "-m", module, "--measure", contender.name, "--out", out, "--scale", str(options.scale),
                            "--repeats", str(options.repeats), "--warmups", str(options.warmups)],
                           cwd=machine.ROOT, stderr=subprocess.PIPE, text=True, check=True)
        except subprocess.CalledProcessError as error:
            lines = [line for line in (error.stderr or "").splitlines() if line.strip()]
            return {"failed": machine.without_paths(lines[-1].strip()) if lines else f"exit code {error.returncode}"}
        return json.loads(out.read_text())


def _told(outcome: Mapping[str, Any]) -> str:
    if "failed" in outcome:
        return f"could not run: {outcome['failed']}"
    return " ".join(f"{seconds:.3f}" for seconds in outcome["seconds"]) + f" s, {outcome['peak_mib']:.0f} MiB"


def _result(claim: Claim, chosen: Sequence[Contender], outcomes: Mapping[str, list[dict[str, Any]]], module: str,
            options: argparse.Namespace) -> dict[str, Any]:
    """Return everything there is to know of a claim's run: what write_result stores."""
    defaults = {"scale": 1, "repeats": claim.repeats, "warmups": claim.warmups, "passes": claim.passes, "only": ""}
    given = [(name, getattr(options, name)) for name, default in defaults.items() if getattr(options, name) != default]
    command = ["python", "-m", module, *(part for name, value in given for part in (f"--{name}", str(value)))]
    return {
        "claim": claim.name, "question": claim.question, "unit": claim.unit, "scale": options.scale, "month": machine.month(),
        "commit": options.commit or machine.commit(), "command": shlex.join(command), "machine": machine.machine_facts(),
        "rows": [{"name": contender.name, "is_peer": contender.is_peer} | _merged(outcomes[contender.name]) for contender in chosen],
        "aims": [{"ours": ours, "peer": peer, "times": times} for (ours, peer), times in claim.aims.items()],
    }


def _merged(outcomes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Join the passes of a contender; if one failed, the contender did."""
    for outcome in outcomes:
        if "failed" in outcome:
            return outcome
    return {"amount": outcomes[0]["amount"], "seconds": [second for outcome in outcomes for second in outcome["seconds"]],
            "peak_mib": max(outcome["peak_mib"] for outcome in outcomes),
            "gpu_peak_mib": max(outcome["gpu_peak_mib"] for outcome in outcomes), "facts": outcomes[-1]["facts"]}
