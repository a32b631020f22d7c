"""Write the data report over all corpora of data.corpora: counts, tables, figures, a page. `python -m pipelines.report`"""

import argparse
from pathlib import Path

from ser_mlops.commands import run_command
from ser_mlops.settings.reading import read_settings


def main() -> None:
    argparse.ArgumentParser(description="Write reports/data: quality.json, csv tables, figures and index.md.").parse_args()
    settings = read_settings()
    from ser_mlops.data.corpora.registry import corpus_named
    from ser_mlops.data.demo.mark import is_synthetic
    from ser_mlops.data.folders import REPORT, frame_file
    from ser_mlops.data.frames import read_frame
    from ser_mlops.data.quality import read_catalogue, read_index, read_left_out
    from ser_mlops.data.report import CorpusReport, write_report

    reports = [
        CorpusReport(
            corpus=corpus_named(name, settings.data.own_corpora),
            catalogue=read_catalogue(name),
            index=read_index(name),
            left_out=read_left_out(name),
            frame=read_frame(frame_file(name)),
            is_synthetic=is_synthetic(Path(settings.data.raw), name),
        )
        for name in settings.data.corpora
    ]
    write_report(reports, REPORT)
    kept = sum(len(report.frame) for report in reports)
    print(f"{kept} clips of {len(reports)} corpora: {REPORT / 'index.md'}")


if __name__ == "__main__":
    run_command(main)
