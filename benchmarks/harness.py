"""How a claim is measured: every contender in a process of its own, warmed up, timed several times, in turns with the others.

A claim is one file beside this one, `benchmarks/NAME.py`:

    def read_ours(scale: float) -> Work: ...      # what is timed; what it needs is set up here, outside the clock
    def read_theirs(scale: float) -> Work: ...

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
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.peers import Environment
from benchmarks.results import RESULTS, write_result


@dataclass(frozen=True)
class Work:
    """What one contender does, once per repeat."""

    run: Callable[[], Mapping[str, float] | None]
    """Timed. May return facts to stand beside the time (a UAR, a share in %); every repeat's are kept."""
    amount: float
    """How many of the claim's units one run does; contenders are compared by the time per unit."""
    prepare: Callable[[], object] = lambda: None
    """Called before every run, outside the clock (to empty a cache)."""


@dataclass(frozen=True)
class Contender:
    """One way of doing the work."""

    name: str
    """Those named `what: where` are shown as a table of works by wheres, too."""
    begin: Callable[[float], Work]
    """Set the work up at a scale; see `scaled`."""
    is_peer: bool = False
    """What people would pick instead; everything else is ours."""
    environment: Environment | None = None
    """Where it runs, if not in our own environment."""
    kind: str = ""
    """Contenders of different kinds do different work and are not compared."""


@dataclass(frozen=True)
class Limit:
    """What a fact of a contender should come to; claims without a peer are judged by these alone."""

    contender: str
    value: float | None
    """None: nothing is aimed at, the fact is shown."""
    fact: str = ""
    """Its name; empty: the seconds per unit."""
    against: str = ""
    """Another contender, whose value is divided by; empty: the value itself."""
    is_least: bool = False
    """Whether it should be so much or more; else so much or less."""


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
    limits: tuple[Limit, ...] = ()
    repeats: int = 5
    warmups: int = 1
    passes: int = 2
    """Processes per contender, taken in turns, so that a machine that slows down does so for all."""


def scaled(number: int, scale: float) -> int:
    """Return a number of clips or repeats at a scale, at least one.

    >>> scaled(96, 2), scaled(96, 0.1), scaled(3, 0.1)
    (192, 10, 1)
    """
    return max(1, round(number * scale))


def measure(work: Work, repeats: int, warmups: int) -> dict[str, Any]:
    """Return the seconds and facts of every repeat, and the peak memory of the process so far."""
    for _ in range(warmups):
        work.prepare()
        work.run()
    seconds, facts = [], defaultdict(list)
    for _ in range(repeats):
        work.prepare()
        gc.collect()
        _synchronise()
        start = time.perf_counter()
        facts_of_run = work.run()
        _synchronise()
        seconds.append(time.perf_counter() - start)
        for name, value in (facts_of_run or {}).items():
            facts[name].append(value)
    return {
        "seconds": seconds,
        "amount": work.amount,
        "peak_mib": machine.peak_memory_mib(),
        "gpu_peak_mib": _gpu_peak_mib(),
        "facts": facts,
    }


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
    """Measure a claim from the command line and write its result; exits with 1 if one of ours could not run."""
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
            if any("failed" in outcome for outcome in outcomes[contender.name]):
                continue
            outcome = _measure_apart(spec.name, contender, options)
            outcomes[contender.name].append(outcome)
            print(f"{claim.name} {number + 1}/{options.passes} {contender.name}: {_shown(outcome)}", flush=True)
    result = _result(claim, chosen, outcomes, spec.name, options)
    print(write_result(Path(options.results), result), flush=True)
    if any("failed" in row and not row["is_peer"] for row in result["rows"]):
        raise SystemExit(1)


