"""In service a model behaves as in its evaluation, and no request brings the server down: a real one, with the model folder alone."""

import base64
import io
import json
import os
import re
import signal
import struct
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import requests
import soundfile
import torch
from mlflow.exceptions import MlflowException
from scipy.special import softmax
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

from ser_mlops.data.audio.format import SAMPLE_RATE
from ser_mlops.emotions import EMOTIONS
from ser_mlops.scores.predictions import logits_of
from ser_mlops.serving.pyfunc import Limits
from tests.data.audio.sounds import encoded, noise, tone, with_sizes
from tests.project import Project, mlflow_run
from tests.servers import free_port

NAMES = list(EMOTIONS)
GATE = {"test_dataset": "CREMA", "train_datasets": "SAVEE,TESS", "model": "tiny", "rounds": "1", "batch_size": "8", "register": "ser"}
"""All ten speakers of CREMA are tested: with fewer than six no model takes the alias from another."""
WORSE, BETTER = {"lr": "1e-9", "epochs": "1"}, {"lr": "3e-3", "epochs": "20"}
PATIENCE_S = 600
NUM_MALFORMED = 200
MAX_GROWTH_BYTES = 100e6
"""Of a server whose model and libraries take 600 MB; a leak of whole requests would be several times as much."""


@dataclass(frozen=True)
class Trained:
    """A project whose registered model is champion by merit."""

    project: Project
    summaries: list[str]
    """What the experiments said of the gate, the last one of the champion's."""

    @property
    def round_id(self) -> str:
        return self.project.client.get_model_version_by_alias("ser", "champion").run_id

    @property
    def model_folder(self) -> Path:
        version = self.project.client.get_model_version_by_alias("ser", "champion")
        return Path(self.project.client.get_logged_model(version.source.removeprefix("models:/")).artifact_location)

    @property
    def tested(self) -> pd.DataFrame:
        """The test clips of the champion and its logits, as evaluation left them."""
        folder = self.project.client.download_artifacts(self.round_id, "predictions")
        return pd.read_parquet(Path(folder) / "test_CREMA.parquet")

    def recording(self, path: str) -> Path:
        return self.project.root / "data/demo" / path


@pytest.fixture(scope="module")
def trained(project) -> Trained:
    outputs = [project.run_here("pipelines.train", **GATE | given) for given in (WORSE, BETTER, WORSE)]
    return Trained(project, [re.search(r"^ser version .*$", output, re.MULTILINE)[0] for output in outputs])


@dataclass(frozen=True)
class Server:
    url: str
    process: "subprocess.Popen[bytes]"

    def post(self, content: object, content_type: str | None = "application/json") -> requests.Response:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        return requests.post(f"{self.url}/invocations", data, headers={"Content-Type": content_type}, timeout=60)

    def ask(self, *files: bytes) -> pd.DataFrame:
        response = self.post(records(*files))
        assert response.status_code == 200, response.text
        return pd.DataFrame(response.json()["predictions"])

    @property
    def worker(self) -> psutil.Process:
        """The process that holds the model."""
        return max([psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)], key=memory_of)


def memory_of(process: psutil.Process) -> int:
    return process.memory_info().rss


def records(*files: bytes) -> dict[str, object]:
    return {"dataframe_records": [{"audio": base64.b64encode(file).decode()} for file in files]}


@pytest.fixture(scope="module")
def server(trained, tmp_path_factory) -> Iterator[Server]:
    """`mlflow models serve` as in the docs, started where no code of the project lies."""
    elsewhere, port = tmp_path_factory.mktemp("elsewhere"), free_port()
    command = ["mlflow", "models", "serve", "-m", "models:/ser@champion", "--env-manager", "local", "--port", str(port)]
    binaries = trained.project.root / ".venv/bin"
    environment = os.environ | {
        "MLFLOW_TRACKING_URI": f"sqlite:///{trained.project.root}/mlflow.db",
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
    }
    with (elsewhere / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=elsewhere, env=environment, stdout=log, stderr=log, start_new_session=True)
    url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + PATIENCE_S
    try:
        while not is_up(url):
            assert process.poll() is None, (elsewhere / "log").read_text()
            assert time.monotonic() < deadline, (elsewhere / "log").read_text()
            time.sleep(0.1)
        yield Server(url, process)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def is_up(url: str) -> bool:
    try:
        return requests.get(f"{url}/ping", timeout=5).ok
    except requests.RequestException:
        return False


