"""Every record arrives exactly once and in order, whatever happens to the server or to the process."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from ser_mlops.errors import TrackingError
from ser_mlops.tracking.outbox import RECORDS, REFUSED, Outbox, Pace, Record, Unreachable, drain

ROOT = Path(__file__).parents[2]
TICK_S = 0.01
FAST = Pace(TICK_S)
IMPATIENT = Pace(TICK_S, patience_s=0)


class Server:
    """What arrives at a server that may be away, and that refuses records with a `bad` in them."""

    def __init__(self) -> None:
        self.arrived: list[int] = []
        self.is_away = False

    def deliver(self, records: Sequence[Record]) -> None:
        if self.is_away:
            raise Unreachable("nobody answers")
        if any("bad" in record for record in records):
            raise TrackingError("the store refused a record")
        self.arrived.extend(record["number"] for record in records)


@pytest.fixture
def server() -> Server:
    return Server()


def numbers(*given: int) -> list[dict[str, int]]:
    return [{"number": number} for number in given]


def fill(outbox: Outbox, records: Sequence[Record]) -> None:
    for record in records:
        outbox.append(record)


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 600
    while not is_so():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(TICK_S)


def test_records_arrive_in_order_while_they_are_appended(tmp_path, server):
    outbox = Outbox(tmp_path / "run", server.deliver, FAST)
    fill(outbox, numbers(*range(50)))
    wait_until(lambda: len(server.arrived) == 50)
    fill(outbox, numbers(*range(50, 60)))
    assert outbox.close()
    assert server.arrived == list(range(60))
    assert not (tmp_path / "run").exists()


def test_more_records_than_a_batch_arrive_once(tmp_path, server):
    outbox = Outbox(tmp_path / "run", server.deliver, FAST)
    fill(outbox, numbers(*range(1203)))
    assert outbox.close()
    assert server.arrived == list(range(1203))


def test_records_are_on_disk_before_they_are_sent(tmp_path, server):
    server.is_away = True
    outbox = Outbox(tmp_path / "run", server.deliver, IMPATIENT)
    outbox.append({"number": 7, "score": float("nan")})
    assert json.loads((tmp_path / "run" / RECORDS).read_text())["number"] == 7
    outbox.close()


def test_what_an_outage_holds_up_arrives_once_when_the_server_is_back(tmp_path, server):
    outbox = Outbox(tmp_path / "run", server.deliver, FAST)
    fill(outbox, numbers(0, 1))
    wait_until(lambda: server.arrived == [0, 1])
    server.is_away = True
    fill(outbox, numbers(2, 3))
    time.sleep(10 * TICK_S)
    assert server.arrived == [0, 1]
    server.is_away = False
    fill(outbox, numbers(4))
    wait_until(lambda: server.arrived == [0, 1, 2, 3, 4])
    assert outbox.close()


def test_an_outage_does_not_stop_the_clock(tmp_path, server):
    server.is_away = True
    ticks = []
    outbox = Outbox(tmp_path / "run", server.deliver, IMPATIENT, lambda: ticks.append(time.monotonic()))
    outbox.append({"number": 0})
    wait_until(lambda: len(ticks) > 20)  # the pauses between tries have grown beyond this by now
    outbox.close()


def test_what_is_left_at_the_end_is_sent_by_the_next_start(tmp_path, server):
    server.is_away = True
    outbox = Outbox(tmp_path / "run", server.deliver, IMPATIENT)
    fill(outbox, numbers(0, 1, 2))
    assert not outbox.close()
    assert drain(tmp_path, server.deliver).waiting == [tmp_path / "run"]
    server.is_away = False
    assert drain(tmp_path, server.deliver).delivered == [tmp_path / "run"]
    assert server.arrived == [0, 1, 2]
    assert drain(tmp_path, server.deliver).delivered == []
    assert list(tmp_path.iterdir()) == []


def test_an_outbox_that_is_opened_again_goes_on_where_it_was(tmp_path, server):
    first = Outbox(tmp_path / "run", server.deliver, IMPATIENT)
    fill(first, numbers(0, 1))
    wait_until(lambda: server.arrived == [0, 1])
    server.is_away = True
    fill(first, numbers(2))
    assert not first.close()
    server.is_away = False
    second = Outbox(tmp_path / "run", server.deliver, FAST)
    fill(second, numbers(3))
    assert second.close()
    assert server.arrived == [0, 1, 2, 3]


def test_a_line_that_a_kill_tore_is_not_sent_and_spoils_no_other(tmp_path, server):
    server.is_away = True
    outbox = Outbox(tmp_path / "run", server.deliver, IMPATIENT)
    fill(outbox, numbers(0, 1))
    outbox.close()
    with (tmp_path / "run" / RECORDS).open("a") as file:
        file.write('{"numb')
    server.is_away = False
    again = Outbox(tmp_path / "run", server.deliver, FAST)
    fill(again, numbers(2))
    assert again.close()
    assert server.arrived == [0, 1, 2]


def test_a_torn_line_is_dropped_when_drained(tmp_path, server):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / RECORDS).write_text('{"number": 0}\n{"numb')
    assert drain(tmp_path, server.deliver).delivered == [tmp_path / "run"]
    assert server.arrived == [0]
    assert list(tmp_path.iterdir()) == []


def test_a_refused_record_surfaces_once_and_holds_nothing_up(tmp_path, server):
    outbox = Outbox(tmp_path / "run", server.deliver, FAST)
    fill(outbox, [{"number": 0}, {"number": 1, "bad": True}, {"number": 2}])
    wait_until(lambda: outbox._failure is not None)
    with pytest.raises(TrackingError, match=r"the store refused a record \(kept in .*refused.jsonl\)"):
        outbox.append({"number": 3})
    outbox.append({"number": 4})
    assert outbox.close()
    assert sorted(set(server.arrived)) == [0, 2, 3, 4]
    kept = [json.loads(line) for line in (tmp_path / "run" / REFUSED).read_text().splitlines()]
    assert kept == [{"reason": "the store refused a record", "record": {"number": 1, "bad": True}}]
    assert drain(tmp_path, server.deliver).delivered == []


def test_a_refusal_surfaces_at_the_end_at_the_latest(tmp_path, server):
    outbox = Outbox(tmp_path / "run", server.deliver, Pace(60))
    fill(outbox, [{"number": 0, "bad": True}, {"number": 1}])
    with pytest.raises(TrackingError, match="the store refused a record"):
        outbox.close()
    assert server.arrived == [1]


def test_a_flush_sends_at_once_and_says_whether_it_could(tmp_path, server):
    outbox = Outbox(tmp_path / "run", server.deliver, Pace(60))
    fill(outbox, numbers(0))
    assert outbox.flush()
    assert server.arrived == [0]
    server.is_away = True
    fill(outbox, numbers(1))
    assert not outbox.flush()
    server.is_away = False
    outbox.append({"number": 2, "bad": True})
    with pytest.raises(TrackingError):
        outbox.flush()
    assert outbox.close()
    assert server.arrived == [0, 1]


def test_a_refused_record_of_an_earlier_process_is_told_and_not_tried_again(tmp_path, server):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / RECORDS).write_text('{"number": 0, "bad": true}\n{"number": 1}\n')
    drained = drain(tmp_path, server.deliver)
    assert drained.delivered == [tmp_path / "run"]
    assert drained.refusals == [f"the store refused a record (kept in {tmp_path / 'run' / REFUSED})"]
    assert server.arrived == [1]
    assert drain(tmp_path, server.deliver).refusals == []


def test_an_outbox_is_settled_before_it_is_removed_and_kept_if_that_fails(tmp_path, server):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / RECORDS).write_text('{"number": 0}\n')
    settled = []

    def settle(folder: Path) -> None:
        settled.append((folder / RECORDS).exists())
        if len(settled) == 1:
            raise Unreachable("nobody answers")

    assert drain(tmp_path, server.deliver, settle).waiting == [tmp_path / "run"]
    assert drain(tmp_path, server.deliver, settle).delivered == [tmp_path / "run"]
    assert settled == [True, True]
    assert server.arrived == [0]


def test_the_outbox_of_a_live_process_is_left_to_it(tmp_path, server):
    server.is_away = True
    outbox = Outbox(tmp_path / "run", server.deliver, FAST)
    fill(outbox, numbers(0))
    drained = drain(tmp_path, server.deliver)
    assert drained.delivered == drained.waiting == []
    with pytest.raises(TrackingError, match="run is being written by another process"):
        Outbox(tmp_path / "run", server.deliver, FAST)
    server.is_away = False
    assert outbox.close()
    assert server.arrived == [0]


def test_threads_may_append_together(tmp_path, server):
    outbox = Outbox(tmp_path / "run", server.deliver, FAST)
    threads = [threading.Thread(target=fill, args=(outbox, numbers(*range(start, start + 100)))) for start in range(0, 400, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outbox.close()
    assert sorted(server.arrived) == list(range(400))
    assert [number for number in server.arrived if number < 100] == list(range(100))


WRITER = """
import sys
from pathlib import Path
from ser_mlops.tracking.outbox import Outbox, Pace

