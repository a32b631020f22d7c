"""The harness: ratios worked out by hand, results that say what they should and no more, environments that mend themselves."""

import importlib
import json
import os
import socket
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy
import pytest

from benchmarks import machine
from benchmarks.__main__ import CLAIMS
from benchmarks.agreement import compare
from benchmarks.harness import Work, measure
from benchmarks.peers import Environment
from benchmarks.results import limits_of, page_of, ratios_of, read_results, seconds_per_unit, times_faster, write_result
from benchmarks.table import END, HEADLINES, START, rewrite, table_of

ROOT = Path(__file__).parent.parent


def result(month: str = "2026-01", claim: str = "ingest", limits: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    ran = {"peak_mib": 100.0, "gpu_peak_mib": 0.0, "facts": {}, "kind": ""}
    rows = [
        {"name": "ours", "is_peer": False, "seconds": [1.0, 2.0, 3.0], "amount": 2} | ran | {"facts": {"% lost": [1.0, 2.0, 4.0]}},
        {"name": "slow", "is_peer": True, "seconds": [8.0, 8.0, 8.0], "amount": 2} | ran,
        {"name": "fast", "is_peer": True, "seconds": [1.0, 1.0, 1.0], "amount": 2} | ran,
        {"name": "other work", "is_peer": True, "seconds": [1.0, 1.0, 1.0], "amount": 2} | ran | {"kind": "other"},
        {"name": "gone", "is_peer": True, "kind": "", "failed": "no such package"},
    ]
    return {
        "claim": claim,
        "question": "How fast?",
        "unit": "clip",
        "scale": 1,
        "month": month,
        "commit": "abc",
        "command": "python -m x",
        "machine": {"cpu": "Some CPU", "cores": "2", "gpu": "none"},
        "rows": rows,
        "aims": [{"ours": "ours", "peer": "slow", "times": 3.0}],
        "limits": limits or [],
    }


def limit(value: float | None, fact: str = "% lost", against: str = "", contender: str = "ours", is_least: bool = False) -> dict[str, Any]:
    return {"contender": contender, "value": value, "fact": fact, "against": against, "is_least": is_least}


def test_ratios_are_those_worked_out_by_hand() -> None:
    # Ours: 1, 2, 3 s for two clips: median 1 s per clip, 0.5 to 1.5. The slow peer: 4 s per clip.
    ours, slow = result()["rows"][:2]
    assert seconds_per_unit(ours).median == 1.0
    assert (times_faster(ours, slow).low, times_faster(ours, slow).median, times_faster(ours, slow).high) == (4 / 1.5, 4.0, 4 / 0.5)


def test_lost_and_failed_peers_stay_in_the_result_and_other_work_is_not_compared() -> None:
    ratios = {ratio.peer: ratio for ratio in ratios_of(result())}
    assert ratios.keys() == {"slow", "fast"}
    assert ratios["slow"].aim == "3 reached"
    assert ratios["fast"].times.median == 0.5
    page = page_of(result())
    assert "| ours | fast | 0.5 |" in page
    assert "gone could not run: no such package" in page


def test_contenders_named_by_what_and_where_are_shown_as_a_table_of_both() -> None:
    names = {"tiny: alone": 1.0, "tiny: beside one": 2.0, "large: alone": 30.0}
    rows = [{**result()["rows"][0], "name": name, "seconds": [seconds], "amount": 1} for name, seconds in names.items()]
    page = page_of({**result(), "rows": rows})
    assert "| alone | beside one |\n| --- | --- | --- |\n| tiny | 1 | 2 |\n| large | 30 |  |\n" in page


def test_limits_judge_the_median_of_a_fact_or_of_the_time_alone_or_against_another_contenders() -> None:
    limits = [
        limit(2),
        limit(1.9),
        limit(2, is_least=True),
        limit(2.1, is_least=True),
        limit(0.9, fact=""),
        limit(None),
        limit(2, fact="", against="fast"),
        limit(1, contender="gone"),
        limit(1, fact="", against="gone"),
    ]
    judged = limits_of(result(limits=limits))
    assert [limit.aim for limit in judged] == [
        "at most 2 reached",
        "at most 1.9 missed",
        "at least 2 reached",
        "at least 2.1 missed",
        "at most 0.9 missed",
        "",
        "at most 2 reached",
    ]
    assert (judged[0].value.low, judged[0].value.median, judged[0].value.high) == (1.0, 2.0, 4.0)
    assert (judged[-1].value.low, judged[-1].value.median, judged[-1].value.high) == (1.0, 2.0, 3.0)
    assert judged[-1].what == "s per clip, divided by that of fast"
    page = page_of(result(limits=limits))
    assert "| ours | % lost | 2 | 1 to 4 | at most 2 reached |" in page
    assert "| ours | 1 | 0.5 to 1.5 | 1 | 3 | 100 | 2 |" in page


def test_a_second_run_agrees_where_ranges_touch() -> None:
    slower = result()
    slower["rows"][0]["seconds"] = [2.5, 3.0, 3.5]
    lines = sorted(compare([result()], [slower]))
    assert lines == [
        "| ingest | ours | fast, times faster | 0.5 (0.333 to 1) | 0.333 (0.286 to 0.4) | yes |",
        "| ingest | ours | slow, times faster | 4 (2.67 to 8) | 2.67 (2.29 to 3.2) | yes |",
    ]
    slower["rows"][0]["seconds"] = [9.0, 9.0, 9.5]
    assert [line[-6:] for line in compare([result()], [slower])] == ["| no |"] * 2
    assert list(compare([result()], [result(claim="start")])) == []


def test_work_is_warmed_up_prepared_before_every_run_and_timed_without_its_preparation() -> None:
    calls: list[str] = []

    def run() -> dict[str, float]:
        calls.append("run")
        return {"number": len(calls)}

    measured = measure(Work(run, amount=1, prepare=lambda: calls.append("prepare")), repeats=3, warmups=2)
    assert calls == ["prepare", "run"] * 5
    assert len(measured["seconds"]) == 3
    assert measured["facts"] == {"number": [6, 8, 10]}
    assert measured["peak_mib"] > 1


def test_a_claim_is_measured_and_written_without_naming_the_machine(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.tiny_claim", "--results", str(tmp_path), "--scale", "2"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (stored,) = read_results(tmp_path)
    assert [row["name"] for row in stored["rows"]] == ["short", "long", "shorter", "broken"]
    assert [len(row.get("seconds", [])) for row in stored["rows"]] == [3, 3, 3, 0]
    assert stored["rows"][0]["facts"] == {"uar": [0.5, 0.5, 0.5]}
    assert [limit.aim for limit in limits_of(stored)] == ["at least 0.4 reached"]
    assert stored["command"] == "python -m tests.tiny_claim --scale 2"
    assert "aim" in table_of([stored])
    (name,) = (path.name for path in tmp_path.glob("*.json"))
    assert name == f"tiny-x2_{machine.hardware_name(stored['machine'])}_{stored['month']}.json"
    for path in tmp_path.iterdir():
        text = path.read_text()
        for secret in (socket.gethostname(), str(ROOT), str(Path.home()) + os.sep, str(tmp_path), "/somewhere"):
            assert secret not in text


def test_one_of_ours_that_fails_or_takes_too_long_fails_its_claim(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.tiny_claim", "--results", str(tmp_path), "--only", "short", "--minutes", "0.001"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True).returncode == 1
    (stored,) = read_results(tmp_path)
    assert [row["failed"] for row in stored["rows"]] == ["not done after 0.001 minutes"]


def test_the_newest_result_of_a_claim_and_hardware_is_read(tmp_path: Path) -> None:
    for month in ("2026-02", "2026-01"):
        write_result(tmp_path, result(month))
    write_result(tmp_path, result("2025-12", "feature_encoder"))
    newest = [(stored["claim"], stored["month"]) for stored in read_results(tmp_path)]
    assert newest == [("feature_encoder", "2025-12"), ("ingest", "2026-02")]


def test_the_table_stands_between_its_markers_and_nothing_else_changes(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{START}\nold\n{END}\nafter\n")
    for _ in range(2):
        rewrite(readme, table_of([result(limits=[limit(2)])]))
    text = readme.read_text()
    assert "| ingest | ours | % lost | **2** (1 to 4) | at most 2 reached | Some CPU, 2 cores | 2026-01 | abc |" in text
    assert text.startswith(f"before\n{START}\n| claim |")
    assert text.endswith(f"{END}\nafter\n")
    assert "old" not in text
    assert "| ingest | ours: 1 s per clip | slow | **4×** (2.67 to 8) | 3 reached | Some CPU, 2 cores | 2026-01 | abc |" in text
    readme.write_text("no markers")
    with pytest.raises(SystemExit, match="has no"):
        rewrite(readme, "")


def test_the_short_table_has_the_chosen_rows_in_their_order() -> None:
    results = [result(limits=[limit(2)])]
    short = table_of(results, [("ingest", "ours", "% lost"), ("ingest", "ours", "fast")]).splitlines()
    assert [line.split(" | ")[2] for line in short[2:]] == ["% lost", "fast"]
    assert set(short) < set(table_of(results).splitlines())


def test_the_rows_of_the_readme_are_all_measured() -> None:
    for row in HEADLINES:
        assert len(table_of(read_results(), [row]).splitlines()) >= 3, f"{row} is not in the results"


def test_the_harness_needs_the_standard_library_alone() -> None:
    program = "import json, sys, benchmarks.harness; print(json.dumps(sorted(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert not {"numpy", "torch", "pandas", "psutil", "ser_mlops"} & set(json.loads(printed))


def test_every_claim_loads_with_the_standard_library_alone() -> None:
    names = ", ".join(f"benchmarks.{name}" for name in CLAIMS)
    program = f"import json, sys, {names}; print(json.dumps(sorted(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert not {"numpy", "torch", "pandas", "psutil", "ser_mlops"} & set(json.loads(printed))


@pytest.mark.parametrize("name", CLAIMS)
def test_every_claim_names_its_own_contenders(name: str) -> None:
    claim = importlib.import_module(f"benchmarks.{name}").CLAIM
    peers = {contender.name: contender.is_peer for contender in claim.contenders}
    assert claim.name == name
    assert len(peers) == len(claim.contenders)
    assert not any("," in contender for contender in peers)  # which --only separates
    assert all(not peers[ours] and peers[peer] for ours, peer in claim.aims)
    assert {limit.contender for limit in claim.limits} | {limit.against for limit in claim.limits if limit.against} <= peers.keys()


def tiny_wheel(folder: Path, name: str) -> str:
    """A package that pip installs without asking anybody."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}.py", "VALUE = 42\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return str(path)


def test_a_peer_gets_an_environment_of_its_own_that_is_mended_and_reused(tmp_path: Path) -> None:
    environment = Environment("peer", (tiny_wheel(tmp_path, "tinypeer"),))
    home = tmp_path / "peers" / "peer"
    home.mkdir(parents=True)
    (home / "left_by_a_broken_build").touch()
    python = environment.python(tmp_path / "peers")
    assert not (home / "left_by_a_broken_build").exists()
    program = "import tinypeer, numpy; print(tinypeer.VALUE)"
    printed = subprocess.run([python, "-c", program], check=True, capture_output=True, text=True).stdout
    assert printed == "42\n"
    ours = Path(numpy.__file__).resolve().parents[1]
    assert str(ours) in (home / "complete").read_text()  # peers behind packages that are gone would be built again
    assert [Path(line) for path in home.rglob("ours.pth") for line in path.read_text().splitlines()] == [ours]
    built = (home / "complete").stat().st_mtime_ns
    assert environment.python(tmp_path / "peers") == python
    assert (home / "complete").stat().st_mtime_ns == built
    with pytest.raises(ImportError):
        __import__("tinypeer")
