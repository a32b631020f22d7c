"""The methods paragraph: what it says follows from the record, nothing else is said, and every citation has its entry."""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from ser_mlops.experiments.bibliography import CHECKPOINTS, CORPORA, ENTRIES, TOOLS, bibliography
from ser_mlops.experiments.methods import Record, as_latex, as_markdown, keys_of, paragraph
from ser_mlops.models.aliases import ALIASES, TINY
from ser_mlops.settings.reading import read_settings

pytestmark = pytest.mark.timeout(600)
COMMIT = "0123456789abcdef"


def record(**given: str) -> Record:
    settings = read_settings(Path("params.yaml"), {f"train.{name}": value for name, value in given.items()})
    return Record(
        settings=settings,
        tags={"dvc.CREMA": "a" * 32, "split": "groups (no speaker shared between train and test)", "commit": COMMIT, "data": "real"},
        packages={"torch": "2.11.0", "transformers": "5.24.0", "mlflow": "3.17.2", "scikit-learn": "1.9.1"},
        python="3.11.7",
        corpora=["CREMA"],
        tests={"CREMA": (1488, 18, 6)},
        num_rounds=3,
        validation={"CREMA": "group"},
    )


def test_every_alias_corpus_and_tool_has_an_entry_and_its_key_is_its_own() -> None:
    assert {ALIASES[alias] for alias in ALIASES if alias != TINY} <= set(CHECKPOINTS)
    cited = {*CORPORA.values(), *TOOLS.values(), *(key for keys in CHECKPOINTS.values() for key in keys)}
    assert cited <= set(ENTRIES)
    assert all(re.match(rf"@\w+{{{key},\n", entry) and entry.count("{") == entry.count("}") for key, entry in ENTRIES.items())


def test_a_network_is_described_as_its_record_says() -> None:
    said = paragraph(record(test_dataset="CREMA", recipe="head", rounds="3", weight_decay="0.01"))
    for part in (
        "facebook/hubert-large-ll60k [[hsu2021hubert]]",
        "The encoder was frozen",
        "learning rate 0.001, weight decay 0.01, batches of 32, early stopping after 10 epochs",
        "at most 50 epochs",
        "The training was repeated in 3 rounds with seeds derived from 19730309",
        "15 % of the training side were set aside (CREMA by group)",
        "no speaker shared between train and test",
        "CREMA (1488 clips, 18 speakers)",
        "torch 2.11.0",
        "commit 0123456789ab of the code",
    ):
        assert part in said, part
    for absent in ("SYNTHETIC", "RAVDESS", "EmoFilm", "warm-up", "label smoothing", "scikit-learn", "with changes", "opensmile"):
        assert absent not in said, absent


def test_frozen_layers_and_adapters_are_said() -> None:
    assert "the first 6 layers of the encoder were frozen;" in paragraph(record(test_dataset="CREMA", freeze="encoder:6"))
    assert "Nothing was frozen; all weights were trained with AdamW" in paragraph(record(test_dataset="CREMA", freeze="none"))
    lora = paragraph(record(test_dataset="CREMA", freeze="none", adapter="lora", lora_rank="8"))
    assert "The encoder's own weights were frozen; low-rank adapters [[hu2022lora]] (rank 8, alpha" in lora
    assert "beside the feed-forward projections of its layers, and the head, were trained with AdamW" in lora
    assert "Nothing was frozen" not in lora
    upper = paragraph(record(test_dataset="CREMA", freeze="encoder:6", adapter="lora"))
    assert "beside the feed-forward projections of its layers above the first 6, and the head, were trained" in upper
    assert "without an attention mask" in paragraph(record(test_dataset="CREMA", attention_mask="false"))


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ("last", "its last layer, averaged over time, goes into"),
        ("all", "a learned sum of all its layers, averaged over time, goes into"),
        ("checkpoint", "its outputs, averaged over time, go into"),
    ],
)
def test_what_the_head_hears_is_said(layers, said) -> None:
    assert f"{said} a linear classifier" in paragraph(record(test_dataset="CREMA", layers=layers))


def test_one_round_and_changes_and_synthetic_data_are_said() -> None:
    one = record(test_dataset="CREMA")
    said = paragraph(replace(one, num_rounds=1, tags={**one.tags, "dirty": "true", "data": "synthetic", "gpu": "NVIDIA H100"}))
    assert "The training was run once, with seed 19730309." in said
    assert "intervals over speakers (" in said
    assert "with changes" in said
    assert "SYNTHETIC" in said
    assert "Computed on NVIDIA H100" in said


def test_a_checkpoint_of_ones_own_is_named_without_a_citation() -> None:
    assert "checkpoint lab/my-encoder, loaded" in paragraph(record(test_dataset="CREMA", model="lab/my-encoder"))


def test_citations_are_rendered_for_pandoc_and_latex_and_the_bib_has_them_all() -> None:
    said = paragraph(record(test_dataset="CREMA", model="HuB-ER"))
    assert "[@hsu2021hubert; @yang2021superb]" in as_markdown(said)
    assert r"~\cite{hsu2021hubert,yang2021superb}" in as_latex(said)
    assert r"15 \%" in as_latex(said)
    assert re.findall(r"@\w+\{(\w+),", bibliography(keys_of(said))) == keys_of(said)


@pytest.mark.skipif(shutil.which("bibtex") is None or shutil.which("pdflatex") is None, reason="no LaTeX here")
def test_the_paragraph_and_all_entries_compile(tmp_path) -> None:
    (tmp_path / "citations.bib").write_text(bibliography(ENTRIES), encoding="utf-8")
    body = as_latex(paragraph(record(test_dataset="CREMA")))
    document = (
        r"\documentclass{article}\begin{document}" + body + r"\nocite{*}\bibliographystyle{plain}\bibliography{citations}\end{document}"
    )
    (tmp_path / "paper.tex").write_text(document, encoding="utf-8")
    for command in (["pdflatex", "-halt-on-error", "paper"], ["bibtex", "paper"], ["pdflatex", "-halt-on-error", "paper"]):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-1500:]
    assert "Warning--" not in (tmp_path / "paper.blg").read_text(encoding="utf-8")


def test_the_command_writes_into_the_run_of_the_experiment(project) -> None:
    run = project.opened(project.run_here("pipelines.baseline", test_dataset="SAVEE", rounds="2", fold="all"))
    printed = project.run_here("pipelines.methods", run_id=run.info.run_id)
    assert "SAVEE [@haq2010savee]" in printed
    assert "411 functionals" in printed
    assert "Nothing in this training is random, so its 2 rounds are equal." in printed
    assert "SYNTHETIC" in printed
    assert "every fold held out in turn" in printed
    kept = {item.path for item in project.client.list_artifacts(run.info.run_id)}
    assert {"methods.md", "methods.tex", "citations.bib"} <= kept
    (child, *_) = project.children_of(run)
    assert "is one round of experiment" in project.refuse_here("pipelines.methods", run_id=child.info.run_id)
    assert "run_id is not given" in project.refuse_here("pipelines.methods")
