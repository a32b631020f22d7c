"""How much slower does work become beside other busy processes?

Each piece of work runs alone and beside one and two processes that keep a core busy all the time: a training of `tiny` (48 clips, five
epochs), an epoch of HuBERT of base size with everything trained (8 clips, ours and Trainer's), the filling of a cache of 24 clips by its
encoder, and the ingest of 240 recordings. Trainings and caches run with what the commands set (`ser_mlops.commands.share_machine`), with
nothing set, as torch starts by itself and Trainer runs, with `OMP_WAIT_POLICY=passive`, and in one thread. A machine of so many cores as
there are busy processes has none left: less than twice the time alone cannot be expected there.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.harness import Claim, Contender, Limit, Work, main
from benchmarks.ingest import ingest_of_ours
from benchmarks.trainings import ours, trainer

NEIGHBOURS = {"alone": 0, "beside one": 1, "beside two": 2}
THREADING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS")
OURS, NOTHING = "as our commands set it", "nothing set"
SETTINGS: dict[str, dict[str, str]] = {
    OURS: {},
    NOTHING: {},
    "passive": {"OMP_WAIT_POLICY": "passive"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
"""What stands in the environment before torch is loaded."""
SIZE: dict[str, Any] = {"num_train": 8, "num_validation": 2}
FROZEN: dict[str, Any] = {"rounds": 1, "epochs": 1, "num_train": 20, "num_validation": 4, "cache": "cold"}
TINY: dict[str, Any] = {"rounds": 1, "epochs": 5, "num_train": 48, "num_validation": 12, "model": "tiny"}
WORKS: dict[str, Callable[[float], Work]] = {
    "tiny": ours("none", **TINY),
    "HuBERT-base": ours("none", rounds=1, epochs=1, **SIZE),
    "cache": ours("encoder", **FROZEN),
}


def _beside(number: int, begin: Callable[[float], Work], setting: str) -> Callable[[float], Work]:
    """The same work while so many other processes are busy; they start before the clock does and end with the work."""

    def begin_beside(scale: float) -> Work:
        for name in THREADING:
            os.environ.pop(name, None)
        os.environ.update(SETTINGS[setting])
        if setting == OURS:
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


def _contenders() -> list[Contender]:
    rows = [(work, setting, begin, False) for work, begin in WORKS.items() for setting in SETTINGS]
    rows += [("HuBERT-base", "Trainer", trainer((), **SIZE), True), ("ingest", OURS, ingest_of_ours(240), False)]
    return [
        Contender(
            f"{work} ({setting}): {where}",
            _beside(number, begin, NOTHING if is_peer else setting),
            is_peer=is_peer,
            kind=f"{work} {where}",
        )
        for where, number in NEIGHBOURS.items()  # what is compared runs within minutes: a rented machine's speed drifts
        for work, setting, begin, is_peer in rows
    ]


CLAIM = Claim(
    "shared_machine",
    "How much slower does work become beside other busy processes?",
    unit="piece of work",
    contenders=tuple(_contenders()),
    limits=(
        *(Limit(f"{work} ({OURS}): beside one", 2.2, against=f"{work} ({OURS}): alone") for work in (*WORKS, "ingest")),
        *(
            Limit(f"{work} ({OURS}): alone", 1.03, against=f"{work} ({setting}): alone")
            for work in WORKS
            for setting in SETTINGS
            if setting != OURS
        ),
    ),
    repeats=1,
)

if __name__ == "__main__":
    main(CLAIM)
