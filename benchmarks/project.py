"""A copy of the project with the demo's frames, in a folder that goes when the process ends: for claims about whole commands."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import ROOT
from benchmarks.workloads import Material, keep_folder, write_model

FOREIGN = ("MLFLOW_", "DVC_", "GIT_", "SLURM_", "MAKE", "MFLAGS", "PYTHONDONTWRITEBYTECODE")
"""Beginnings of variables that would bring the caller's own runs along, or have every command compile the copy again."""


@dataclass(frozen=True)
class Project:
    """The folder of a copy."""

    root: Path

    @property
    def variables(self) -> dict[str, str]:
        """What a command in the copy sees: this Python first on the path, a tracking store in the copy, nothing of the caller's."""
        own = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return own | {"PATH": path, "MLFLOW_TRACKING_URI": f"sqlite:///{self.root / 'mlflow.db'}", "HF_HUB_OFFLINE": "1"}

    def run(self, *command: str) -> str:
        """Run a command that must succeed; return what it printed."""
        ran = subprocess.run(command, cwd=self.root, env=self.variables, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if ran.returncode:
            raise RuntimeError(f"{' '.join(command)}: exit code {ran.returncode}: {' '.join(ran.stderr.split())[-500:]}")
        return ran.stdout

    def python(self, module: str, **options: object) -> str:
        """Run `python -m module --name value …`."""
        return self.run(sys.executable, "-m", module, *(word for name, value in options.items() for word in (f"--{name}", str(value))))

    def enter(self) -> None:
        """Make the copy the working directory of this process, with the variables of a command in it."""
        os.chdir(self.root)
        variables = self.variables
        os.environ.clear()
        os.environ.update(variables)

    def remove(self, *names: str) -> None:
        """Remove files and folders of the copy."""
        for path in (self.root / name for name in names):
            shutil.rmtree(path, ignore_errors=True)
            path.unlink(missing_ok=True)


RUNS = ("mlflow.db", "mlruns", "checkpoints", "studies")
"""What trainings leave in a copy, but for the caches of frozen parts."""


def copy_project(corpora: Sequence[str] = (), *, with_frames: bool = True) -> Project:
    """Copy the tracked files and run the demo's stages: up to the frames of some corpora, or all."""
    project = Project(Path(keep_folder().name) / "project")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (project.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, project.root / name)
    if corpora:
        _set(project.root / "params.yaml", "corpora", f"[{', '.join(corpora)}]")
    project.run("git", "init", "--quiet")
    project.run("git", "add", "--all")
    project.run("git", "-c", "user.name=benchmarks", "-c", "user.email=benchmarks@localhost", "commit", "--quiet", "--message", "a copy")
    if with_frames:
        project.run("dvc", "repro", "--quiet", *(f"frames@{corpus}" for corpus in corpora))
    return project


def enter_with_material(corpus: str) -> Material:
    """Make a copy with the frames of a corpus the working directory; return the clips of its training, and HuBERT of base size."""
    project = copy_project([corpus])
    project.enter()
    from ser_mlops.data.folders import AUDIO
    from ser_mlops.experiments.experiment import prepare
    from ser_mlops.settings.reading import read_settings
    from ser_mlops.training.batching import Clips

    model = write_model(project.root / "model")
    training = prepare(read_settings(given={"train.test_dataset": corpus, "train.model": model})).trainings[0]
    train, validation = (Clips.from_frame(frame, AUDIO) for frame in (training.train, training.validation))
    return Material(Path(keep_folder().name), model, train, validation)


def _set(params: Path, key: str, value: str) -> None:
    text, number = re.subn(rf"^  {key}: .*$", f"  {key}: {value}", params.read_text(encoding="utf-8"), count=1, flags=re.MULTILINE)
    assert number == 1, key
    params.write_text(text, encoding="utf-8")
