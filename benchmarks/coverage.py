"""How often do the 95 % intervals cover, and how often does `compare` claim too much? Simulated, because only then is the truth known.

Experiments of three rounds test U speakers of one corpus, who say six emotions, neutral more often than the others. In logits, a clip
is answered right by the sum of its emotion's ease (-0.2 to 1.0), its speaker (sd 0.5), speaker x emotion (sd 0.3) and the round (sd 0, 0.05
or 0.15: the seed's luck). Whoever trains again has other speakers and another seed, so the truth is the expected score over both.

- Coverage: the share of repeats whose interval holds the truth, beside that of the percentile bootstrap over speakers, which this
  project used before. Repeats without an interval (speakers who all score alike) are left out and counted.
- Claims: two experiments equally good on the population, each better with some speakers and worse with others (speaker x experiment,
  sd 0.6; rounds' sd 0.05), should be claimed to differ in at most 5 % of repeats; one that is better by 1 logit, nearly always.

`python -m benchmarks.coverage` prints the tables (minutes on one core); `--write` puts them into docs/statistics.md.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit

from ser_mlops.emotions import EMOTIONS
from ser_mlops.scores.comparison import DIFFERS, judge_pairs
from ser_mlops.scores.intervals import estimate, interval
from ser_mlops.scores.metrics import scores_of
from ser_mlops.scores.tables import markdown
from ser_mlops.scores.units import Units

PAGE = Path(__file__).parents[1] / "docs/statistics.md"
MARKS = "<!-- coverage:start -->", "<!-- coverage:end -->"
SCORES = ("uar", "accuracy")
EASE = np.linspace(-0.2, 1.0, 6)
TAKES = np.array([10, 6, 6, 6, 4, 4])
NUM_EMOTIONS = len(EMOTIONS)
ROUNDS, CONFUSED_WITH = 3, NUM_EMOTIONS - 1
SPEAKER_SD, SPEAKER_EMOTION_SD, SPEAKER_SYSTEM_SD = 0.5, 0.3, 0.6
DRAWS = 999


def tested(random: np.random.Generator, speakers: int, logits: np.ndarray) -> np.ndarray:
    """Return the sums [U, R, F] of rounds in which clips are answered right with these logits [U, R, E]; else surprise is answered."""
    right = random.binomial(TAKES, expit(logits))
    sums = np.zeros((speakers, ROUNDS, 2 * NUM_EMOTIONS**2 + 1))
    for label in range(len(EASE)):
        sums[..., label * NUM_EMOTIONS + label] = right[..., label]
        sums[..., label * NUM_EMOTIONS + CONFUSED_WITH] = TAKES[label] - right[..., label]
    return sums


def population(random: np.random.Generator, speakers: int) -> np.ndarray:
    """Return the logits [U, 1, E] of drawn speakers."""
    return EASE + random.normal(0, SPEAKER_SD, (speakers, 1, 1)) + random.normal(0, SPEAKER_EMOTION_SD, (speakers, 1, len(EASE)))


def luck(random: np.random.Generator, rounds_sd: float) -> np.ndarray:
    """Return what the seeds add to the logits [1, R, 1]."""
    return random.normal(0, rounds_sd, (1, ROUNDS, 1))


def truth(rounds_sd: float) -> np.ndarray:
    """Return the expected UAR and accuracy over speakers and seeds."""
    points, weights = np.polynomial.hermite_e.hermegauss(60)
    spread = np.sqrt(SPEAKER_SD**2 + SPEAKER_EMOTION_SD**2 + rounds_sd**2)
    recalls = expit(EASE[:, None] + spread * points) @ weights / weights.sum()
    return np.array([recalls.mean(), recalls @ TAKES / TAKES.sum()])


def bootstrap(sums: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the bounds of the percentile bootstrap over speakers, the same draw for all rounds."""
    times = random.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=DRAWS)
    drawn = scores_of(np.tensordot(times.astype(float), sums, axes=1), SCORES).mean(axis=-1)
    low, high = np.quantile(drawn, (0.025, 0.975), axis=-1)
    return low, high


def coverage(repeats: int) -> Iterator[dict[str, object]]:
    """Yield a row of the table for every number of speakers and spread of the rounds."""
    for speakers in (2, 4, 6, 12, 24, 91):
        for rounds_sd in (0.0, 0.05, 0.15):
            random = np.random.default_rng([speakers, round(100 * rounds_sd)])
            expected, strata = truth(rounds_sd), np.zeros(speakers)
            held, given, widths = np.zeros((2, len(SCORES))), np.zeros(len(SCORES)), np.zeros(len(SCORES))
            for _ in range(repeats):
                sums = tested(random, speakers, population(random, speakers) + luck(random, rounds_sd))
                low, high = interval(estimate(sums, strata, SCORES))
                before_low, before_high = bootstrap(sums, random)
                given += np.isfinite(low)
                widths += np.nan_to_num(high - low)
                held += [(before_low <= expected) & (expected <= before_high), (low <= expected) & (expected <= high)]
            yield {
                "speakers": speakers,
                "rounds' sd": f"{rounds_sd:g}",
                **{f"bootstrap, {name}": held[0, number] / repeats for number, name in enumerate(SCORES)},
                **{f"interval, {name}": held[1, number] / given[number] for number, name in enumerate(SCORES)},
                "mean width, uar": f"{widths[0] / given[0]:.2f}",
                "have one": given[0] / repeats,
            }
            print(f"coverage: {speakers} speakers, rounds' sd {rounds_sd}", file=sys.stderr)


def claims(repeats: int) -> Iterator[dict[str, object]]:
    """Yield a row for every number of speakers and difference: how often it is claimed."""
    alike = [(speakers, 0, SPEAKER_SYSTEM_SD) for speakers in (1, 2, 4, 5, 6, 12, 24)]
    for speakers, better_by, taste_sd in (*alike, (18, 1, SPEAKER_SYSTEM_SD), (18, 1, 0.0)):
        random = np.random.default_rng([speakers, better_by, round(10 * taste_sd)])
        units = Units(np.array([]), tuple(map(str, range(speakers))), np.zeros(speakers))
        claimed = 0
        for repeat in range(repeats):
            speaker = population(random, speakers)
            sums = {}
            for name, ease in (("one", 0.0), ("other", float(better_by))):
                taste = random.normal(0, taste_sd, (speakers, 1, 1))
                sums[name] = tested(random, speakers, ease + speaker + taste + luck(random, 0.05))
            differences = judge_pairs(sums, units, repeat, DRAWS, {"one": {}, "other": {}}).set_index("score")
            claimed += differences.loc["uar", "verdict"] == DIFFERS
        yield {
            "speakers": speakers,
            "better by (logits)": better_by,
            "speaker x experiment (sd)": f"{taste_sd:g}",
            "claimed to differ": claimed / repeats,
        }
        print(f"claims: {speakers} speakers, better by {better_by}", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/statistics.md")
    given = parser.parse_args()
    tables = [markdown(pd.DataFrame(rows(given.repeats)), floats=".1%") for rows in (coverage, claims)]
    text = f"{given.repeats:,} repeats a row.\n\n" + "\n\n".join(tables)
    print(text)
    if given.write:
        page = PAGE.read_text(encoding="utf-8")
        before, after = page.split(MARKS[0])[0], page.split(MARKS[1])[1]
        PAGE.write_text(f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
