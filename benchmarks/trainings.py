"""Who trains in the claims `frozen`, `feature_encoder` and `unfrozen`: rounds of ours, epochs of `transformers.Trainer` and of SpeechBrain.

The claims about evaluation, sweeps, tracking and quality take their Trainer from here too.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from benchmarks.harness import Work, scaled
from benchmarks.peers import Environment
from benchmarks.workloads import SEED, Material, make_material

if TYPE_CHECKING:
    from ser_mlops.training.batching import Clips

BATCH_SIZE = 2
EVAL_BATCH_SIZE = 16
SPEECHBRAIN = Environment("speechbrain", ("speechbrain",))


class Silent:
    """A recorder that keeps nothing."""

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Forget the metrics of an epoch."""


def ours(
    freeze: str,
    *,
    rounds: int,
    epochs: int,
    num_train: int,
    num_validation: int,
    cache: str = "off",
    precision: str = "float32",
    model: str = "",
    geometry: Mapping[str, Any] | None = None,
    compute: str = "float32",
    **changes: Any,
) -> Callable[[float], Work]:
    """An experiment of ours, with HuBERT of base size (but for its `geometry`) or another `model`; `changes` are of the recipe.

    `cache` is off, cold (emptied before every run) or warm (filled before the first); `precision` is the cache's, `compute` the training's.
    """

    def begin(scale: float) -> Work:
        import shutil

        from ser_mlops.models.build import load_classifier
        from ser_mlops.training.caches import Features
        from ser_mlops.training.distributed import join_world
        from ser_mlops.training.features import open_features
        from ser_mlops.training.fit import fit_round
        from ser_mlops.training.recipe import Recipe
        from ser_mlops.training.round import Round

        material = make_material(scaled(num_train, scale), scaled(num_validation, scale), geometry)
        trained = model or material.model
        recipe = Recipe(
            freeze=freeze,
            epochs=epochs,
            lr=1e-5,
            adapter="none",
            layers="checkpoint",
            lora_rank=8,
            lora_alpha=16.0,
            lora_dropout=0.0,
            lora_targets=("feed_forward",),
            head_lr=None,
            layer_decay=1.0,
            weight_decay=0.005,
            decay_all=True,
            batch_size=BATCH_SIZE,
            eval_batch_size=EVAL_BATCH_SIZE,
            attention_mask=True,
            select_by="uar",
            schedule="constant",
            warmup=0.0,
            accumulate=1,
            clip_norm=None,
            targets="hard",
            votes_prior=0.0,
            loss="cross_entropy",
            focal_gamma=2.0,
            logit_tau=1.0,
            sample="natural",
            class_weights="none",
            label_smoothing=0.0,
            feature_norm="none",
            augment=(),
            early_stopping=None,
            precision=compute,
            gradient_checkpointing=False,
            max_seconds=None,
            evaluate_long="whole",
        )
        recipe = replace(recipe, **changes)

        def open_cache() -> Features | None:
            if cache == "off":
                return None
            classifier = load_classifier(trained, seed=SEED)
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
                whole = Round(trained, recipe, material.train, material.validation, SEED, round, features, {})
                fit_round(whole, material.folder / "checkpoints" / str(round), Silent())
            saved = max(path.stat().st_size for path in (material.folder / "checkpoints").rglob("best-*.safetensors"))
            return {
                "processor s per epoch": (time.process_time() - start) / (rounds * epochs),
                "epochs": rounds * epochs,
                "MiB of saved weights": saved / 2**20,
            }

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


Freezing = tuple[str | Callable[[Any], Any], ...]
"""Methods of the peer's model by name, or functions of it; what a function returns, if anything, takes the model's place."""


def new_trainer(material: Material, freeze: Freezing, *, train: Any, validation: Any, **arguments: Any) -> Any:
    """Return `transformers.Trainer` as its documentation writes it, after what is to be frozen."""
    import torch
    from transformers import AutoFeatureExtractor, AutoModelForAudioClassification, Trainer, TrainingArguments

    extractor = AutoFeatureExtractor.from_pretrained(material.model)

    def new_model() -> Any:
        model = AutoModelForAudioClassification.from_pretrained(material.model)
        for method in freeze:
            model = (getattr(model, method)() if isinstance(method, str) else method(model)) or model
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
"""Arguments of a Trainer that, like a round of ours, can resume after an interruption and ends with the best epoch on validation."""


def trainer(
    freeze: Freezing,
    *,
    num_train: int,
    num_validation: int,
    share: float = 1.0,
    geometry: Mapping[str, Any] | None = None,
    **arguments: Any,
) -> Callable[[float], Work]:
    """An epoch of `transformers.Trainer`, or a share of its clips, or as many as its arguments say."""

    def begin(scale: float) -> Work:
        material = make_material(scaled(num_train, scale * share), scaled(num_validation, scale * share), geometry)
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
