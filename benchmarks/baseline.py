"""How fast are clips described for the baseline?

Synthetic voices of CREMA's lengths (2.5 s on average), one process and one thread on every side, clips in memory. Ours are the 411
functionals of torchaudio's features; openSMILE computes its 88 of eGeMAPS v02 in C++; the librosa loop is the script that people write
for numbers like ours: 40 MFCC and their deltas, energy and pitch (yin), and the mean, standard deviation and quartiles of each.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.harness import Claim, Contender, Work, main, scaled
from benchmarks.peers import Environment
from benchmarks.workloads import keep_folder, write_clips

NUM_CLIPS = 200
RATE = 16_000


def _work(scale: float, describe: Callable[[Any], Any]) -> Work:
    """Time `describe`, which takes the samples of a clip (int16)."""
    clips = write_clips(Path(keep_folder().name) / "audio", scaled(NUM_CLIPS, scale))
    waves = [clips.wave(i) for i in range(len(clips))]

    def run() -> Mapping[str, float]:
        start = os.times()
        for wave in waves:
            numbers = describe(wave)
        end = os.times()
        busy = end.user + end.system - start.user - start.system
        return {"clips a second": len(waves) / (end.elapsed - start.elapsed), "processor ms per clip": 1000 * busy / len(waves)} | {
            "numbers per clip": len(numbers)
        }

    return Work(run, len(waves))


def functionals_of_ours(scale: float) -> Work:
    from ser_mlops.models.functionals import functionals

    return _work(scale, functionals)


def egemaps_of_opensmile(scale: float) -> Work:
    import numpy as np
    import opensmile

    smile = opensmile.Smile(feature_set=opensmile.FeatureSet.eGeMAPSv02, feature_level=opensmile.FeatureLevel.Functionals, num_workers=1)
    return _work(scale, lambda wave: smile.process_signal(wave.astype(np.float32) / 32768, RATE).to_numpy()[0])


def functionals_of_librosa(scale: float) -> Work:
    import librosa
    import numpy as np

    def describe(wave: Any) -> Any:
        samples = wave.astype(np.float32) / 32768
        spectrum: dict[str, Any] = {"n_fft": 512, "win_length": 400, "hop_length": 160}
        mfcc = librosa.feature.mfcc(y=samples, sr=RATE, n_mfcc=40, n_mels=64, **spectrum)
        energy = librosa.feature.rms(y=samples, frame_length=400, hop_length=160)
        pitch = librosa.yin(samples, fmin=85, fmax=3400, sr=RATE, frame_length=1024, hop_length=160)[None]
        parts = (mfcc, librosa.feature.delta(mfcc), energy, pitch)
        means = [value for part in parts for value in (part.mean(axis=1), part.std(axis=1), *np.quantile(part, (0.25, 0.5, 0.75), axis=1))]
        return np.concatenate([*means, [len(samples) / RATE]])

    return _work(scale, describe)


OURS = "ser_mlops (411 functionals)"
LIBROSA = "librosa (411 functionals)"
CLAIM = Claim(
    "baseline",
    "How fast are clips described for the baseline?",
    unit="clip",
    contenders=(
        Contender(OURS, functionals_of_ours),
        Contender("opensmile (88 of eGeMAPS)", egemaps_of_opensmile, is_peer=True, environment=Environment("opensmile", ("opensmile",))),
        Contender(LIBROSA, functionals_of_librosa, is_peer=True, environment=Environment("librosa_functionals", ("librosa",))),
    ),
    aims={(OURS, LIBROSA): 1.0},
    repeats=3,
)

if __name__ == "__main__":
    main(CLAIM)
