"""What README.md and the other pages tell people to type works, and whatever they name is there."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.entities import Run
from ruamel.yaml import YAML

from tests.processes import Command, run_program
from tests.project import ROOT

PAGES = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "examples/server/README.md")), *sorted(ROOT.glob("docs/*.md"))]
TRAINING = "mlflow run . -P test_dataset=CREMA -P model=tiny -P lr=3.0e-3 -P batch_size=8 -P epochs=10 -P rounds=2"
NOT_RUN = {
    r"git clone .*": "the copy that the others run in is the clone",
    r"make (demo|test|test-slow|check|lock|setup)": "builds the environment that the tests run in (tests/test_setup.py)",
    r"(make|mlflow) ui": "serves until it is stopped",
    r"make try( MODEL=RUN_ID)?": "serves until it is stopped (tests/serving/test_page.py)",
    r"make listen RUN=RUN_ID": "serves until it is stopped (tests/serving/test_listen_page.py)",
    r"make raw FROM=.*": "needs recordings (tests/data/test_recordings.py)",
    r"mlflow run \. -P test_dataset=CREMA( -P register=ser)?": "needs the weights of HuB-LL (tests/test_main.py brings stand-ins)",
    r"mlflow run \. .* -P register_as=ensemble": "needs the weights of HuB-LL (tests/experiments/test_ensembles.py)",
    re.escape(TRAINING): "test_the_training_of_the_readme_learns",
    r"mlflow run \. -e (import_frames|prepare_msp) .*": "needs other people's files (tests/data/test_importing.py)",
    r"mlflow run \. -e (sweep|compare|reproduce|predict|export_onnx|errors|embed) .*": "has tests of its own",
    r"(MLFLOW_PYFUNC_INFERENCE_CONFIG=\S+ \S+ )?mlflow models serve .*": "tests/serving/test_pyfunc.py serves and calls",
    r"(python )?examples/client\.(sh|py) .*": "tests/serving/test_pyfunc.py serves and calls",
}
"""Commands that are not run here, as patterns, and why."""
PLACES = ("pipelines/", "ser_mlops/", "tests/", "benchmarks/", "docs/", "data/", "reports/")
PLACEHOLDER = re.compile(r"[<>{}*…]|[A-Z]{5,}")
"""Marks names that stand for others: <CORPUS>, FOLDER, NAME."""
MADE_BY_USERS = ("data/raw",)
TARGETS = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
ENTRY_POINTS = YAML(typ="safe").load(ROOT / "MLproject")["entry_points"]


def commands_of(page: Path) -> Iterator[str]:
    """Every line of the bash blocks of a page, without comments, continued lines joined."""
    for block in re.findall(r"^ *```bash\n(.*?)^ *```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if command := " ".join(re.sub(r"(^|\s)#.*", "", line).split()):
                yield command


def code_of(page: Path) -> str:
    """The commands and the inline code of a page, one a line."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return "\n".join([*commands_of(page), *re.findall(r"`([^`\n]+)`", text)])


SAFE = sorted(
    {command for page in PAGES for command in commands_of(page) if not any(re.fullmatch(pattern, command) for pattern in NOT_RUN)}
)


@pytest.mark.parametrize("command", SAFE)
def test_a_command_of_the_pages_runs(project, command):
    program, _, parameters = command.partition(" -P ")
    if program == "mlflow run .":  # test_the_training_of_the_readme_learns runs MLflow's own command
        project.run_here("pipelines.train", **dict(parameter.split("=", 1) for parameter in parameters.split(" -P ")))
    else:
        project.run("bash", "-c", command)


@pytest.fixture(scope="module")
def trained(project) -> Run:
    """The experiment of the README."""
    assert TRAINING in [*commands_of(ROOT / "README.md")]
    output = project.run("bash", "-c", TRAINING)
    assert "already exists" in output, "mlflow did not take the environment as it is"
    return project.opened(output)


def test_the_training_of_the_readme_learns(trained):
    assert trained.data.metrics["test/uar_mean"] > 2 / 6  # chance is 1/6


def test_the_python_of_the_docs_runs(project, trained, tmp_path):
    page = (ROOT / "docs/python.md").read_text(encoding="utf-8")
    program = "\n".join(re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL))
    printed = Command.start(tmp_path / "log", run_program, project.root, program).finish()
    for expected in ("test/uar_mean", "predicted", "\\toprule", "trained on synthetic data", "(1, 2, 24)", "torch.Size([3, 1, "):
        assert expected in printed


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_names_parameters_that_exist(project, page):
    for line in code_of(page).splitlines():
        names = re.findall(r"-P ([\w.]+)=", line)
        if names:
            called = re.search(r"mlflow run .*?-e (\w+)", line)
            entries = [called[1]] if called else ["main"] if "mlflow run" in line else list(ENTRY_POINTS)
            accepted = {name for entry in entries for name in parameters_of(project, entry)}
            assert set(names) <= accepted | {"rondas", "name"}, line


_PARAMETERS: dict[str, set[str]] = {}


def parameters_of(project, entry: str) -> set[str]:
    """The names that `--help` of an entry point's command shows."""
    if entry not in _PARAMETERS:
        (module,) = re.fullmatch(r"python -m (pipelines\.\w+)", ENTRY_POINTS[entry]["command"]).groups()
        _PARAMETERS[entry] = set(re.findall(r"^  --([\w.]+)", project.help_of(module), re.M))
    return _PARAMETERS[entry]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_names_targets_entry_points_and_commands_that_exist(page):
    code = code_of(page)
    assert set(re.findall(r"\bmake ([a-z][a-z-]*)", code)) <= set(TARGETS)
    assert set(re.findall(r"mlflow run \S+ (?:.* )?-e (\w+)", code)) <= set(ENTRY_POINTS)
    modules = set(re.findall(r"python -m (pipelines\.[a-z_]+|benchmarks[.a-z_]*)", code))
    files = {module: ROOT / module.replace(".", "/") for module in modules}
    assert [module for module, file in files.items() if not file.is_dir() and not file.with_suffix(".py").is_file()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_names_files_that_exist(project, page):
    text = page.read_text(encoding="utf-8")
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"\w+:|#", link)]
    assert [link for link in links if not (page.parent / link).exists()] == []
    paths = [path for path in re.findall(r"`([^`\s]+)`", text) if path.startswith(PLACES) and not PLACEHOLDER.search(path)]
    assert [path for path in paths if not (ROOT / path).exists() and not (project.root / path).exists() and path not in MADE_BY_USERS] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_links_to_headings_that_exist(page):
    links = [
        link.partition("#") for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")) if not re.match(r"\w+:", link)
    ]
    targets = [((page.parent / name) if name else page, anchor) for name, _, anchor in links if anchor]
    assert [f"{path.name}#{anchor}" for path, anchor in targets if anchor not in anchors_of(path)] == []


def anchors_of(page: Path) -> set[str]:
    """The anchors that the headings of a page get."""
    return {anchor_of(heading) for heading in re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)}


def anchor_of(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


ANSWERS = {
    "How do I use my own recordings of the seven corpora?": "make raw FROM=FOLDER",
    "How do I add a corpus?": "data/own_corpora.py",
    "How do I get a first result without a download? What does a network have to beat?": "mlflow run . -e baseline",
    "How do I resume after an interruption?": "mlflow run . -P resume=RUN_ID",
    "How do I run on a Slurm cluster?": "-P launcher=slurm",
    "Is one experiment better than another?": "mlflow run . -e compare",
    "How do I get the same numbers again?": "mlflow run . -e reproduce",
    "How do I get the table of my paper?": "mlflow run . -e table",
    "Which clips went wrong? How do I listen to them?": "make listen RUN=RUN_ID",
    "How do I share data and results with colleagues?": "dvc push",
    "How do I set up a server for a group?": "docker compose up --detach --wait",
    "How do I free space?": "python -m pipelines.cache",
    "How do I classify a folder of recordings?": "mlflow run . -e predict",
    "How do I train on two corpora (of my own) and test on a third?": "-P train_datasets=CREMA,SAVEE -P test_dataset=TESS",
    "What if some emotions are rare?": "class_weights=balanced",
    "What if memory runs out?": "gradient_checkpointing=true",
    "Can I augment the training clips?": "augment=speed,noise,gain",
    "Which speakers are in which fold?": "| CREMA | 5 |",
    "Which settings are there?": "python -m pipelines.train --help",
    "Where are my results?": "mlflow.db",
    "Can I train only some layers?": "freeze=encoder:",
    "Can I train on four emotions?": "emotions=neutral,happy,sad,angry",
    "How do I use data, results and models in Python or a notebook?": "import ser_mlops as ser",
    "How do I make my own LaTeX table?": "to_latex",
    "How do I get embeddings? Which layer knows emotion?": "mlflow run . -e embed",
    "How do I push a model to the Hugging Face hub?": "hf upload",
}
"""Questions of docs/index.md, and what the sections that it names say to type."""


@pytest.mark.parametrize("question", ANSWERS)
def test_a_question_leads_to_its_answer(question):
    page = ROOT / "docs/index.md"
    (row,) = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith(f"| {question} |")]
    links = [link.partition("#") for link in re.findall(r"\]\(([^)\s]+)\)", row)]
    assert any(ANSWERS[question] in section_of(page.parent / name, anchor) for name, _, anchor in links), row


def section_of(page: Path, anchor: str) -> str:
    """The text under a heading and under those below it; a whole page without an anchor."""
    lines = page.read_text(encoding="utf-8").splitlines()
    headings = {number: line for number, line in enumerate(lines) if re.match(r"#+ ", line)}
    for number, heading in headings.items():
        if anchor == anchor_of(heading.lstrip("# ")):
            depth = len(heading) - len(heading.lstrip("#"))
            ends = [later for later, line in headings.items() if later > number and len(line) - len(line.lstrip("#")) <= depth]
            return "\n".join(lines[number : min(ends, default=len(lines))])
    return "" if anchor else "\n".join(lines)


def test_every_entry_point_has_a_command_that_helps(project):
    for entry in ENTRY_POINTS:
        assert parameters_of(project, entry), entry
