"""How much slower does work become beside other busy processes?

Each piece of work runs alone and beside one and two processes that keep a core busy all the time: a training of `tiny` (48 clips, five
epochs), an epoch of HuBERT of base size with everything trained (8 clips, ours and Trainer's), the filling of a cache of 24 clips by its
encoder, and the ingest of 240 recordings. Ours sets what the commands set (`ser_mlops.commands.share_machine`), Trainer what torch does by
itself. A machine of so many cores as there are busy processes has none left: less than twice the time alone cannot be expected there.
"""

import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.harness import Claim, Contender, Limit, Work, main
from benchmarks.ingest import ingest_of_ours
from benchmarks.trainings import ours, trainer

NEIGHBOURS = {0: "alone", 1: "beside one", 2: "beside two"}
SIZE: dict[str, Any] = {"num_train": 8, "num_validation": 2}
FROZEN: dict[str, Any] = {"rounds": 1, "epochs": 1, "num_train": 20, "num_validation": 4, "cache": "cold"}
TINY: dict[str, Any] = {"rounds": 1, "epochs": 5, "num_train": 48, "num_validation": 12, "model": "tiny"}


def _beside(number: int, begin: Callable[[float], Work], *, is_ours: bool) -> Callable[[float], Work]:
    """The same work while so many other processes are busy; they start before the clock does and end with the work."""

    def begin_beside(scale: float) -> Work:
        if is_ours:
            from ser_mlops.commands import share_machine

            share_machine()
        work = begin(scale)
        busy: list[subprocess.Popen[bytes]] = []

        def prepare() -> None:
            work.prepare()
            busy.extend(subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number))

        def run() -> Mapping[str, float] | None:
            try:
                return work.run()
            finally:
                while busy:
                    neighbour = busy.pop()
                    neighbour.kill()
                    neighbour.wait()

        return Work(run, work.amount, prepare)

    return begin_beside


WORKS: dict[str, tuple[Callable[[float], Work], bool]] = {
    "tiny": (ours("none", **TINY), True),
    "HuBERT-base": (ours("none", rounds=1, epochs=1, **SIZE), True),
    "Trainer HuBERT-base": (trainer((), **SIZE), False),
    "cache": (ours("encoder", **FROZEN), True),
    "ingest": (ingest_of_ours(240), True),
}

CLAIM = Claim(
    "shared_machine",
    "How much slower does work become beside other busy processes?",
    unit="piece of work",
    contenders=tuple(
        Contender(
            f"{name} {where}", _beside(number, begin, is_ours=is_ours), is_peer=not is_ours, kind=f"{name.removeprefix('Trainer ')} {where}"
        )
        for name, (begin, is_ours) in WORKS.items()
        for number, where in NEIGHBOURS.items()
    ),
    limits=tuple(Limit(f"{name} beside one", 2.2, against=f"{name} alone") for name, (_, is_ours) in WORKS.items() if is_ours),
    repeats=3,
)

if __name__ == "__main__":
    main(CLAIM)
