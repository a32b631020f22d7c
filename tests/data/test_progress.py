"""Long work speaks in a file, too."""

import sys

import numpy as np
import soundfile

from ser_mlops.data import progress as module
from ser_mlops.data.audio.store import write_audio
from ser_mlops.data.progress import progress


def test_a_file_gets_whole_lines_with_done_total_rate_time_left_and_facts(monkeypatch, capsys):
    monkeypatch.setattr(module, "LINE_SECONDS", 0.0)
    assert not sys.stderr.isatty()
    with progress(3, "round 0", "step") as bar:
        for number in range(3):
            bar.set_postfix({"epoch": f"{number + 1}/3"}, refresh=False)
            bar.update()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("round 0: 0 of 3 steps, ")
    assert lines[-1].startswith("round 0: 3 of 3 steps, ")
    assert lines[-1].endswith(" left, epoch=3/3")
    assert not [line for line in lines if "\r" in line]


def test_a_line_has_the_plural_of_its_unit(monkeypatch, capsys):
    monkeypatch.setattr(module, "LINE_SECONDS", 0.0)
    with progress(3, "CREMA", "s of audio", "s of audio") as bar:
        bar.update(3)
    assert capsys.readouterr().err.splitlines()[-1].startswith("CREMA: 3 of 3 s of audio, ")


def test_a_bar_below_another_one_moves_no_cursor_in_a_file(monkeypatch, capsys):
    monkeypatch.setattr(module, "LINE_SECONDS", 0.0)
    with progress(1, "rounds", "round") as outer, progress(1, "drawing figures", "round", leave=False) as inner:
        inner.update()
        outer.update()
    told = capsys.readouterr().err
    assert "drawing figures: 1 of 1 rounds, " in told
    assert "\x1b" not in told


def test_short_work_leaves_no_line_in_a_file_whatever_facts_change(capsys):
    with progress(3, "round 0", "step") as bar:
        bar.set_postfix_str("9 s of audio")
        bar.update(3)
        bar.set_postfix_str("17 s of audio")
    assert capsys.readouterr().err == ""


def test_ingest_tells_a_file_how_far_it_is(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(module, "LINE_SECONDS", 0.0)
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).normal(size=8000) / 10, 16_000)
    write_audio([("A/a.wav", tmp_path / "a.wav")], tmp_path / "A.npy", min_seconds=0.1, workers=1)
    assert capsys.readouterr().err.splitlines()[-1].startswith("A: decoding: 1 of 1 clips, ")
