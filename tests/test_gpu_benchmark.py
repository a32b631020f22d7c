"""The questions for a GPU, asked of a toy on the CPU: every one that needs no GPU is answered, in time, one JSON line each."""

import json

import pytest

from benchmarks import gpu


def asked(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[dict]]:
    with pytest.raises(SystemExit) as end:
        gpu.main(["--toy", *arguments])
    return end.value.code, [json.loads(line) for line in capfd.readouterr().out.splitlines()]


def test_each_question_is_answered_on_a_line_of_its_own(capfd):
    asked_for = ["limit", "frozen", "compiled", "masks", "side_by_side"]  # the other two go the way of `frozen`

    code, (machine, *answers) = asked(capfd, "--only", ",".join(asked_for))

    assert (code, machine["model"]) == (0, "toy")
    assert [answer["question"] for answer in answers] == asked_for
    figures = [{name: value for name, value in answer.items() if name not in ("question", "took")} for answer in answers]
    unanswered = [each.pop("not answered") for each in figures if "not answered" in each]
    assert set(unanswered) <= {"compiled steps need a GPU"}
    assert all(each and min(each.values()) > 0 for each in figures)


def test_what_there_is_no_time_for_says_so(capfd):
    code, (_, answer) = asked(capfd, "--minutes", "1e-9", "--only", "limit")

    assert (code, answer["not answered"]) == (0, "the 1e-09 minutes were over")


def test_an_unknown_question_is_refused_with_those_there_are(capfd):
    with pytest.raises(SystemExit, match="2"):
        gpu.main(["--only", "limits"])

    assert "unknown limits; there are limit, frozen" in capfd.readouterr().err
