"""Write the DataFrame of a corpus: defects and duplicates resolved, folds assigned. `python -m pipelines.frames --corpus CREMA`"""

import argparse
from pathlib import Path

from ser_mlops.commands import run_command
from ser_mlops.settings.reading import read_settings


def main() -> None:
    parser = argparse.ArgumentParser(description="Write data/frames/CORPUS.parquet, and data/left_out/CORPUS.csv with what is not in it.")
    parser.add_argument("--corpus", required=True)
    name = parser.parse_args().corpus
    settings = read_settings()
    from ser_mlops.data.corpora.registry import corpus_named
    from ser_mlops.data.folders import frame_file, left_out_file
    from ser_mlops.data.frames import conform, write_frame
    from ser_mlops.data.quality import read_catalogue, read_index, refuse_empty, resolve_defects
    from ser_mlops.data.splits import divide
    from ser_mlops.files import write_text

    corpus = corpus_named(name, settings.data.own_corpora)
    clips, left_out = resolve_defects(read_catalogue(corpus.name), read_index(corpus.name))
    refuse_empty(clips, left_out, Path(settings.data.raw) / corpus.name)
    rule = settings.frames
    groups, folds = divide(clips, rule.split, corpus.num_folds, corpus.fold_table, rule.test_ratio, rule.seed)
    frame_path = frame_file(corpus.name)
    frame = conform(clips.assign(corpus=corpus.name, group=groups, fold=folds), str(frame_path))
    write_frame(frame, frame_path)
    write_text(left_out_file(corpus.name), left_out.to_csv(index=False, lineterminator="\n"))
    sides = frame["part"].where(frame["part"] != "", "fold " + frame["fold"].astype("str")).value_counts().sort_index()
    print(f"{corpus.name}: {len(frame)} clips, {len(left_out)} files left out; " + ", ".join(f"{side}: {n}" for side, n in sides.items()))


if __name__ == "__main__":
    run_command(main)
