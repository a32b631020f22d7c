"""A claim that is measured in a second, for the tests of the harness: `python -m tests.tiny_claim`."""

import time
from collections.abc import Mapping

from benchmarks.harness import Claim, Contender, Limit, Work, main


def sleeping(seconds: float, clips: int) -> Work:
    def run() -> Mapping[str, float]:
        time.sleep(seconds)
        return {"uar": 0.5}

    return Work(run, amount=clips)


def failing() -> Work:
    raise FileNotFoundError("no file '/somewhere/on/this/machine/model.bin'")


CLAIM = Claim(
    "tiny",
    "Does the harness tell a short sleep from a long one?",
    unit="clip",
    repeats=3,
    passes=1,
    contenders=(
        Contender("short", lambda scale: sleeping(0.01 * scale, 10 * scale)),
        Contender("long", lambda scale: sleeping(0.04 * scale, 10 * scale), is_peer=True),
        Contender("shorter", lambda scale: sleeping(0.005 * scale, 10 * scale), is_peer=True),
        Contender("broken", lambda scale: failing(), is_peer=True),
    ),
    aims={("short", "long"): 3.0, ("short", "shorter"): 1.0},
    limits=(Limit("short", 0.4, "uar", is_least=True),),
)

if __name__ == "__main__":
    main(CLAIM)
