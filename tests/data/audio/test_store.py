"""The audio file of a corpus follows from its files alone, is whole or absent, and needs no memory for the corpus."""

import hashlib
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ser_mlops.data.audio import store
from ser_mlops.data.audio.decode import decode
from ser_mlops.data.audio.intake import measure
from ser_mlops.data.audio.store import write_audio
from ser_mlops.errors import DataError
from tests.data.audio.sounds import encoded, noise, tone

PROJECT = Path(__file__).parents[3]


def clips_in(folder: Path, count: int, rate: int = 16000) -> list[tuple[str, Path]]:
    folder.mkdir(exist_ok=True)
    for i in range(count):
        (folder / f"{i:04}.wav").write_bytes(encoded(noise(0.2 + 0.01 * (i % 7), rate, seed=i), rate))
    return [(f"X/{i:04}.wav", folder / f"{i:04}.wav") for i in range(count)]


def test_clips_lie_end_to_end_and_the_index_finds_them(tmp_path):
    files = clips_in(tmp_path / "raw", 5, 22050)
    files.insert(2, ("X/bad.wav", tmp_path / "raw/bad.wav"))
    files[2][1].write_bytes(b"")
    index = write_audio(files, tmp_path / "X.npy", 0.1, 1)
    audio = np.load(tmp_path / "X.npy", mmap_mode="r")
    assert audio.dtype == np.int16
    assert len(audio) == index["num_samples"].sum()
    assert index["path"].tolist() == [path for path, _ in files]
    assert index["defect"].tolist() == ["", "", "empty file", "", "", ""]
    for (_, file), row in zip(files, index.itertuples(), strict=True):
        samples = audio[row.start : row.start + row.num_samples]
        if row.defect:
            assert (row.num_samples, row.sha256) == (0, "")
        else:
            assert np.array_equal(samples, decode(file).samples)
            assert row.sha256 == hashlib.sha256(samples.tobytes()).hexdigest()
            assert row.source_rate == 22050
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "X.parquet"), index)


def test_a_full_disk_is_one_line_and_leaves_the_old_files_whole(tmp_path):
    """A limit on the size of files stops the writing half-way, as a full disk or a quota does."""
    files = clips_in(tmp_path / "raw", 20)
    write_audio(files[:2], tmp_path / "X.npy", 0.1, 1)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("X.*")}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, hard))
    try:
        with pytest.raises(DataError, match=r"is full \(File too large\): nothing was written"):
            write_audio(files, tmp_path / "X.npy", 0.1, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_the_bytes_do_not_depend_on_the_number_of_workers(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "MIN_FILES_PER_WORKER", 8)
    files = clips_in(tmp_path / "raw", 60, 24414)
    written = []
    for workers in (1, 2, 3):
        write_audio(files, tmp_path / f"{workers}/X.npy", 0.1, workers)
        written.append([(tmp_path / f"{workers}/X{suffix}").read_bytes() for suffix in (".npy", ".parquet")])
    assert written[0] == written[1] == written[2]


def test_a_corpus_of_defects_gives_an_empty_audio_file(tmp_path):
    (tmp_path / "bad.wav").write_bytes(b"")
    index = write_audio([("X/bad.wav", tmp_path / "bad.wav")], tmp_path / "X.npy", 0.1, 1)
    assert index["defect"].tolist() == ["empty file"]
    assert np.load(tmp_path / "X.npy").shape == (0,)


def test_memory_does_not_grow_with_the_corpus(tmp_path):
    file = tmp_path / "clip.wav"
    file.write_bytes(encoded(noise(2.0)))
    peaks = []
    for count in (50, 500):
        files = [(f"X/{i}.wav", file) for i in range(count)]
        tracemalloc.start()
        write_audio(files, tmp_path / "X.npy", 0.1, 1)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    samples_more = 450 * 2 * 32000
    assert peaks[1] - peaks[0] < samples_more / 10


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_stage_stopped_half_way_leaves_the_old_files_whole_and_no_process_behind(tmp_path, how):
    files = clips_in(tmp_path / "raw", 3)
    write_audio(files, tmp_path / "out/X.npy", 0.1, 1)
    old = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    script = tmp_path / "slow.py"
    script.write_text(
        textwrap.dedent("""
        import signal, sys
        from pathlib import Path
        from ser_mlops.data.audio.store import write_audio
        if __name__ == "__main__":
            signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit that it is ignored
            folder = Path(sys.argv[1])
            files = [(f"X/{i}.wav", folder / "raw" / f"{i % 3:04}.wav") for i in range(200_000)]
            write_audio(files, folder / "out/X.npy", 0.1, 2)
    """)
    )
    process = subprocess.Popen(
        [sys.executable, script, tmp_path], env=os.environ | {"PYTHONPATH": str(PROJECT)}, start_new_session=True, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 600
        while not any(path.stat().st_size > 100_000 for path in (tmp_path / "out").glob(".X.npy.*")):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
    finally:
        process.send_signal(how)
        process.wait(600)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir() if not path.name.startswith(".")} == old
    while _group_is_alive(process.pid):
        assert time.monotonic() < deadline, "a worker outlived its parent"
        time.sleep(0.05)
    write_audio(files, tmp_path / "out/X.npy", 0.1, 1)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == old


def _group_is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_odd_clips_are_kept_with_a_warning(tmp_path):
    loud = np.clip(tone(0.5, level=3.0), -1, 0.99999)
    spoken_briefly = np.concatenate([tone(0.1), noise(0.9, level=1e-4)])
    waves = {"plain": (tone(), 16000), "loud": (loud, 16000), "silent": (spoken_briefly, 16000), "odd": (tone(0.5, 96000), 96000)}
    files = []
    for name, (wave, rate) in waves.items():
        (tmp_path / f"{name}.wav").write_bytes(encoded(wave, rate))
        files.append((name, tmp_path / f"{name}.wav"))
    index = write_audio(files, tmp_path / "X.npy", 0.1, 1).set_index("path")
    assert index["warnings"].to_dict() == {"plain": "", "loud": "clipped samples", "silent": "much silence", "odd": "unusual rate"}
    assert not index["defect"].any()


def test_a_corpus_below_16_khz_is_unusual_as_a_whole(tmp_path):
    index = write_audio(clips_in(tmp_path / "raw", 3, 8000), tmp_path / "X.npy", 0.1, 1)
    assert set(index["warnings"]) == {"unusual rate"}


@pytest.mark.parametrize("count", [1, 319, 320, 321, 16000])
def test_levels_of_any_length_are_finite(count):
    samples = np.random.default_rng(0).integers(-9000, 9000, count).astype(np.int16)
    peak, rms_db, silence = measure(samples)
    assert 0 < peak <= 1
    assert -100 < rms_db <= 0
    assert 0 <= silence <= 1
