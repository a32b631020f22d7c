"""How much faster is a whole experiment with a frozen encoder when its outputs are computed once?

HuBERT of base size (95 M random weights) with a head for seven emotions, synthetic clips of the lengths of CREMA's (96 to train on, 24 to
validate on, 2.5 s on average), three rounds of 20 epochs, batches of two. Ours loads models, fills the cache, trains, validates after
every epoch and saves checkpoints, all inside the clock. The peers are `transformers.Trainer` on the same clips, validating after every
epoch and saving nothing, once as people write it (`freeze_base_model()`, which still goes back through the outputs of the CNN) and once
with `freeze_feature_encoder()` added, and `speechbrain.Brain` as its emotion recipe writes it. They are timed over a quarter of the clips
of one epoch, their model loaded before the clock starts: every clip of every epoch costs them the same, so all sides are compared by the
time per epoch, and 60 of the peers' epochs are an experiment. Processor time stands beside the clock's, because other work on a machine
hardly moves it.
"""

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.harness import Claim, Contender, Work, main, scaled
from benchmarks.peers import Environment

if TYPE_CHECKING:
    from ser_mlops.training.batching import Clips

SEED = 19730309
ROUNDS = 3
EPOCHS = 20
BATCH_SIZE = 2
EVAL_BATCH_SIZE = 16


@dataclass(frozen=True)
class Material:
    """What both sides work on."""

    folder: Path
    model: str
    train: "Clips"
    validation: "Clips"


def make_material(num_train: int, num_validation: int) -> Material:
    """Write clips and a checkpoint into a folder that goes when the process ends."""
    folder = Path(keep_folder().name)
    clips = write_clips(folder / "audio", num_train + num_validation)
    model = write_model(folder / "model")
    numbers = list(range(len(clips)))
    return Material(folder, model, clips.take(numbers[:num_train]), clips.take(numbers[num_train:]))


def write_model(folder: Path) -> str:
    """Write HuBERT of base size with random weights and a head for the seven emotions; return the folder as settings take it."""
    import torch
    from transformers import AutoModelForAudioClassification, HubertConfig, Wav2Vec2FeatureExtractor

    from ser_mlops.emotions import EMOTIONS, LABELS

    torch.manual_seed(SEED)
    config = HubertConfig(id2label=dict(enumerate(EMOTIONS)), label2id=dict(LABELS))
    AutoModelForAudioClassification.from_config(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder)
    return str(folder)


_folders: list["tempfile.TemporaryDirectory[str]"] = []


def keep_folder() -> "tempfile.TemporaryDirectory[str]":
    """Make a temporary folder that goes when the process ends."""
    _folders.append(tempfile.TemporaryDirectory())
    return _folders[-1]


def write_clips(folder: Path, number: int) -> "Clips":
    """Write synthetic voices as the audio stage does, of CREMA's lengths: 2.5 s on average, 1.3 to 5 s."""
    from hashlib import sha256

    import numpy as np
    import pandas as pd

    from ser_mlops.training.batching import Clips

    random = np.random.default_rng(SEED)
    lengths = (16000 * np.clip(random.normal(2.5, 0.5, number), 1.3, 5.0)).astype(int)
    waves = []
    for length in lengths:
        seconds = np.arange(length) / 16000
        voice = sum(np.sin(2 * np.pi * random.uniform(100, 200) * k * seconds) / k for k in range(1, 20))
        waves.append((2000 * voice * np.sin(2 * np.pi * 3 * seconds) ** 2 + random.normal(0, 50, length)).astype(np.int16))
    folder.mkdir()
    np.save(folder / "VOICES.npy", np.concatenate(waves))
    frame = pd.DataFrame(
        {
            "corpus": "VOICES",
            "path": [f"VOICES/{i}.wav" for i in range(number)],
            "labels": np.arange(number) % 7,
            "start": np.cumsum(lengths) - lengths,
            "num_samples": lengths,
            "defect": "",
            "sha256": [sha256(wave.tobytes()).hexdigest() for wave in waves],
        }
    )
    frame.to_parquet(folder / "VOICES.parquet")
    return Clips.from_frame(frame, folder)


