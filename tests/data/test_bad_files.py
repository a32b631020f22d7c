"""A folder of every kind of bad file: the good ones beside them are kept, each bad one has its reason, and nothing is fatal."""

import io
import json
import os
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ser_mlops.data.audio.defects import defect_in
from tests.data.audio.sounds import encoded, noise, tone, with_sizes

PROJECT = Path(__file__).parents[2]
STAGES = ("catalogue", "audio", "frames")


def patched(content: bytes, place: int, replacement: bytes) -> bytes:
    return content[:place] + replacement + content[place + len(replacement) :]


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("clip.wav", encoded(tone()))
    return file.getvalue()


WAV, FLAC = encoded(tone()), encoded(noise(1.0), container="FLAC")
STREAM = with_sizes(encoded(noise(seed=20)), 0xFFFFFFFF, 0xFFFFFFFF)
BAD_CONTENTS = {
    "empty": (b"", "empty file"),
    "LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 82046\n", "Git LFS pointer"),
    "AppleDouble": (b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        " + b"\0" * 60, "AppleDouble stub"),
    "web page": (b"<!DOCTYPE html><title>404 Not Found</title>", "text, not audio"),
    "plain text": ("enregistrement supprimé\n".encode(), "text, not audio"),
    "json": (json.dumps({"path": "clip.wav"}).encode(), "text, not audio"),
    "half a header": (WAV[:30], "unreadable"),
    "four bytes": (b"RIFF", "unreadable"),
    "header alone": (encoded(np.zeros(0, dtype=np.float32)), "no samples"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "unreadable"),
    "zip": (zipped(), "unreadable"),
    "pickle": (b"\x80\x04\x95\x0f\x00\x00\x00\x00\x00\x00\x00}\x94\x8c\x01a\x94K\x01s.", "unreadable"),
    "random bytes": (np.random.default_rng(1).bytes(4000), "unreadable"),
    "all 0xFF": (b"\xff" * 4000, "unreadable"),
    "zero bytes": (b"\0" * 4000, "unreadable"),
    "cut-off FLAC": (FLAC[: len(FLAC) // 2], "cut off"),
    "cut-off WAV": (WAV[: len(WAV) // 2], "cut off"),
    "compressed SPHERE": (
        b"NIST_1A\n   1024\nsample_coding -s26 pcm,embedded-shorten-v2.00\nend_head\n".ljust(2000),
        "needs another decoder",
    ),
    "square wave": (encoded(np.where(tone() >= 0, 32767, -32768).astype(np.int16)), "clipped throughout"),
    "float of another unit": (encoded(1e6 * tone(), subtype="FLOAT"), "samples far beyond full scale"),
    "damaged FLAC": (patched(FLAC, len(FLAC) // 2, b"\xaa" * 200), "unreadable"),
    "cut-off Opus": (encoded(noise(1.0), 48000, "OGG", "OPUS")[:2000], "unreadable"),
    "rate of 0": (patched(WAV, 24, struct.pack("<I", 0)), "unreadable"),
    "rate of 1": (patched(WAV, 24, struct.pack("<I", 1)), "unusable rate"),
    "no channel": (patched(WAV, 22, struct.pack("<H", 0)), "unreadable"),
    "65,535 channels": (patched(WAV, 22, struct.pack("<H", 65535)), "unreadable"),
    "unknown codec": (patched(WAV, 20, struct.pack("<H", 0x1234)), "unreadable"),
    "all zeros": (encoded(np.zeros(41120, dtype=np.float32)), "all zeros"),
    "stereo of zeros": (encoded(np.zeros((8000, 2), dtype=np.float32), 48000), "all zeros"),
    "opposite channels": (encoded(np.stack([tone(), -tone()], axis=1), subtype="FLOAT"), "all zeros"),
    "below one step": (encoded(np.full(8000, 1e-8, dtype=np.float32), subtype="FLOAT"), "all zeros"),
    "constant": (encoded(np.full(8000, 0.25, dtype=np.float32)), "constant samples"),
    "NaN": (encoded(np.array([0.1, np.nan] * 4000, dtype=np.float32), subtype="FLOAT"), "NaN or infinite samples"),
    "infinite": (encoded(np.array([0.1, -np.inf] * 4000, dtype=np.float32), subtype="DOUBLE"), "NaN or infinite samples"),
    "too short": (encoded(tone(0.05)), "too short"),
}
GOOD_CONTENTS = {
    "plain": WAV,
    "stereo": encoded(np.stack([noise(seed=1), noise(seed=2)], axis=1)),
    "8 bit": encoded(noise(seed=3), subtype="PCM_U8"),
    "24 bit": encoded(noise(seed=4), subtype="PCM_24"),
    "float": encoded(noise(seed=5), subtype="FLOAT"),
    "192 kHz": encoded(noise(rate=192000, seed=6), 192000),
    "24,414 Hz": encoded(noise(rate=24414, seed=7), 24414),
    "AIFF": encoded(noise(seed=8), container="AIFF"),
    "FLAC": encoded(noise(seed=9), container="FLAC"),
    "Vorbis": encoded(noise(seed=10), container="OGG", subtype="VORBIS"),
    "MP3": encoded(noise(1.0, seed=11), container="MP3", subtype="MPEG_LAYER_III"),
    "unknown length": STREAM,
    "AU": encoded(noise(seed=13), container="AU"),
    "SPHERE": encoded(noise(seed=14), container="NIST"),
    "int16 in float": encoded(np.rint(32768 * noise(seed=15)).astype(np.float32), subtype="FLOAT"),
    "chunk before the data": WAV[:36] + b"LIST" + struct.pack("<I", 26) + b"\0" * 26 + encoded(noise(seed=12))[36:],
}


def name_of(number: int, code: str = "ANG") -> str:
    sentences = ("DFA", "IEO", "IOM", "ITH", "ITS", "IWL", "IWW", "MTI", "TAI", "TIE", "TSI", "WSI")
    return f"{1001 + number // len(sentences)}_{sentences[number % len(sentences)]}_{code}_XX.wav"


def run_stages(folder: Path, stages: tuple[str, ...] = STAGES) -> subprocess.CompletedProcess[str]:
    """Run the stages for CREMA in a project folder whose recordings lie in `raw`."""
    params = (PROJECT / "params.yaml").read_text(encoding="utf-8").replace("raw: data/demo", "raw: raw")
    (folder / "params.yaml").write_text(params, encoding="utf-8")
    for stage in stages:
        done = subprocess.run(
            [sys.executable, "-m", f"pipelines.{stage}", "--corpus", "CREMA"],
            cwd=folder,
            text=True,
            capture_output=True,
            env=os.environ | {"PYTHONPATH": str(PROJECT)},
            check=False,
        )
        if done.returncode:
            break
    return done


@pytest.fixture(scope="module")
def bad_and_good(tmp_path_factory) -> tuple[Path, dict[str, str], set[str]]:
    """A project with recordings of every kind; the expected reasons of the bad ones by name, and the names of the good ones."""
    folder = tmp_path_factory.mktemp("project")
    audio = folder / "raw/CREMA/AudioWAV"
    audio.mkdir(parents=True)
    reasons = {}
    for number, (content, reason) in enumerate(BAD_CONTENTS.values()):
        (audio / name_of(number)).write_bytes(content)
        reasons[name_of(number)] = reason
    good = {name_of(100 + number, "HAP"): content for number, content in enumerate(GOOD_CONTENTS.values())}
    clip = noise(seed=99)
    named = {
        "1001_DFA_XYZ_XX.wav": "unknown emotion code 'XYZ'",
        "2001_DFA_ANG_XX.wav": "unparsable name",
        "hello.wav": "unparsable name",
        "._1001_DFA_SAD_XX.wav": "AppleDouble stub",
        "1090_IEO_ANG_XX.wav": "duplicate samples with another label",
        "1090_IEO_SAD_XX.wav": "duplicate samples with another label",
        "1091_WSI_FEA_XX.wav": "duplicate samples",
    }
    good["1091_IEO_FEA_XX.wav"] = encoded(noise(seed=98))
    for name, content in good.items():
        (audio / name).write_bytes(content)
    for name in named:
        (audio / name).write_bytes(encoded(noise(seed=98) if name.startswith("1091") else clip))
    (audio / "1089_TIE_DIS_XX.wav").symlink_to("nowhere.wav")
    (audio.parent / "again").mkdir()
    (audio.parent / "again" / name_of(100, "HAP")).write_bytes(b"RIFF")
    reasons |= named | {"1089_TIE_DIS_XX.wav": "unreadable", f"again/{name_of(100, 'HAP')}": "copy"}
    return folder, reasons, set(good)


def test_good_files_are_kept_and_every_bad_one_has_its_reason(bad_and_good):
    folder, reasons, good = bad_and_good
    done = run_stages(folder)
    assert done.returncode == 0, done.stderr
    frame = pd.read_parquet(folder / "data/frames/CREMA.parquet")
    left_out = pd.read_csv(folder / "data/left_out/CREMA.csv", keep_default_na=False).set_index("path")["reason"]
    assert {Path(path).name for path in frame["path"]} == good
    found = {path.removeprefix("CREMA/").removeprefix("AudioWAV/"): defect_in(reason) for path, reason in left_out.items()}
    assert found == reasons
    assert len(BAD_CONTENTS) >= 25


def test_only_bad_files_end_in_one_clear_line(tmp_path):
    audio = tmp_path / "raw/CREMA/AudioWAV"
    audio.mkdir(parents=True)
    for number, (content, _) in enumerate(list(BAD_CONTENTS.values())[:6]):
        (audio / name_of(number)).write_bytes(content)
    done = run_stages(tmp_path)
    assert done.returncode == 2
    assert done.stderr == "error: no usable clip in raw/CREMA: 3 text, not audio, 1 AppleDouble stub, 1 Git LFS pointer, 1 empty file\n"
    assert not (tmp_path / "data/frames/CREMA.parquet").exists()


def test_a_missing_corpus_folder_says_what_was_expected_in_it(tmp_path):
    done = run_stages(tmp_path)
    assert done.returncode == 2
    assert done.stderr == "error: no folder raw/CREMA, expected files such as raw/CREMA/AudioWAV/1001_IEO_ANG_HI.wav\n"
