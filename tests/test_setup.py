"""Setting up: a bare `mlflow run` takes the environment as it is, a broken install is repaired, and `make` says what it can do."""

import os
import shutil
import sys
import venv
from pathlib import Path

import pytest

from tests.project import ROOT, Project, mlflow_environment, mlflow_run

SITE = Path("lib") / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def lend_packages(environment: Path) -> None:
    """Let an environment import what this one holds, instead of installing it once more."""
    (environment / SITE / "lent.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))


@pytest.fixture
def clone(tmp_path) -> Project:
    """A copy without an environment."""
    clone = Project.of_checkout(tmp_path)
    (clone.root / ".venv").unlink()
    return clone


def test_make_alone_lists_every_target(clone):
    listed = [line.split()[0] for line in clone.run("make").splitlines()]
    assert {"setup", "demo", "raw", "test", "check", "ui", "clean"} <= set(listed)
    phony = next(line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith(".PHONY:"))
    assert set(phony.split()[1:]) == set(listed)


def test_every_clone_runs_in_its_own_environment(clone):
    environment = clone.root / ".venv"
    venv.create(environment, with_pip=False, symlinks=True)
    lend_packages(environment)
    python = str(environment / "bin/python")
    clone.run(python, "-m", "pipelines.setup")
    assert (clone.root / "mlflow.db").is_file()
    (link,) = (environment / "mlflow-envs").iterdir()
    assert link == mlflow_environment(clone.root, environment), "mlflow looks under another name than the one that is linked"
    assert link.resolve() == environment.resolve()
    clone.run(python, "-m", "pipelines.setup")  # a second time changes nothing
    assert list((environment / "mlflow-envs").iterdir()) == [link]
    root = clone.run(python, "-c", "import os; print(os.environ['MLFLOW_ENV_ROOT'], os.environ['MLFLOW_EXPERIMENT_NAME'])")
    assert root.split() == [str(environment / "mlflow-envs"), "ser"]

    process = clone.start(python, "-m", *mlflow_run(test_dataset="CREMAA"))
    output, _ = process.communicate()
    assert f"{link} already exists" in output
    assert process.returncode != 0
    assert "Traceback" not in output
    (line,) = [line for line in output.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: unknown corpus 'CREMAA', expected one of: CAFE, CREMA, ")
    (run,) = clone.runs()
    assert run.info.status == "FAILED"
    assert run.data.tags["mlflow.note.content"] == f"Failed: {line.removeprefix('error: ')}"


def test_an_install_that_broke_is_repaired_by_the_next_call(clone):
    environment, stamp = clone.root / ".venv", clone.root / ".venv/complete"
    no_network = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull, "PYTHON": sys.executable}
    no_network |= {"UV_NO_INDEX": "1", "UV_OFFLINE": "1", "UV_CACHE_DIR": str(clone.root / ".uv")}
    (environment / "bin").mkdir(parents=True)
    process = clone.start("make", "setup", **no_network)
    output, _ = process.communicate()
    assert process.returncode != 0
    assert "No matching distribution found" in output
    assert not stamp.exists()

    (clone.root / "requirements.lock").write_text("")
    for path in (environment / SITE).glob("setuptools*"):  # of ensurepip, which the lock would have replaced
        shutil.rmtree(path)
    lend_packages(environment)
    clone.run("make", "setup", **no_network)
    assert stamp.is_file()
    assert "install" not in clone.run("make", "setup", **no_network)
    (clone.root / "requirements.lock").write_text("# changed\n")
    assert "pipelines.install" in clone.run("make", "--dry-run", "setup")


def test_a_script_outside_the_checkout_imports_the_package_and_a_checkout_still_comes_first(clone, tmp_path_factory):
    environment, elsewhere = clone.root / ".venv", tmp_path_factory.mktemp("elsewhere")
    no_network = {"UV_OFFLINE": "1", "PIP_NO_INDEX": "1", "UV_CACHE_DIR": str(elsewhere / "uv"), "PYTHON": sys.executable}
    venv.create(environment, with_pip=False, symlinks=True)
    lend_packages(environment)
    (clone.root / "requirements.lock").write_text("")
    clone.run("make", "setup", **no_network)
    script = elsewhere / "script.py"
    script.write_text("import ser_mlops, pipelines; print(ser_mlops.__file__)")
    python = str(environment / "bin/python")
    assert clone.run(python, str(script)).strip() == str(clone.root / "ser_mlops/__init__.py")
    (elsewhere / "ser_mlops").mkdir()
    (elsewhere / "ser_mlops/__init__.py").touch()
    assert clone.run(python, "-c", f"import os; os.chdir({str(elsewhere)!r}); import ser_mlops; print(ser_mlops.__file__)").startswith(
        str(elsewhere)
    )


def test_a_python_that_is_too_old_or_too_new_is_named(clone):
    program = "import sys; sys.version_info = (3, 10, 0); import runpy; runpy.run_module('pipelines.install', run_name='__main__')"
    process = clone.start(sys.executable, "-c", program)
    output, _ = process.communicate()
    assert "error: Python 3.11 to 3.13 is needed, this is 3.10" in output
    assert process.returncode == 1
