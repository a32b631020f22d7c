"""Arrange a freshly installed environment: a bare `mlflow run .` uses it, and the local tracking store exists."""

import argparse
import sys
from pathlib import Path

from ser_mlops.commands import run_command

PTH = """\
import os, sys; os.environ.setdefault("MLFLOW_ENV_ROOT", os.path.join(sys.prefix, "mlflow-envs")); \
os.environ.setdefault("MLFLOW_EXPERIMENT_NAME", "ser"); os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true"); \
os.environ.setdefault("DVC_NO_ANALYTICS", "true")
"""


def main() -> None:
    argparse.ArgumentParser(description="Make `mlflow run .` use this environment, and create the local tracking store.").parse_args()
    from ser_mlops.tracking.store import open_store

    environment = Path(sys.prefix)
    if environment.parent != Path.cwd():
        raise SystemExit(f"error: run as .venv/bin/python -m pipelines.setup in the project's folder, not with {environment.name}")
    arrange_environment(environment)
    open_store()


def arrange_environment(environment: Path) -> None:
    """Make `mlflow run .` take this environment as it is.

    MLflow looks for the environment of a project under MLFLOW_ENV_ROOT, by a name that is a hash of python_env.yaml; a folder
    that exists is used without pyenv. So the root lies in the environment itself and holds a link back to it: every clone has
    its own, and the home folder stays untouched. The name comes from a private function, which a test guards.
    """
    from mlflow.utils.environment import _PythonEnv
    from mlflow.utils.virtualenv import _get_virtualenv_name

    from ser_mlops.files import remove

    site = next(Path(path) for path in sys.path if path.startswith(sys.prefix) and path.endswith("site-packages"))
    (site / "ser_mlops_environment.pth").write_text(PTH)
    root = environment / "mlflow-envs"
    root.mkdir(exist_ok=True)
    for old in root.iterdir():
        remove(old)
    name = _get_virtualenv_name(_PythonEnv.from_yaml("python_env.yaml"), Path.cwd())
    (root / name).symlink_to(Path("..") / ".." / environment.name)


if __name__ == "__main__":
    run_command(main)