def probabilities(table: pd.DataFrame) -> np.ndarray:
    return table[NAMES].to_numpy(dtype=float)


# The gate, by command


def test_a_worse_experiment_does_not_take_the_alias_and_a_better_one_does(trained):
    first, better, worse = trained.summaries
    assert first == "ser version 1, now champion: there was no champion"
    assert better.startswith("ser version 2, now champion: beats the champion, version 1: UAR +")
    assert worse.startswith("ser version 3, not made champion: does not beat the champion, version 2: UAR −")


# The same numbers


def test_evaluation_predict_server_and_plain_transformers_agree(trained, server):
    tested = trained.tested.iloc[::4]  # a request takes 32 clips
    files = [trained.recording(path) for path in tested["path"]]
    folder = trained.project.root / "tested"
    folder.mkdir()
    for number, file in enumerate(files):
        (folder / f"{number:03}.wav").write_bytes(file.read_bytes())
    trained.project.run_here("pipelines.predict", model_uri="models:/ser@champion", audio="tested", output="tested.csv")

    evaluated = softmax(logits_of(tested, float), axis=1)
    predicted = probabilities(pd.read_csv(trained.project.root / "tested.csv"))
    served = probabilities(server.ask(*(file.read_bytes() for file in files)))
    plain = np.stack([plain_transformers(trained.model_folder / "transformers", file) for file in files])
    for others in (predicted, served, plain):
        np.testing.assert_allclose(others, evaluated, atol=1e-5)


def plain_transformers(folder: Path, file: Path) -> np.ndarray:
    wave, rate = soundfile.read(file, dtype="float32")
    assert rate == SAMPLE_RATE
    net, extractor = (auto.from_pretrained(folder) for auto in (AutoModelForAudioClassification, AutoFeatureExtractor))
    with torch.no_grad():
        return net(**extractor(wave, sampling_rate=rate, return_tensors="pt")).logits[0].softmax(0).numpy()


def test_a_clip_has_the_same_answer_alone_and_among_others_in_every_format(server):
    wave = noise(1.0)
    formats = [encoded(wave), encoded(wave, container="FLAC"), encoded(wave, container="AIFF"), encoded(tone(2.0))]
    together = server.ask(*formats)
    assert together["clip"].tolist() == [0, 1, 2, 3]
    alone = pd.concat([server.ask(content) for content in formats])
    np.testing.assert_allclose(probabilities(together), probabilities(alone), atol=1e-5)


def test_a_long_recording_is_answered_in_windows(server):
    table = server.ask(encoded(noise(70.0)), encoded(tone(1.0)))
    assert table["clip"].tolist() == [0, 0, 0, 1]
    assert table["end"].tolist()[2:] == [70.0, 1.0]


def test_csv_and_parquet_are_answered_too(server):
    content = encoded(noise(1.0))
    expected = probabilities(server.ask(content))
    csv, parquet = f"audio\n{base64.b64encode(content).decode()}\n".encode(), io.BytesIO()
    pd.DataFrame({"audio": [content]}).to_parquet(parquet)
    for request, content_type in ((csv, "text/csv"), (parquet.getvalue(), "application/vnd.apache.parquet")):
        answer = pd.DataFrame(server.post(request, content_type).json()["predictions"])
        np.testing.assert_allclose(probabilities(answer), expected, atol=1e-6)


