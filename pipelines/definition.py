"""Write what defines a corpus, on which its other stages depend. `python -m pipelines.definition --corpus CREMA`"""

import argparse
from pathlib import Path

from ser_mlops.commands import run_command
from ser_mlops.settings.reading import read_settings


def main() -> None:
    parser = argparse.ArgumentParser(description="Write data/definitions/CORPUS.txt: of your own corpora, the statements that define it.")
    parser.add_argument("--corpus", required=True)
    name = parser.parse_args().corpus
    settings = read_settings()
    from ser_mlops.data.corpora.definitions import definition_of
    from ser_mlops.data.folders import definition_file
    from ser_mlops.files import write_text

    write_text(definition_file(name), definition_of(name, Path(settings.data.own_corpora)))


if __name__ == "__main__":
    run_command(main)
