"""Import D.{CORPUS}_{train,test}_DF.p pickles, without running what a pickle may carry. `mlflow run . -e import_frames -P folder=FOLDER`"""

from pathlib import Path

from ser_mlops.commands import parse_arguments
from ser_mlops.errors import SettingsError
from ser_mlops.tracking.command import run_tracked_command


def main() -> None:
    settings = parse_arguments(
        ["import_frames", "data.raw", "data.own_corpora"],
        "Write data/imported/CORPUS.parquet from pickled DataFrames; the catalogue reads it.",
    )
    folder = settings.import_frames.folder
    if folder is None:
        raise SettingsError("folder is missing, expected a folder with D.CORPUS_train_DF.p and D.CORPUS_test_DF.p")
    from ser_mlops.data.corpora.registry import all_corpora
    from ser_mlops.data.importing.old_frames import import_frames

    counts = import_frames(Path(folder), Path(settings.data.raw), all_corpora(settings.data.own_corpora))
    for corpus, count in counts.items():
        print(f"{corpus}: {count['found']} clips found, {count['moved']} found under another path, {count['lost']} not found")
        if respelt := count.get("respelt"):
            print(f"  {respelt} of them under a name that differs in upper and lower case or in Unicode form")
    print("next: dvc repro")


if __name__ == "__main__":
    run_tracked_command("import_frames", main)