@pytest.mark.parametrize("command", [["python", "examples/client.py"], ["examples/client.sh"]], ids=["Python", "curl"])
def test_the_example_clients_work(trained, server, command):
    file = trained.recording(trained.tested["path"].iloc[0])
    address = ["--url", server.url] if command[0] == "python" else [server.url]
    output = trained.project.run(*command, str(file), *address)
    assert server.ask(file.read_bytes())["emotion"].iloc[0] in output


@pytest.mark.parametrize("command", [["python", "examples/client.py"], ["examples/client.sh"]], ids=["Python", "curl"])
def test_the_example_clients_fail_with_the_line_of_the_server(trained, server, command, tmp_path):
    (tmp_path / "text.wav").write_text("hello world")
    address = ["--url", server.url] if command[0] == "python" else [server.url]
    process = trained.project.start(*command, str(tmp_path / "text.wav"), *address)
    output, _ = process.communicate()
    assert process.returncode not in (0, None)
    assert "clip 0 cannot be used: text, not audio" in output
    assert "Traceback" not in output


# Mistakes


GOOD = encoded(noise(1.0))
TEXT = base64.b64encode(GOOD).decode()
MISTAKES = {
    "characters that are not base64": ({"dataframe_records": [{"audio": "abc"}]}, "Incorrect padding"),
    "not audio": (records(b"hello world, this is no audio"), "clip 0 cannot be used: text, not audio"),
    "empty": (records(b""), "clip 0 cannot be used: empty file"),
    "silence": (records(encoded(np.zeros(16000, dtype=np.float32))), "clip 0 cannot be used: all zeros"),
    "not finite": (records(encoded(np.full(16000, np.nan), subtype="FLOAT")), "clip 0 cannot be used: NaN or infinite samples"),
    "too short": (records(encoded(noise(0.05))), "clip 0 cannot be used: too short: 0.050 s, expected at least 0.1 s"),
    "too long": (records(GOOD, encoded(tone(301.0, rate=8000), rate=8000)), "clip 1 cannot be used: too long: more than 300 s"),
    "too many bytes": (records(bytes(33_000_000)), "clip 0 cannot be used: too large: 33,000,000 bytes, expected at most 32 MB"),
    "too many clips": (records(*[GOOD] * 33), "33 clips in one request, expected 1 to 32"),
    "no clips": ({"dataframe_records": []}, "missing inputs ['audio']"),
    "wrong column": ({"dataframe_records": [{"sound": TEXT}]}, "missing inputs ['audio']"),
    "a number": ({"dataframe_records": [{"audio": 7}]}, "Failed to convert column audio"),
    "nothing": ({"dataframe_records": [{"audio": None}]}, "Failed to convert column audio"),
    "no table": ({"audio": TEXT}, "exactly one of the input fields"),
    "no JSON": (b"{", "valid JSON"),
    "nested JSON": (b'{"inputs": ' + b"[" * 100_000, "the request cannot be read: maximum recursion depth"),
    "a long number": (b'{"inputs": ' + b"9" * 5000 + b"}", "the request cannot be read: Exceeds the limit"),
    "a column without name": ({"dataframe_split": {"columns": [{}], "data": [[TEXT]]}}, "the request cannot be read: unhashable type"),
}


