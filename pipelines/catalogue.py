"""Write the catalogue of a corpus: names parsed, label rules applied, nothing decoded. `python -m pipelines.catalogue --corpus CREMA`"""

import argparse
from pathlib import Path

from ser_mlops.commands import run_command
from ser_mlops.settings.reading import read_settings


def main() -> None:
    parser = argparse.ArgumentParser(description="Write data/catalogue/CORPUS.parquet, and CORPUS.files.json: which files to decode.")
    parser.add_argument("--corpus", required=True)
    name = parser.parse_args().corpus
    settings = read_settings()
    from ser_mlops.data.audio.listing import write_listing
    from ser_mlops.data.corpora.catalogue import catalogue
    from ser_mlops.data.corpora.registry import CORPORA, all_corpora, corpus_named
    from ser_mlops.data.corpora.scan import scan
    from ser_mlops.data.folders import catalogue_file, listing_file
    from ser_mlops.errors import SettingsError, one_of
    from ser_mlops.files import replacing

    chosen = settings.catalogue.labels
    if not_of_the_seven := [] if isinstance(chosen, str) else [named for named in chosen if named not in CORPORA]:
        known = all_corpora(settings.data.own_corpora)
        for named in not_of_the_seven:
            if named not in known:
                raise SettingsError(f"catalogue.labels: {one_of('corpus', named, known)}")
    corpus = corpus_named(name, settings.data.own_corpora)
    scanned = scan(Path(settings.data.raw), corpus)
    table = catalogue(corpus, scanned, settings.catalogue.model_dump())
    with replacing(catalogue_file(corpus.name)) as aside:
        table.to_parquet(aside, index=False)
    clips = [(item.path, item.file) for item in scanned.found if item.clip is not None]
    write_listing(clips, listing_file(corpus.name))

    left_out = table.loc[table["reason"] != "", "reason"].str.replace(r"^copy of .*", "copy", regex=True)
    changed = table.loc[(table["rule"] != "") & (table["reason"] == ""), "rule"]
    print(f"{corpus.name}: {len(table)} audio files found, {len(table) - len(left_out)} in the catalogue")
    for what, counts in {"left out": left_out, "by rule": changed, "other files": table.attrs["other_files"]}.items():
        counted = counts if isinstance(counts, dict) else counts.value_counts().to_dict()
        for reason, count in counted.items():
            print(f"  {what}: {count} {reason}")
    num_clips = len(clips)
    if corpus.num_files and num_clips != corpus.num_files:
        print(f"  warning: {num_clips} clips, {corpus.num_files} in the release (num_files)")
    divided = table.loc[table["group"].str.contains("@", regex=False), "speaker"].nunique()
    if divided:
        print(f"  warning: {divided} speakers are on several sides of the official split")


if __name__ == "__main__":
    run_command(main)