root, start = Path(sys.argv[1]), int(sys.argv[2])

def deliver(records):
    with (root / "arrived").open("a") as file:
        file.writelines(f"{record['number']}\\n" for record in records)

outbox = Outbox(root / "outboxes" / "run", deliver, Pace(0.001))
for number in range(start, 10**9):
    outbox.append({"number": number, "padding": "x" * 1000})
    print(number, flush=True)
"""


def test_killed_processes_lose_no_record_that_they_appended(tmp_path):
    appended: list[int] = []
    arrived = tmp_path / "arrived"
    arrived.touch()
    for start in (0, 10**6, 2 * 10**6):
        before = arrived.stat().st_size
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(start)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        lines: list[str] = []
        while len(lines) < 200 or arrived.stat().st_size == before:  # killed in the middle of both appending and delivering
            lines.append(writer.stdout.readline())
        os.kill(writer.pid, signal.SIGKILL)
        lines += writer.communicate()[0].splitlines(keepends=True)
        appended += [int(line) for line in lines if line.endswith("\n")]
    received = [int(line) for line in arrived.read_text().split()]

    def deliver(records: Sequence[Record]) -> None:
        received.extend(record["number"] for record in records)

    assert drain(tmp_path / "outboxes", deliver).delivered == [tmp_path / "outboxes" / "run"]
    assert set(appended) <= set(received)
    in_order = list(dict.fromkeys(received))
    assert in_order == sorted(in_order)