@pytest.mark.parametrize(("content", "line"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_answered_with_4xx_and_a_line_that_says_what(server, content, line):
    response = server.post(content)
    assert 400 <= response.status_code < 500
    message = response.json()["message"]
    assert line in message
    assert "\n" not in message
    assert "Failed to predict data" not in message


@pytest.mark.parametrize("content_type", [None, "text/plain", ";;", "application/json; charset=latin-1"])
def test_another_content_type_is_refused(server, content_type):
    assert server.post(records(GOOD), content_type).status_code == 415


@pytest.mark.parametrize("file", ["not base64!", "UklGR-__", 7, None, 1.5, ["a"]])
def test_what_is_no_file_is_refused_however_it_came(file):
    with pytest.raises(MlflowException, match=r"clip 0 is (not base64|of type)") as caught:
        Limits(2, 10.0, 1.0).decode([file], 0.1)
    assert caught.value.get_http_status_code() == 400


@pytest.mark.parametrize(
    ("file", "line"),
    [
        (b"hello", "clip 0 cannot be used: text, not audio (expected an audio file in base64)"),
        (bytes(2_000_000), "clip 0 cannot be used: too large: 2,000,000 bytes, expected at most 1 MB"),
        (encoded(noise(0.05)), "clip 0 cannot be used: too short: 0.050 s, expected at least 0.1 s"),
        (b"ajkg" + bytes(99), "clip 0 cannot be used: needs another decoder: shorten, convert it with `ffmpeg` or `shorten -x`"),
    ],
    ids=["text", "too large", "too short", "needs another decoder"],
)
def test_only_what_may_be_no_recording_is_answered_with_what_was_expected(file, line):
    with pytest.raises(MlflowException) as caught:
        Limits(2, 10.0, 1.0).decode([file], 0.1)
    assert caught.value.message == line


def malformed(random: np.random.Generator) -> tuple[object, str | None]:
    """Return a request that is wrong in some way, and its content type."""
    content = [encoded(noise(0.5), container=container) for container in ("WAV", "FLAC", "AIFF")][random.integers(3)]
    wav = encoded(noise(0.3, seed=int(random.integers(99))))
    number = int(random.integers(2**31))
    values = [7, -1, 1.5, True, None, [], {}, [[TEXT]], {"audio": TEXT}, "", "=", "é" * 9, "\ud800", "A" * 9]
    requests_by_kind: list[object] = [
        records(content[: random.integers(1, len(content))]),
        records(b"".join([content[: len(content) // 2], random.bytes(50), content[len(content) // 2 :]])),
        records(random.bytes(int(random.integers(1, 5000)))),
        records(with_sizes(wav, number, int(random.integers(2**31)))),
        records(wav[:22] + struct.pack("<H", int(random.integers(2, 2**16))) + wav[24:]),
        records(wav[:24] + struct.pack("<I", int(random.choice([0, 1, 7, 999, 2**31, 2**32 - 1]))) + wav[28:]),
        records(wav[:20] + struct.pack("<H", int(random.integers(2**16))) + wav[22:]),
        records(encoded(random.choice([np.nan, np.inf, -np.inf, 1e30], 4000), subtype="FLOAT")),
        records(*[b""] * int(random.integers(1, 40))),
        {"dataframe_records": [{"audio": values[random.integers(len(values))]} for _ in range(random.integers(1, 4))]},
        {"dataframe_records": [{str(number): TEXT}]},
        {"dataframe_split": {"columns": ["audio"], "data": [[TEXT, number]]}},
        {"dataframe_split": {"columns": ["audio", "audio"], "data": [[TEXT, TEXT]]}},
        {str(random.choice(["inputs", "instances", "messages"])): values[random.integers(len(values))]},
        json.dumps(records(wav)).encode()[: random.integers(1, 3000)],
        random.bytes(300),
    ]
    content_types = ["application/json"] * 8 + ["text/csv", "application/vnd.apache.parquet", "text/plain", None]
    return requests_by_kind[random.integers(len(requests_by_kind))], content_types[random.integers(len(content_types))]


def test_malformed_requests_get_no_500_cost_no_memory_and_leave_the_server_as_it_was(server):
    random = np.random.default_rng(19730309)
    before, worker = server.ask(GOOD), server.worker.pid
    statuses = []
    for number in range(NUM_MALFORMED):
        if number == NUM_MALFORMED // 4:
            memory = memory_of(server.worker)  # by now everything that is loaded late is loaded
        response = server.post(*malformed(random))
        statuses.append(response.status_code)
        assert response.status_code < 500, response.text
    assert sum(status >= 400 for status in statuses) > NUM_MALFORMED / 2
    assert server.worker.pid == worker
    assert memory_of(server.worker) - memory < MAX_GROWTH_BYTES
    pd.testing.assert_frame_equal(server.ask(GOOD), before)


@pytest.mark.parametrize("headers", [{"X-Long": "a" * 5_000_000}, {f"X-{number}": "a" for number in range(50_000)}], ids=["long", "many"])
def test_huge_http_headers_cost_no_memory_and_leave_the_server_as_it_was(server, headers):
    before, worker, memory = server.ask(GOOD), server.worker.pid, memory_of(server.worker)
    for _ in range(10):
        try:
            response = requests.post(f"{server.url}/invocations", json=records(GOOD), headers=headers, timeout=60)
            assert response.status_code < 500, response.text
        except requests.RequestException:  # closed before an answer, or in the middle of one
            pass
    assert server.worker.pid == worker
    assert memory_of(server.worker) - memory < MAX_GROWTH_BYTES
    pd.testing.assert_frame_equal(server.ask(GOOD), before)


# The command predict


def test_predict_reports_what_it_cannot_read_in_the_table_the_exit_code_and_its_run(trained, tmp_path):
    (tmp_path / "good.flac").write_bytes(encoded(noise(1.0), container="FLAC"))
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    given = {"model_uri": trained.round_id, "audio": str(tmp_path), "output": str(tmp_path / "t.parquet")}
    process = trained.project.start(*mlflow_run("--run-name", "phone calls", "-e", "predict", **given))
    output, _ = process.communicate()
    assert process.returncode == 1, output
    assert re.search(r"2 files, 1\.0 s of audio in .* s: .* files/s, .* times faster than real time", output)
    assert f"cannot be used: {tmp_path}/bad.wav: unreadable" in output
    assert "synthetic data: its answers mean nothing" in output
    table = pd.read_parquet(tmp_path / "t.parquet")
    assert [Path(file).name for file in table["file"]] == ["bad.wav", "good.flac"]
    assert table["error"].str.startswith("unreadable").tolist() == [True, False]
    run, call = trained.project.runs()[:2]
    assert (run.data.tags["kind"], run.data.metrics["unusable"]) == ("predict", 1.0)
    assert (run.info.run_name, run.info.status) == ("phone calls", "FINISHED"), "one unusable file is no failure of the others"
    assert "bad.wav: unreadable" in run.data.tags["mlflow.note.content"]
    assert (call.data.tags["kind"], call.data.tags["mlflow.parentRunId"]) == ("call", run.info.run_id)
    assert [item.path for item in trained.project.client.list_artifacts(run.info.run_id)] == ["t.parquet"]


def test_one_file_that_cannot_be_used_is_all_that_predict_tells_of_it(trained, tmp_path):
    (tmp_path / "notes.txt").write_text("no audio")
    given = {"model_uri": trained.round_id, "audio": str(tmp_path / "notes.txt"), "output": str(tmp_path / "t.csv")}
    code, output, _ = trained.project.call("pipelines.predict", given)
    assert code == 1
    assert output.startswith("1 file, 0.0 s of audio")
    assert f"{tmp_path}/t.csv: 1 row\n" in output


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"audio": "data"}, "predict needs model_uri"),
        ({"model_uri": "models:/ser@champion"}, "predict needs model_uri"),
        ({"model_uri": "models:/ser@champion", "audio": "no-such"}, "no file or folder no-such"),
        ({"model_uri": "models:/ser@champion", "audio": "data/demo", "output": "t.xls"}, "unknown format '.xls', expected one of: .csv"),
    ],
)
def test_predict_refuses_what_it_cannot_do(trained, given, line):
    assert line in trained.project.refuse_here("pipelines.predict", **given)


def test_the_card_and_the_contract_stand_beside_the_weights(trained):
    folder = trained.model_folder / "transformers"
    card = (folder / "README.md").read_text()
    for word in ("SYNTHETIC", "CREMA: ODbL 1.0", "## Limits", "no speaker shared", trained.tested["corpus"].iloc[0]):
        assert word in card
    version = trained.project.client.get_run(trained.round_id).data.tags["dvc.CREMA"]
    assert version in card
    assert json.loads((folder / "contract.json").read_text())["note"] == "synthetic data"
