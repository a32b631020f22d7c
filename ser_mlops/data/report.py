"""The data report: what is in the frames, and what was left out and why, as counts (quality.json), tables (csv), figures and a page."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ser_mlops.data.agreement import agreement, heard_by_label
from ser_mlops.data.audio.defects import defect_in
from ser_mlops.data.audio.format import SAMPLE_RATE
from ser_mlops.data.corpora.base import Corpus
from ser_mlops.data.figures import genders, heard, spread
from ser_mlops.data.folders import index_file, left_out_file
from ser_mlops.data.frames import GENDERS
from ser_mlops.data.quality import WITHOUT_LABEL, Quality, class_counts, count_quality, known_speakers, speaker_counts
from ser_mlops.emotions import EMOTIONS
from ser_mlops.files import write_text
from ser_mlops.scores.figures.emotions import distribution
from ser_mlops.scores.figures.style import save
from ser_mlops.scores.tables import markdown

SYNTHETIC_NOTE = "SYNTHETIC demo data"
FIGURES = ("emotions", "durations", "levels", "speakers")
VOTES_FOLDER = "votes"
"""What listeners heard, of the corpora where they were asked."""
DURATION_BINS = np.arange(0, 20.5, 0.5)
LEVEL_BINS = np.arange(-80, 1, 5.0)


@dataclass(frozen=True)
class CorpusReport:
    """What the report needs to know about one corpus."""

    corpus: Corpus
    catalogue: pd.DataFrame
    index: pd.DataFrame
    left_out: pd.DataFrame
    frame: pd.DataFrame
    is_synthetic: bool

    @property
    def seconds(self) -> np.ndarray:
        """Length of every clip kept."""
        return self.frame["num_samples"].to_numpy() / SAMPLE_RATE

    @property
    def rms_db(self) -> np.ndarray:
        """Level of every clip kept."""
        return self.index.set_index("path")["rms_db"].loc[self.frame["path"]].to_numpy()


def write_report(reports: list[CorpusReport], folder: Path) -> None:
    """Write the whole report into a folder."""
    quality = {
        report.corpus.name: count_quality(report.catalogue, report.index, report.left_out, report.frame, report.corpus.num_files)
        for report in reports
    }
    tables = plot_tables(reports)
    counts = {name: asdict(counts) for name, counts in quality.items()}
    write_text(folder / "quality.json", json.dumps(counts, indent=2, ensure_ascii=False) + "\n")
    for name, table in tables.items():
        write_text(folder / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
    _draw(reports, tables, folder)
    _write_votes(reports, folder / VOTES_FOLDER)
    write_text(folder / "index.md", page(reports, quality, tables))


def plot_tables(reports: list[CorpusReport]) -> dict[str, pd.DataFrame]:
    """Return the tables that `dvc plots` and the page show, all with the column corpus first."""
    classes = _stack((report.corpus.name, class_counts(report.frame)) for report in reports)
    if WITHOUT_LABEL in classes:
        classes = classes.fillna({WITHOUT_LABEL: 0}).astype({WITHOUT_LABEL: "int64"})
    return {
        "folds": classes,
        "emotions": classes.groupby("corpus", sort=False)[list(EMOTIONS)]
        .sum()
        .melt(ignore_index=False, var_name="emotion", value_name="clips")
        .reset_index(),
        "speakers": _stack((report.corpus.name, speaker_counts(report.frame)) for report in reports),
        "durations": _stack((report.corpus.name, _histogram(report.seconds, DURATION_BINS, "seconds")) for report in reports),
        "levels": _stack((report.corpus.name, _histogram(report.rms_db, LEVEL_BINS, "rms_db")) for report in reports),
    }


def _stack(tables: Iterable[tuple[str, pd.DataFrame]]) -> pd.DataFrame:
    return pd.concat([table.assign(corpus=name)[["corpus", *table.columns]] for name, table in tables], ignore_index=True)


def _histogram(values: np.ndarray, edges: np.ndarray, name: str) -> pd.DataFrame:
    """Count values by the lower edges of bins; values beyond the edges count in the outermost bins."""
    counts, _ = np.histogram(np.clip(values, edges[0], np.nextafter(edges[-1], -np.inf)), edges)
    return pd.DataFrame({name: edges[:-1], "clips": counts})


def _draw(reports: list[CorpusReport], tables: Mapping[str, pd.DataFrame], folder: Path) -> None:
    note = SYNTHETIC_NOTE if any(report.is_synthetic for report in reports) else ""
    names = [report.corpus.name for report in reports]
    counts = tables["emotions"].pivot(index="emotion", columns="corpus", values="clips").loc[list(EMOTIONS), names]
    unknown = {report.corpus.name: int(known_speakers(report.frame).isna().sum()) for report in reports}
    speakers = {report.corpus.name: known_speakers(report.frame).groupby(report.frame["gender"]).nunique() for report in reports}
    figures = (
        distribution(counts, "Emotions", note, of="corpus"),
        spread({report.corpus.name: report.seconds for report in reports}, "seconds", "Durations", note),
        spread({report.corpus.name: report.rms_db for report in reports}, "dB of full scale", "Level", note),
        genders(_by_gender(speakers), unknown, "Speakers by gender", note),
    )
    for name, figure in zip(FIGURES, figures, strict=True):
        save(figure, folder / f"{name}.png")


def _write_votes(reports: list[CorpusReport], folder: Path) -> None:
    """Write what listeners heard: a table of agreement, one of counts, and a figure for each corpus where anybody was asked."""
    folder.mkdir(parents=True, exist_ok=True)
    asked = [report for report in reports if (report.catalogue["perceived"] != "").any()]
    for report in asked:
        name, counts = report.corpus.name, heard_by_label(report.catalogue, report.corpus.emotions)
        own = agreement(report.catalogue, report.corpus.emotions)
        write_text(folder / f"{name}.agreement.csv", own.to_csv(index=False, lineterminator="\n"))
        write_text(folder / f"{name}.heard.csv", counts.to_csv(lineterminator="\n"))
        save(heard(counts, f"{name}: what most listeners heard", SYNTHETIC_NOTE if report.is_synthetic else ""), folder / f"{name}.png")


def _by_gender(counts: Mapping[str, pd.Series]) -> pd.DataFrame:
    return pd.DataFrame(counts).T.reindex(columns=list(GENDERS)).fillna(0).astype("int64")


def page(reports: list[CorpusReport], quality: Mapping[str, Quality], tables: Mapping[str, pd.DataFrame]) -> str:
    """Return the readable page, in Markdown."""
    synthetic = [report.corpus.name for report in reports if report.is_synthetic]
    lines = ["# Data report", ""]
    if synthetic:
        lines += [f"**SYNTHETIC: the clips of {', '.join(synthetic)} are made by this project; nobody is heard in them.**", ""]
    lines += [markdown(pd.DataFrame([_overview(name, counts) for name, counts in quality.items()])), ""]
    lines += [
        "What 411 numbers per clip reach on these corpora, without download or GPU: `mlflow run . -e baseline -P experiment_type=within`.",
        "",
    ]
    for name in FIGURES:
        lines += [f"![{name}]({name}.png)", ""]
    for report in reports:
        lines += _corpus_section(report, quality[report.corpus.name], tables["folds"])
    return "\n".join(lines)


def _overview(name: str, counts: Quality) -> dict[str, object]:
    """Return a corpus's row of the first table."""
    return {
        "corpus": name,
        "found": counts.found,
        "kept": counts.kept,
        "left out": counts.found - counts.kept,
        "speakers": counts.speakers,
        "hours": counts.hours,
        "warnings": sum(counts.warnings.values()),
    }


