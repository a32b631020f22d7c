"""Metrics of the machine, sampled for the runs that are open."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

from ser_mlops.tracking.runlog import SYSTEM, RunLog

logging.getLogger("mlflow.system_metrics").setLevel(logging.WARNING)  # no GPU is no news

SAMPLING_INTERVAL_S = 10.0

NO_STORE = "http://localhost"
"""The monitor opens a store, to which it logs nothing here. It must not be a database: jobs may have none in reach."""


class Sampler:
    """Samples the machine (CPU, memory, disk, network, GPU) for the runs that are open: at their start, at their end and in between."""

    def __init__(self) -> None:
        self._monitor = SystemMetricsMonitor(run_id="", tracking_uri=NO_STORE)
        self._steps: dict[str, int] = {}
        self._runs: list[RunLog] = []
        self._turn = threading.Lock()
        self._due = 0.0

    @contextmanager
    def watching(self, run: RunLog) -> Iterator[None]:
        """Sample for this run as well while the block runs."""
        self._steps[run.run_id] = run.stored.num_samples
        self._runs.append(run)
        try:
            self._sample()
            yield
            self._sample()
        finally:
            self._runs.remove(run)

    def sample_if_due(self) -> None:
        if time.monotonic() >= self._due:
            self._sample()

    def _sample(self) -> None:
        with self._turn:
            self._due = time.monotonic() + SAMPLING_INTERVAL_S
            self._monitor.collect_metrics()
            values = {f"{SYSTEM}{key}": value for key, value in self._monitor.aggregate_metrics().items()}
            for monitor in self._monitor.monitors:
                monitor.clear_metrics()
            for run in list(self._runs):
                run.metrics(values, self._steps[run.run_id])
                self._steps[run.run_id] += 1