def _parse(claim: Claim, arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=claim.question)
    parser.add_argument("--scale", type=float, default=1.0, help="how much larger the work is, or smaller: 0.1 for a trial run [1]")
    parser.add_argument("--repeats", type=int, default=claim.repeats, help=f"timed runs per process [{claim.repeats}]")
    parser.add_argument("--warmups", type=int, default=claim.warmups, help=f"untimed runs before them [{claim.warmups}]")
    parser.add_argument("--passes", type=int, default=claim.passes, help=f"processes per contender [{claim.passes}]")
    parser.add_argument("--only", default="", help=f"some of: {', '.join(contender.name for contender in claim.contenders)} [all]")
    parser.add_argument("--minutes", type=float, default=30, help="a contender that takes longer is ended and counts as failed [30]")
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
            _run_apart(
                [
                    python,
                    "-m",
                    module,
                    "--measure",
                    contender.name,
                    "--out",
                    out,
                    "--scale",
                    f"{options.scale:g}",
                    "--repeats",
                    str(options.repeats),
                    "--warmups",
                    str(options.warmups),
                ],
                60 * options.minutes,
                folder,
            )
        except subprocess.TimeoutExpired:
            return {"failed": f"not done after {options.minutes:g} minutes"}
        except subprocess.CalledProcessError as error:
            lines = [line for line in (error.stderr or "").splitlines() if line.strip()]
            return {"failed": machine.without_paths(lines[-1].strip()) if lines else f"exit code {error.returncode}"}
        return json.loads(out.read_text())


def _run_apart(command: Sequence[object], timeout_s: float, temporary: str) -> None:
    """Run a command in a session and a temporary folder of its own, which end with it: nothing lives on beside the next contender."""
    with subprocess.Popen(
        list(map(str, command)),
        cwd=machine.ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"TMPDIR": temporary},
    ) as process:
        try:
            _, stderr = process.communicate(timeout=timeout_s)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args, stderr=stderr)


def _shown(outcome: Mapping[str, Any]) -> str:
    if "failed" in outcome:
        return f"could not run: {outcome['failed']}"
    return " ".join(f"{seconds:.3f}" for seconds in outcome["seconds"]) + f" s, {outcome['peak_mib']:.0f} MiB"


def _result(
    claim: Claim, chosen: Sequence[Contender], outcomes: Mapping[str, list[dict[str, Any]]], module: str, options: argparse.Namespace
) -> dict[str, Any]:
    """Return everything there is to know of a claim's run: what write_result stores."""
    defaults = {"scale": 1, "repeats": claim.repeats, "warmups": claim.warmups, "passes": claim.passes, "only": ""}
    given = {name: getattr(options, name) for name, default in defaults.items() if getattr(options, name) != default}
    words = [word for name, value in given.items() for word in (f"--{name}", value if isinstance(value, str) else f"{value:g}")]
    command = ["python", "-m", module, *words]
    return {
        "claim": claim.name,
        "question": claim.question,
        "unit": claim.unit,
        "scale": options.scale,
        "month": machine.month(),
        "commit": options.commit or machine.commit(),
        "command": shlex.join(command),
        "machine": machine.machine_facts(),
        "rows": [
            {"name": contender.name, "is_peer": contender.is_peer, "kind": contender.kind} | _merged(outcomes[contender.name])
            for contender in chosen
        ],
        "aims": [{"ours": ours, "peer": peer, "times": times} for (ours, peer), times in claim.aims.items()],
        "limits": [asdict(limit) for limit in claim.limits],
    }


def _merged(outcomes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Join the passes of a contender; if one failed, the contender did."""
    for outcome in outcomes:
        if "failed" in outcome:
            return outcome
    return {
        "amount": outcomes[0]["amount"],
        "seconds": [second for outcome in outcomes for second in outcome["seconds"]],
        "peak_mib": max(outcome["peak_mib"] for outcome in outcomes),
        "gpu_peak_mib": max(outcome["gpu_peak_mib"] for outcome in outcomes),
        "facts": {
            name: [value for outcome in outcomes for value in outcome["facts"].get(name, ())]
            for name in dict.fromkeys(name for outcome in outcomes for name in outcome["facts"])
        },
    }
