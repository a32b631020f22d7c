"""What an experiment hands over to processes that have not prepared it: a file in its folder of checkpoints.

A process needs the path of that folder and the key of its round, wherever it starts.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ser_mlops.experiments.experiment import Experiment, prepare
from ser_mlops.experiments.resuming import refuse_differing
from ser_mlops.files import write_text
from ser_mlops.settings.reading import dump_settings, parse_settings, with_values
from ser_mlops.settings.sections import Settings
from ser_mlops.tracking.outbox import OUTBOX
from ser_mlops.tracking.provenance import code_listing
from ser_mlops.tracking.relay import is_embedded

HANDOVER = "handover.json"
SYNC = "mlflow run . -e sync"
"""Brings what jobs wrote that reach no store, and closes their experiments."""


@dataclass(frozen=True)
class Handover:
    """Rounds of an experiment, to be run by other processes."""

    folder: Path
    """Of the experiment's checkpoints; absolute."""
    settings: Settings
    parent: str
    """Id of the parent run."""
    runs: Mapping[str, str]
    """Run id by key, of the rounds to be run. Of a sweep: its trials and the rounds of its best settings where no store is in reach; else
    none, as the study knows them."""
    is_sweep: bool = False

    @property
    def job_keys(self) -> list[str]:
        """What the jobs of its array do: a round each, or the work of a sweep."""
        return [f"worker {number}" for number in range(self.settings.sweep.workers)] if self.is_sweep else [*self.runs]

    @property
    def is_relayed(self) -> bool:
        """Whether the jobs reach no tracking store: they leave their records to the commands that do."""
        return self.settings.launch.launcher == "slurm" and is_embedded()

    @property
    def detached_note(self) -> str:
        """What a command says that leaves while its jobs wait."""
        return f"once they have ended: {SYNC}\n" if self.is_relayed else ""

    def save(self, experiment: Experiment) -> None:
        settings = with_values(
            self.settings, {"train.resume": None}, "resume"
        )  # else each process would read the parent's own settings again
        content = {"parent": self.parent, "runs": dict(self.runs), "is_sweep": self.is_sweep, "settings": dump_settings(settings)}
        content["frames"] = {corpus: version.frame_md5 for corpus, version in experiment.versions.items()}
        content["code"] = code_listing()
        write_text(self.folder / HANDOVER, json.dumps(content, indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> "Handover":
        content = json.loads((folder / HANDOVER).read_text(encoding="utf-8"))
        settings = parse_settings(content["settings"], str(folder / HANDOVER), is_resolved=True)
        return cls(folder, settings, content["parent"], content["runs"], content.get("is_sweep", False))

    @property
    def outboxes(self) -> Path:
        return self.folder.parent / OUTBOX

    def prepare(self) -> Experiment:
        """Prepare the experiment again, and refuse code or data that are not those that it was started with."""
        experiment = prepare(self.settings, reads_store=not self.is_relayed)
        content = json.loads((self.folder / HANDOVER).read_text(encoding="utf-8"))
        refuse_differing(experiment.versions, content["frames"], content["code"], self.parent)
        return experiment
