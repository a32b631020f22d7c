"""What a GPU makes of the engine: `python -m benchmarks.gpu`, one JSON line for each question as soon as it is answered.

Needs what the engine needs (torch, torchaudio, transformers, numpy, pandas with pyarrow, scikit-learn) and accelerate for the
Trainer beside ours; no MLflow and no data. It ends within `--minutes` (9); what it had no time for says so. The model has the size of
HuB-LL (HuBERT large) with random weights, the clips are synthetic and of CREMA's lengths. Everything computes in bfloat16 under
autocast, with batches of two clips, as the recipe has them.

Questions:
    limit: the encoder's rate as a share of the machine's matrix multiplications: those of its own sizes, and large square ones.
    frozen, feature_encoder, unfrozen: seconds an epoch, ours and Trainer's.
    compiled: milliseconds a step as PyTorch runs it, with compiled layers, and with compiled layers in CUDA graphs.
    masks: milliseconds a step with padding and a mask, with equal lengths and a mask, with equal lengths and no mask.
    side_by_side: steps a second of one, two and four trainings that share the GPU (with --toy of one and two).

`--toy` asks the same of a model of two narrow layers: it shows, on any machine, that the questions can be answered.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import limit
from benchmarks.harness import Work, measure
from benchmarks.machine import ROOT, commit, machine_facts
from benchmarks.trainings import ours, trainer
from benchmarks.workloads import LARGE, SEED, keep_folder, write_model

TRAINER_FREEZES = {"encoder": ("freeze_base_model",), "feature_encoder": ("freeze_feature_encoder",), "none": ()}


@dataclass(frozen=True)
class Size:
    """How much work a question is."""

    geometry: Mapping[str, Any]
    """Of the model, in the words of HubertConfig."""
    clips: dict[str, int]
    """Clips of an epoch."""
    steps: int
    """Steps that are timed, in each of REPEATS turns."""
    square: int
    """Rows and columns of the large matrices."""


REPEATS = 3
WHOLE = Size(LARGE, {"num_train": 64, "num_validation": 16}, 10, 8192)
TOY = Size(
    {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "conv_dim": [32] * 7,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4,
        "classifier_proj_size": 16,
    },
    {"num_train": 4, "num_validation": 2},
    1,
    128,
)


class OutOfTimeError(Exception):
    """The minutes are over."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Answer the questions that the command line names; exits with 1 if one that there was time for could not be answered."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=9, help="when to end [9]")
    parser.add_argument("--only", default="", help=f"some of {', '.join(QUESTIONS)}, comma-separated [all]")
    parser.add_argument("--toy", action="store_true", help="a model of two narrow layers")
    parser.add_argument("--train-when-told", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    size = TOY if options.toy else WHOLE
    if options.train_when_told:
        return _train_when_told(size)
    chosen = options.only.split(",") if options.only else list(QUESTIONS)
    if unknown := [name for name in chosen if name not in QUESTIONS]:
        parser.error(f"--only: unknown {', '.join(unknown)}; there are {', '.join(QUESTIONS)}")
    _say({"machine": machine_facts(), "commit": commit(), "model": "toy" if options.toy else "size of HuB-LL, random weights"})
    failed, end = False, time.monotonic() + 60 * options.minutes
    for name in chosen:
        started = time.perf_counter()
        try:
            with _time_limit(end - time.monotonic()), redirect_stdout(sys.stderr):  # Trainer prints there
                answer: dict[str, Any] = dict(QUESTIONS[name](size))
        except OutOfTimeError:
            answer = {"not answered": f"the {options.minutes:g} minutes were over"}
        except Exception as error:  # noqa: BLE001, the next question may still be answered
            traceback.print_exc()
            failed, answer = True, {"not answered": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
        _say({"question": name, "took": round(time.perf_counter() - started, 1)} | answer)
    sys.exit(1 if failed else 0)


def _say(facts: Mapping[str, Any]) -> None:
    print(json.dumps(facts), flush=True)


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise OutOfTimeError once the time is over."""

    def ring(*_: object) -> None:
        raise OutOfTimeError

    if seconds <= 0:
        raise OutOfTimeError
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _limit(size: Size) -> dict[str, Any]:
    import torch

    device = _device()
    rates = limit.encoder_rates("bfloat16", limit.CLIPS if size is TOY else 16, size.geometry)
    rates()
    facts = dict(rates())
    square = torch.randn(size.square, size.square, device=device, dtype=torch.bfloat16)
    seconds = _median_seconds(lambda: square @ square)
    rate = 2 * size.square**3 / seconds / 1e9
    return facts | {"large square matrices: GFLOP/s": rate, "% of their rate": 100 * facts["GFLOP/s"] / rate}


def _training(freeze: str) -> Callable[[Size], dict[str, Any]]:
    def answer(size: Size) -> dict[str, Any]:
        compute = "bfloat16" if _is_cuda() else "float32"
        common: dict[str, Any] = size.clips | {"geometry": size.geometry}
        works = {"ours": ours(freeze, rounds=1, epochs=2, cache="off", compute=compute, **common)}
        if freeze != "none":
            works["ours, warm cache"] = ours(freeze, rounds=1, epochs=2, cache="warm", compute=compute, precision=compute, **common)
        works["Trainer"] = trainer(TRAINER_FREEZES[freeze], bf16=compute == "bfloat16", **common)
        seconds = {name: _seconds_per_unit(begin(1)) for name, begin in works.items()}
        ratios = {f"{name}: times as fast as Trainer": seconds["Trainer"] / each for name, each in seconds.items() if name != "Trainer"}
        return {f"{name}: s per epoch": each for name, each in seconds.items()} | ratios

    return answer


def _seconds_per_unit(work: Work) -> float:
    return statistics.median(measure(work, REPEATS, warmups=1)["seconds"]) / work.amount


def _compiled(size: Size) -> dict[str, Any]:
    if not _is_cuda():
        return {"eager: ms per step": 1000 * _seconds_per_step(size, Step(size))} | {"not answered": "compiled steps need a GPU"}
    eager = _seconds_per_step(size, Step(size))
    answers = {"eager: ms per step": 1000 * eager}
    for name, mode in (("compiled", "default"), ("CUDA graphs", "reduce-overhead")):
        step = Step(size)
        for layer in step.classifier.base.encoder.layers:
            layer.compile(mode=mode)
        seconds = _seconds_per_step(size, step)
        answers |= {f"{name}: ms per step": 1000 * seconds, f"{name}: times as fast as eager": eager / seconds}
    return answers


def _masks(size: Size) -> dict[str, Any]:
    ways = {
        "padded, mask": Step(size, seconds=(1.5, 3.5)),
        "equal lengths, mask": Step(size),
        "equal lengths, no mask": Step(size, attention_mask=False),
    }
    return {f"{name}: ms per step": 1000 * _seconds_per_step(size, step) for name, step in ways.items()}


class Step:
    """A training step with a frozen CNN over one batch, which stays the same."""

    def __init__(self, size: Size, *, seconds: tuple[float, ...] = (2.5, 2.5), attention_mask: bool = True):
        import torch

        from ser_mlops.models.build import load_classifier

        device = _device()
        model = write_model(Path(keep_folder().name) / "model", size.geometry)
        self.classifier = load_classifier(model, seed=SEED, attention_mask=attention_mask).to(device)
        self.classifier.freeze("feature_encoder")
        self.classifier.train()
        self.optimizer = torch.optim.AdamW([weight for weight in self.classifier.parameters() if weight.requires_grad], lr=1e-5)
        self.lengths_B = torch.tensor([int(16000 * each) for each in seconds], device=device)
        self.values_BS = torch.randn(len(seconds), int(self.lengths_B.max()), device=device)
        self.labels_B = torch.arange(len(seconds), device=device)

    def __call__(self) -> None:
        import torch

        torch.compiler.cudagraph_mark_step_begin()
        with torch.autocast(self.values_BS.device.type, torch.bfloat16, enabled=_is_cuda()):
            logits_BE = self.classifier(self.values_BS, self.lengths_B)
        torch.nn.functional.cross_entropy(logits_BE.float(), self.labels_B).backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def _seconds_per_step(size: Size, step: Step) -> float:
    def run() -> None:
        for _ in range(size.steps):
            step()

    return _median_seconds(run) / size.steps


def _median_seconds(run: Callable[[], object]) -> float:
    def work() -> None:
        run()

    return statistics.median(measure(Work(work, 1), REPEATS, warmups=2)["seconds"])


def _side_by_side(size: Size) -> dict[str, Any]:
    answers = {}
    for number in (1, 2) if size is TOY else (1, 2, 4):
        steps = number * REPEATS * size.steps
        answers[f"{number} at once: steps per second"] = steps / _seconds_of_trainings(number, size)
    return answers


def _seconds_of_trainings(number: int, size: Size) -> float:
    """Start trainings, each in a process of its own, let them go at once, and return the seconds until the last has ended."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--train-when-told", *(["--toy"] if size is TOY else [])]
    processes = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ) for _ in range(number)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise RuntimeError(f"a training ended with {process.wait()} before it began")
        started = time.perf_counter()
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()
        if failed := [code for process in processes if (code := process.wait())]:
            raise RuntimeError(f"a training ended with {failed[0]}")
        return time.perf_counter() - started
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _train_when_told(size: Size) -> None:
    """One of the trainings side by side: warm up, say so, and step once standard input has ended."""
    import torch

    step = Step(size)
    for _ in range(2):
        step()
    if _is_cuda():
        torch.cuda.synchronize()
    print("ready", flush=True)
    sys.stdin.read()
    for _ in range(REPEATS * size.steps):
        step()
    if _is_cuda():
        torch.cuda.synchronize()


def _is_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def _device() -> Any:
    import torch

    return torch.device("cuda" if _is_cuda() else "cpu")


QUESTIONS: dict[str, Callable[[Size], Mapping[str, Any]]] = {
    "limit": _limit,
    "frozen": _training("encoder"),
    "feature_encoder": _training("feature_encoder"),
    "unfrozen": _training("none"),
    "compiled": _compiled,
    "masks": _masks,
    "side_by_side": _side_by_side,
}

if __name__ == "__main__":
    main()
