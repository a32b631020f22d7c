"""What test_distributed runs under torchrun: rounds, logits and an interruption, written down by the first process."""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from ser_mlops.errors import Interrupted
from ser_mlops.files import write_text
from ser_mlops.training import checkpoints
from ser_mlops.training.distributed import join_world, leave_world
from ser_mlops.training.evaluate import predict_logits
from ser_mlops.training.recipe import EvaluationRecipe
from tests.training.builders import Recorded, make_setup, weights_of, without_time

UNEVEN = {"batch_size": 3, "accumulate": 2, "class_weights": "balanced", "label_smoothing": 0.1, "clip_norm": 1.0, "augment": ("gain",)}
"""13 clips in batches of 3: with two processes one share is empty."""
SOFT = {"targets": "soft", "sample": "balanced"}


class Signalling(Recorded):
    """Asks its own process alone to stop, after the first epoch."""

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        super().epoch(epoch, metrics)
        os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def slow_disk() -> Iterator[None]:
    """Let every save of a state take half a second."""
    save = checkpoints.save_last

    def save_slowly(*arguments: Any) -> None:
        time.sleep(0.5)
        save(*arguments)

    with patch.object(checkpoints, "save_last", save_slowly):
        yield


def run(folder: Path, noisy_model: str) -> None:
    """Train and predict; both processes make the same synthetic clips, each in a folder of its own."""
    world = join_world()
    setup = make_setup(folder / f"process{world.rank}", num_train=13)
    setup.folder = folder
    fitted = setup.fit("even", epochs=2, **UNEVEN)
    logits = predict_logits(fitted.classifier, setup.validation, EvaluationRecipe(4), None, world)
    outcome = {
        "history": without_time(fitted.history),
        "recorded": without_time(list(setup.recorded.epochs.values())),
        "logits": logits.tolist(),
    }

    setup.hear()
    outcome["soft"] = without_time(setup.fit("soft", epochs=2, **UNEVEN, **SOFT).history)
    setup.model = noisy_model
    undisturbed = setup.fit("undisturbed", epochs=2)
    setup.recorded = Signalling()
    try:
        with slow_disk():
            setup.fit("stopped", epochs=2)
        outcome["stopped"] = ""
    except Interrupted as error:
        outcome["stopped"] = str(error)
    setup.recorded = Recorded()
    resumed = setup.fit("stopped", epochs=2)
    outcome["resumed equals undisturbed"] = weights_of(resumed) == weights_of(undisturbed) and without_time(
        resumed.history
    ) == without_time(undisturbed.history)
    if world.is_first:
        world.broadcast(["from the first", 1])
        outcome["received"] = True
    else:
        outcome["received"] = world.receive() == ["from the first", 1]
    write_text(folder / f"outcome{world.rank}.json", json.dumps(outcome))
    leave_world()


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2])