class Silent:
    """A recorder that keeps nothing."""

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Forget the metrics of an epoch."""


def ours(
    freeze: str, *, rounds: int, epochs: int, num_train: int, num_validation: int, cache: str = "off", precision: str = "float32"
) -> Callable[[float], Work]:
    """An experiment of ours; `cache` is off, cold (emptied before every run) or warm (filled before the first)."""

    def begin(scale: float) -> Work:
        import shutil

        from ser_mlops.models.build import load_classifier
        from ser_mlops.training.distributed import join_world
        from ser_mlops.training.features import Features, open_features
        from ser_mlops.training.fit import fit_round
        from ser_mlops.training.recipe import Recipe

        material = make_material(scaled(num_train, scale), scaled(num_validation, scale))
        recipe = Recipe(
            freeze=freeze,
            epochs=epochs,
            lr=1e-5,
            weight_decay=0.005,
            batch_size=BATCH_SIZE,
            eval_batch_size=EVAL_BATCH_SIZE,
            attention_mask=True,
            select_by="uar",
            schedule="constant",
            warmup=0.0,
            accumulate=1,
            clip_norm=None,
            class_weights="none",
            label_smoothing=0.0,
            augment=(),
            early_stopping=None,
            precision="float32",
            gradient_checkpointing=False,
            max_seconds=None,
            evaluate_long="whole",
            workers=0,
            checkpoint_every=0,
        )

        def open_cache() -> Features | None:
            if cache == "off":
                return None
            classifier = load_classifier(material.model, seed=SEED)
            return open_features(
                classifier, freeze, material.train.audio, material.folder / "cache", precision, "require", join_world().device
            )

        def prepare() -> None:
            shutil.rmtree(material.folder / "checkpoints", ignore_errors=True)
            if cache == "cold":
                shutil.rmtree(material.folder / "cache", ignore_errors=True)

        def run() -> dict[str, float]:
            start = time.process_time()
            features = open_cache()
            for round in range(rounds):
                fit_round(
                    model=material.model,
                    recipe=recipe,
                    train=material.train,
                    validation=material.validation,
                    seed=SEED,
                    round=round,
                    folder=material.folder / "checkpoints" / str(round),
                    features=features,
                    recorder=Silent(),
                    identity={},
                )
            return {"processor s per epoch": (time.process_time() - start) / (rounds * epochs), "epochs": rounds * epochs}

        if cache == "warm":
            open_cache()
        return Work(run, rounds * epochs, prepare)

    return begin


def trainer_examples(model: str, clips: "Clips") -> list[dict[str, Any]]:
    """Return clips as `transformers.Trainer` takes them, decoded and normalised outside the clock."""
    import numpy as np
    from transformers import AutoFeatureExtractor

    extractor = AutoFeatureExtractor.from_pretrained(model)
    waves = [extractor(clips.wave(i) / np.float32(32768), sampling_rate=16000)["input_values"][0] for i in range(len(clips))]
    return [{"input_values": wave, "labels": int(label)} for wave, label in zip(waves, clips.labels, strict=True)]


def new_trainer(material: Material, freeze: tuple[str, ...], *, train: Any, validation: Any, **arguments: Any) -> Any:
    """Return `transformers.Trainer` as its documentation writes it, after calling the `freeze` methods of the model."""
    import torch
    from transformers import AutoFeatureExtractor, AutoModelForAudioClassification, Trainer, TrainingArguments

    extractor = AutoFeatureExtractor.from_pretrained(material.model)

    def new_model() -> Any:
        model = AutoModelForAudioClassification.from_pretrained(material.model)
        for method in freeze:
            getattr(model, method)()
        return model

    def collate(batch: list[dict[str, Any]]) -> dict[str, Any]:
        padded = extractor.pad([{"input_values": example["input_values"]} for example in batch], padding=True, return_tensors="pt")
        return {**padded, "labels": torch.tensor([example["labels"] for example in batch])}

    chosen: dict[str, Any] = {
        "num_train_epochs": 1,
        "learning_rate": 1e-5,
        "weight_decay": 0.005,
        "seed": SEED,
        "use_cpu": not torch.cuda.is_available(),
        "per_device_train_batch_size": BATCH_SIZE,
        "per_device_eval_batch_size": EVAL_BATCH_SIZE,
        "eval_strategy": "epoch",
        "save_strategy": "no",
        "logging_strategy": "epoch",
        "report_to": [],
        "disable_tqdm": True,
        "remove_unused_columns": False,
    }
    options = TrainingArguments(str(material.folder / "trainer"), **chosen | arguments)
    return Trainer(new_model(), options, data_collator=collate, train_dataset=train, eval_dataset=validation)


KEEPS_BEST: dict[str, Any] = {"save_strategy": "epoch", "save_total_limit": 1, "load_best_model_at_end": True, "num_train_epochs": 2}
"""Arguments of a Trainer that, like a round of ours, can go on after an interruption and ends with the best epoch on validation."""


def trainer(
    freeze: tuple[str, ...], *, num_train: int, num_validation: int, share: float = 1.0, **arguments: Any
) -> Callable[[float], Work]:
    """An epoch of `transformers.Trainer`, or a share of its clips, or as many as its arguments say."""

    def begin(scale: float) -> Work:
        material = make_material(scaled(num_train, scale * share), scaled(num_validation, scale * share))
        train, validation = trainer_examples(material.model, material.train), trainer_examples(material.model, material.validation)
        trainer = new_trainer(material, freeze, train=train, validation=validation, **arguments)
        epochs = share * arguments.get("num_train_epochs", 1)

        def run() -> dict[str, float]:
            start = time.process_time()
            trainer.train()
            return {"processor s per epoch": (time.process_time() - start) / epochs, "epochs": epochs}

        return Work(run, epochs)

    return begin


def speechbrain(
    *, freeze: bool = False, freeze_feature_extractor: bool = False, num_train: int, num_validation: int, share: float = 1.0
) -> Callable[[float], Work]:
    """An epoch of SpeechBrain, or a share of its clips, as its IEMOCAP recipe writes it: HuBERT, mean over valid steps, linear layers."""

    def begin(scale: float) -> Work:
        import numpy as np
        import torch
        from speechbrain import Brain, Stage
        from speechbrain.dataio.batch import PaddedBatch
        from speechbrain.dataio.dataloader import SaveableDataLoader
        from speechbrain.integrations.huggingface.hubert import HuBERT
        from speechbrain.nnet.pooling import StatisticsPooling

        material = make_material(scaled(num_train, scale * share), scaled(num_validation, scale * share))

        class Emotions(Brain):
            def compute_forward(self, batch: Any, stage: Any) -> Any:
                waves, lengths = batch.to(self.device).wave
                hidden = self.modules.encoder(waves, lengths)
                return self.modules.head(self.hparams.pool(hidden, lengths).flatten(1))

            def compute_objectives(self, logits: Any, batch: Any, stage: Any) -> Any:
                loss = torch.nn.functional.cross_entropy(logits, batch.label.to(self.device))
                if stage != Stage.TRAIN:
                    self.hits += int((logits.argmax(1) == batch.label).sum())
                return loss

            def on_stage_start(self, stage: Any, epoch: int | None = None) -> None:
                self.hits = 0

        encoder = HuBERT(
            material.model,
            str(material.folder / "speechbrain"),
            freeze=freeze,
            apply_spec_augment=True,
            freeze_feature_extractor=freeze_feature_extractor,
        )
        head = torch.nn.Sequential(torch.nn.Linear(768, 256), torch.nn.Linear(256, 7))
        brain = Emotions(
            {"encoder": encoder, "head": head},
            lambda parameters: torch.optim.AdamW(parameters, lr=1e-5, weight_decay=0.005),
            hparams={"pool": StatisticsPooling(return_std=False)},
            run_opts={"device": "cuda" if torch.cuda.is_available() else "cpu", "noprogressbar": True},
        )

        def loader(clips: "Clips", size: int, is_shuffled: bool) -> Any:
            examples = [
                {"id": str(i), "wave": torch.from_numpy(clips.wave(i) / np.float32(32768)), "label": int(clips.labels[i])}
                for i in range(len(clips))
            ]
            return SaveableDataLoader(examples, batch_size=size, shuffle=is_shuffled, collate_fn=PaddedBatch)

        train, validation = loader(material.train, BATCH_SIZE, True), loader(material.validation, EVAL_BATCH_SIZE, False)

        def run() -> dict[str, float]:
            start = time.process_time()
            brain.fit(range(1), train, validation)
            return {"processor s per epoch": (time.process_time() - start) / share, "epochs": share}

        return Work(run, share)

    return begin


SPEECHBRAIN = Environment("speechbrain", ("speechbrain",))
SIZE: dict[str, Any] = {"num_train": 96, "num_validation": 24}
SHARE = 0.25
EXPERIMENT: dict[str, Any] = {"rounds": ROUNDS, "epochs": EPOCHS, **SIZE}
AS_WRITTEN = "Trainer (freeze_base_model)"
BOTH_FROZEN = "Trainer (base model and feature encoder frozen)"

CLAIM = Claim(
    "frozen",
    "How long does an epoch of a whole experiment (3 rounds x 20 epochs) take when the encoder is frozen?",
    unit="epoch",
    contenders=(
        Contender("ser_mlops (cold cache)", ours("encoder", cache="cold", **EXPERIMENT)),
        Contender("ser_mlops (cold bfloat16 cache)", ours("encoder", cache="cold", precision="bfloat16", **EXPERIMENT)),
        Contender("ser_mlops (warm cache)", ours("encoder", cache="warm", **EXPERIMENT)),
        Contender(AS_WRITTEN, trainer(("freeze_base_model",), **SIZE, share=SHARE), is_peer=True),
        Contender(BOTH_FROZEN, trainer(("freeze_base_model", "freeze_feature_encoder"), **SIZE, share=SHARE), is_peer=True),
        Contender("speechbrain (freeze)", speechbrain(freeze=True, **SIZE, share=SHARE), is_peer=True, environment=SPEECHBRAIN),
    ),
    aims={
        ("ser_mlops (cold cache)", AS_WRITTEN): 130.0,
        ("ser_mlops (cold cache)", BOTH_FROZEN): 65.0,
        ("ser_mlops (warm cache)", AS_WRITTEN): 1000.0,
    },
    repeats=1,
    warmups=0,
    passes=4,
)

if __name__ == "__main__":
    main(CLAIM)
