"""The contract of a family of encoders: a tiny checkpoint of every one, and how far it is from what must hold.

`python -m tests.models.contract` prints the table of docs/adding-an-encoder.md.
"""

import multiprocessing
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed
from torch.nn.functional import cross_entropy, softmax
from torch.optim import SGD
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2FeatureExtractor,
    WhisperFeatureExtractor,
)
from transformers.utils.logging import disable_progress_bar

from ser_mlops.errors import Interrupted
from ser_mlops.models.build import load_classifier, open_classifier
from ser_mlops.models.classifier import EmotionClassifier
from ser_mlops.training.distributed import World, leave_world
from ser_mlops.training.features import open_features, stage_of
from tests.models.builders import BUCKETS, GROUP_NORM, LAYER_NORM, SIZE, WHISPER, padded, some_waves
from tests.training.builders import Recorded, Setup, make_setup, weights_of

CONFORMER = {"conv_depthwise_kernel_size": 7, "position_embeddings_type": "relative", "max_source_positions": 60}
LOG_MEL = {"feature_projection_input_dim": 160, "position_embeddings_type": "relative_key"}
CHECKPOINTS: dict[str, dict[str, Any]] = {
    "hubert": SIZE | LAYER_NORM,
    "wav2vec2": SIZE | GROUP_NORM,
    "wavlm": SIZE | GROUP_NORM | BUCKETS,
    "wavlm, norm first": SIZE | LAYER_NORM | BUCKETS,
    "unispeech": SIZE | LAYER_NORM,
    "unispeech-sat": SIZE | LAYER_NORM,
    "data2vec-audio": SIZE | {"num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 5},
    "wav2vec2-conformer": SIZE | LAYER_NORM | CONFORMER,
    "wav2vec2-conformer, rotary": SIZE | LAYER_NORM | CONFORMER | {"position_embeddings_type": "rotary"},
    "wav2vec2-bert": SIZE | CONFORMER | LOG_MEL,
    "whisper": WHISPER,
}
"""Name -> the config of a checkpoint in a tiny size; the part before the comma is its model_type."""
CHANCES = (
    "hidden_dropout",
    "attention_dropout",
    "activation_dropout",
    "feat_proj_dropout",
    "conformer_conv_dropout",
    "dropout",
    "layerdrop",
    "encoder_layerdrop",
    "mask_time_prob",
)
"""Keys of configs that let a training draw random numbers."""
LENGTHS = (16000, 4321, 9999, 400, 15999, 100)
MODES = ("feature_encoder", "encoder:1", "encoder")


def write_family(folder: Path, name: str, **changes: object) -> Path:
    """Write a checkpoint of a family, with a head of its own."""
    model_type = name.partition(",")[0]
    config = AutoConfig.for_model(model_type, **CHECKPOINTS[name] | changes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        AutoModelForAudioClassification.from_config(config).save_pretrained(folder)
    extractor: Any = Wav2Vec2FeatureExtractor(return_attention_mask=False)
    if model_type == "wav2vec2-bert":
        extractor = SeamlessM4TFeatureExtractor(padding_value=1)
    elif model_type == "whisper":
        extractor = WhisperFeatureExtractor(chunk_length=1)
    extractor.save_pretrained(folder)
    return folder


def load(folder: Path) -> EmotionClassifier:
    """Load a checkpoint with logits of the size that trained heads give, and a weight of its own for every layer."""
    classifier = load_classifier(str(folder), seed=1)
    with torch.no_grad():
        classifier.net.classifier.weight.mul_(50)
        if classifier.weighs_layers:
            classifier.net.layer_weights.copy_(torch.linspace(-1, 1, len(classifier.net.layer_weights)))
    return classifier


@torch.inference_mode()
def probabilities(classifier: EmotionClassifier, waves: list[np.ndarray]) -> torch.Tensor:
    return softmax(classifier(*padded(classifier, waves)), dim=1)


def worst(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max())


@dataclass(frozen=True)
class Contract:
    """What is measured of a family: the worst difference in a probability; exact ones are 0."""

    folder: Path
    name: str

    @cached_property
    def checkpoints(self) -> list[Path]:
        """The last layer, and a sum of layers."""
        return [write_family(self.folder / f"{weighs}", self.name, use_weighted_layer_sum=weighs) for weighs in (False, True)]

    def _worst(self, measure: Callable[[EmotionClassifier], float]) -> float:
        return max(measure(load(checkpoint)) for checkpoint in self.checkpoints)

    def plain(self) -> float:
        """Plain transformers opens what was saved, and computes the same."""

        def measure(classifier: EmotionClassifier) -> float:
            folder = self.folder / "saved"
            classifier.save(folder)
            net, extractor = AutoModelForAudioClassification.from_pretrained(folder), AutoFeatureExtractor.from_pretrained(folder)
            differences = []
            for wave in some_waves(*LENGTHS[:3]):
                batch = extractor([wave.astype(np.float32) / 32768], sampling_rate=16000, return_tensors="pt")
                with torch.inference_mode():
                    differences.append(worst(softmax(net(**batch).logits, dim=1), probabilities(classifier, [wave])))
            return max(differences)

        return self._worst(measure)

    def padded(self) -> float:
        """A clip in a batch gives what it gives alone."""

        def measure(classifier: EmotionClassifier) -> float:
            waves = some_waves(*LENGTHS)
            alone = torch.cat([probabilities(classifier, [wave]) for wave in waves])
            assert alone.std(dim=0).max() > 1e-3
            return worst(probabilities(classifier, waves), alone)

        return self._worst(measure)

    def cached(self) -> float:
        """Cached outputs of a frozen part give what computing them again gives, in every freezing, and in training mode."""

        def measure(classifier: EmotionClassifier) -> float:
            clips = self.setup().train
            waves = [clips.wave(i) for i in range(len(clips))]
            differences = []
            for mode in MODES:
                folder = self.folder / f"cache{classifier.weighs_layers}"
                features = open_features(classifier, mode, clips.audio, folder, "float32", "require", "cpu")
                assert features is not None
                classifier.freeze(mode)
                if mode == "encoder":
                    classifier.train()
                kept = [torch.from_numpy(features.get(clips.corpora[i], int(clips.starts[i])).copy()) for i in range(len(clips))]
                rows = torch.tensor([len(values) for values in kept])
                values = torch.stack(kept) if mode == "encoder" else torch.nn.utils.rnn.pad_sequence(kept, batch_first=True)
                with torch.inference_mode():
                    again = softmax(classifier(values, rows, stage_of(mode)), dim=1)
                differences.append(worst(again, probabilities(classifier, waves)))
            return max(differences)

        return self._worst(measure)

    def saved(self) -> float:
        """What was saved and is opened again is the same, bit for bit."""

        def measure(classifier: EmotionClassifier) -> float:
            classifier.save(self.folder / "again")
            again = open_classifier(self.folder / "again")
            return worst(probabilities(again, some_waves(*LENGTHS)), probabilities(classifier, some_waves(*LENGTHS)))

        return self._worst(measure)

    def resumed(self) -> float:
        """A round that was interrupted and resumed has the weights of an undisturbed one, bit for bit, with dropout at work."""
        setup = self.setup(model=str(self.checkpoints[1]))
        whole = setup.fit("whole")
        setup.recorded = Stopping()
        try:
            setup.fit("stopped")
        except Interrupted:
            setup.recorded = Recorded()
            resumed = setup.fit("stopped")
        one, other = weights_of(whole), weights_of(resumed)
        assert one.keys() == other.keys()
        weights = [[torch.frombuffer(bytearray(kept[key]), dtype=torch.float32) for key in one] for kept in (one, other)]
        return max(worst(*pair) for pair in zip(*weights, strict=True))

    def bfloat16(self) -> float:
        """How far bfloat16 is from float32."""

        def measure(classifier: EmotionClassifier) -> float:
            waves = some_waves(*LENGTHS)
            with torch.autocast("cpu", torch.bfloat16):
                rough = probabilities(classifier, waves)
            return worst(rough, probabilities(classifier, waves))

        return self._worst(measure)

    def setup(self, **changes: Any) -> Setup:
        return make_setup(self.folder / "clips", num_train=4, num_validation=2, **changes)


class Stopping(Recorded):
    """Interrupts a round after its first epoch."""

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        super().epoch(epoch, metrics)
        raise Interrupted("after the first epoch")


@dataclass(frozen=True)
class Step:
    """One step of gradient descent over clips of unequal lengths, which processes share."""

    models: Path
    labels: tuple[int, ...] = (0, 1, 2, 3, 4)

    def write(self) -> None:
        """Write every family's checkpoints, which draw no random numbers: a process draws its own."""
        for name in CHECKPOINTS:
            for weighs in (False, True):
                write_family(self.models / name / str(weighs), name, use_weighted_layer_sum=weighs, **dict.fromkeys(CHANCES, 0.0))

    def take(self, world: World) -> dict[str, list[torch.Tensor]]:
        """Return, for every checkpoint of every family, the probabilities of all clips before and after the step."""
        return {name: [self._take(self.models / name / str(weighs), world) for weighs in (False, True)] for name in CHECKPOINTS}

    def _take(self, checkpoint: Path, world: World) -> torch.Tensor:
        classifier, waves = load(checkpoint), some_waves(*LENGTHS[: len(self.labels)])
        before = probabilities(classifier, waves)
        share = world.share(np.arange(len(waves))).tolist()
        logits_BE = classifier.train()(*padded(classifier, [waves[i] for i in share]))
        loss = cross_entropy(logits_BE, torch.tensor([self.labels[i] for i in share]), reduction="sum")
        (loss / len(waves)).backward()
        trained = [weight for weight in classifier.parameters() if weight.requires_grad]
        world.sum_gradients(trained, False)
        SGD(trained, lr=0.1).step()
        return torch.stack([before, probabilities(classifier.eval(), waves)])

    def take_in_process(self, rank: int, size: int) -> None:
        """Take it as one of several processes; the first writes down what came out."""
        distributed.init_process_group("gloo", init_method=f"file://{self.models}/rendezvous", rank=rank, world_size=size)
        world = World(rank, size, torch.device("cpu"))
        taken = self.take(world)
        if world.is_first:
            torch.save(taken, self.models / "taken.pt")
        leave_world()


def two_processes(folder: Path) -> dict[str, float]:
    """Return, for every family, how far a step that two processes take together is from the step of one."""
    step = Step(folder / "models")
    step.write()
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=step.take_in_process, args=(rank, 2)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    together, alone = torch.load(step.models / "taken.pt"), step.take(World(0, 1, torch.device("cpu")))
    for taken in alone.values():
        assert all(worst(before, after) > 1e-2 for before, after in taken), "the step changes nothing"
    return {name: max(map(worst, together[name], alone[name])) for name in CHECKPOINTS}


def table() -> str:
    """Return the worst differences of every family as Markdown."""
    with tempfile.TemporaryDirectory() as folder:
        processes = two_processes(Path(folder))
        lines = [
            "| family | plain transformers | padded | cached | saved | resumed | two processes | bfloat16 |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for name in CHECKPOINTS:
            contract = Contract(Path(folder) / name, name)
            exact = [contract.plain(), contract.padded(), contract.cached(), contract.saved(), contract.resumed(), processes[name]]
            lines.append(f"| {name} | " + " | ".join(f"{value:.0e}" if value else "0" for value in (*exact, contract.bfloat16())) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    disable_progress_bar()
    print(table())
