"""Listen: a page in the browser that plays the clips which an experiment gets wrong. `make listen RUN=RUN_ID`"""

from importlib.util import find_spec
from pathlib import Path

from ser_mlops.commands import parse_arguments, run_command
from ser_mlops.errors import SettingsError


def main() -> None:
    settings = parse_arguments(["listen"], "Listen to the clips that an experiment gets wrong: make listen RUN=RUN_ID")
    chosen = settings.listen
    if chosen.run_id is None:
        raise SettingsError("run_id is not given, expected the id of a finished experiment or round: make listen RUN=RUN_ID")
    if find_spec("gradio") is None:
        raise SettingsError("the page needs Gradio, the extra `try` of pyproject.toml: pip install 'gradio>=6'")
    from ser_mlops.experiments.mistakes import read_answers
    from ser_mlops.scores.mistakes_page import in_a_sentence
    from ser_mlops.tracking.recovery import bring_all
    from ser_mlops.tracking.store import open_store

    bring_all(Path(settings.paths.checkpoints))
    answers = read_answers(open_store(), chosen.run_id)
    from ser_mlops.serving.listen_page import Errors, serve_errors  # imports Gradio, once the run is known to be there

    mistakes = answers.find_mistakes()
    runs = [dict(zip(table["path"], table["run_id"], strict=True)) for table in answers.rounds]
    warning = "; ".join(filter(None, [answers.warning, *answers.notes]))
    errors = Errors(answers.run.info.run_name, in_a_sentence(mistakes), warning, mistakes.clips, runs)
    serve_errors(errors, chosen.address, chosen.port)


if __name__ == "__main__":
    run_command(main)