def _corpus_section(report: CorpusReport, quality: Quality, folds: pd.DataFrame) -> list[str]:
    corpus = report.corpus
    size = f" The release has {quality.release_clips:,} clips, this copy {quality.clips:,}." if quality.release_clips else ""
    lines = [f"## {corpus.name}{' (SYNTHETIC)' if report.is_synthetic else ''}", "", f"{corpus.title}; {corpus.licence}.{size}", ""]
    own = folds[folds["corpus"] == corpus.name].drop(columns="corpus")
    lines += [markdown(own.drop(columns=WITHOUT_LABEL) if WITHOUT_LABEL in own and not own[WITHOUT_LABEL].any() else own), ""]
    changed = report.catalogue.loc[(report.catalogue["rule"] != "") & (report.catalogue["reason"] == ""), "rule"]
    counted = {
        "left out": quality.left_out,
        "warned about and kept": quality.warnings,
        "changed by a rule": changed.value_counts().to_dict(),
        "not an audio file": quality.other_files,
    }
    rows = [
        {"what happened": title, "to what": what, "number": number} for title, counts in counted.items() for what, number in counts.items()
    ]
    if rows:
        lines += [markdown(pd.DataFrame(rows)), ""]
    lines += _votes_section(report)
    examples = report.left_out[~report.left_out["reason"].map(defect_in).duplicated()]
    if not examples.empty:
        lines += ["For example:", ""]
        lines += [f"- `{row.path}`: {row.reason}{f' (`{row.twin}`)' if row.twin else ''}" for row in examples.itertuples()]
        lines += ["", f"All of them: `{left_out_file(corpus.name).as_posix()}`.", ""]
    warned = report.index[report.index["path"].isin(report.frame["path"]) & (report.index["warnings"] != "")]
    if not warned.empty:
        first = warned.assign(warning=warned["warnings"].str.split(", ")).explode("warning").drop_duplicates("warning")
        lines += ["Kept with a warning, for example:", ""]
        lines += [f"- `{row.path}`: {row.warning}" for row in first.itertuples()]
        lines += ["", f"All of them: the column `warnings` of `{index_file(corpus.name).as_posix()}`.", ""]
    return lines


def _votes_section(report: CorpusReport) -> list[str]:
    """Return what the page says of a corpus's listeners; nothing where nobody was asked."""
    if not (report.catalogue["perceived"] != "").any():
        return []
    shown = pd.DataFrame(
        {
            "label": row.label,
            "clips": row.clips,
            "heard as labelled": f"{row.as_label:.1%}",
            "ties": f"{row.ties:.1%}",
            "votes per clip": _decimals(row.votes),
            "entropy (bits)": _decimals(row.entropy),
            "Fleiss' kappa": _decimals(row.kappa),
        }
        for row in agreement(report.catalogue, report.corpus.emotions).itertuples()
    )
    picture = f"{VOTES_FOLDER}/{report.corpus.name}.png"
    return ["What listeners heard, before any rule:", "", markdown(shown), "", f"![What most listeners heard]({picture})", ""]


def _decimals(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.2f}"
