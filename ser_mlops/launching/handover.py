"""What an experiment hands over to processes that have not prepared it: a file in its folder of checkpoints.

A process needs the path of that folder and the key of its round, wherever it starts.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ser_mlops.experiments.experiment import Experiment, prepare
from ser_mlops.experiments.resuming import refuse_changed
from ser_mlops.files import write_text
from ser_mlops.settings.reading import dump_settings, parse_settings, with_values
from ser_mlops.settings.sections import Settings
from ser_mlops.tracking.outbox import OUTBOX

FILE = "handover.json"


@dataclass(frozen=True)
class Handover:
    """Rounds of an experiment, to be run by other processes."""

    folder: Path
    """Of the experiment's checkpoints; absolute."""
    settings: Settings
    parent: str
    """Id of the parent run."""
    runs: Mapping[str, str]
    """Run id by key, of the rounds to be run; none for a sweep, whose study knows its trials."""

    def save(self) -> None:
        settings = with_values(
            self.settings, {"train.resume": None}, "resume"
        )  # else each process would read the parent's own settings again
        content = {"parent": self.parent, "runs": dict(self.runs), "settings": dump_settings(settings)}
        write_text(self.folder / FILE, json.dumps(content, indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> "Handover":
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
        settings = parse_settings(content["settings"], str(folder / FILE), is_resolved=True)
        return cls(folder, settings, content["parent"], content["runs"])

    @property
    def outboxes(self) -> Path:
        return self.folder.parent / OUTBOX

    def prepare(self) -> Experiment:
        """Prepare the experiment again, and refuse code or data that are not those that it was started with."""
        experiment = prepare(self.settings)
        refuse_changed(experiment.versions, self.parent)
        return experiment
