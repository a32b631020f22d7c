"""How long does it take to predict a set of clips with a trained model?

HuBERT of base size, 48 synthetic clips of CREMA's lengths. Ours predicts them in batches of 16, the longest first, so that padding costs
little, and leaves no trace of the padding in the logits. The peers are the loop of the usual script, one clip at a time, and
`Trainer.evaluate` with batches of 16 in the order of the clips.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.harness import Claim, Contender, Work, main, scaled
from benchmarks.trainings import EVAL_BATCH_SIZE, new_trainer, trainer_examples
from benchmarks.workloads import Material, make_material

NUM_CLIPS = 48


def _begin(prepare: Callable[[Material], Callable[[], Any]]) -> Callable[[float], Work]:
    """Return what sets a contender up; `prepare` returns what predicts all clips."""

    def begin(scale: float) -> Work:
        material = make_material(1, scaled(NUM_CLIPS, scale))
        predict = prepare(material)

        def run() -> Mapping[str, float]:
            start = time.process_time()
            predict()
            return {"processor s per clip": (time.process_time() - start) / len(material.validation)}

        return Work(run, len(material.validation))

    return begin


def ours(material: Material) -> Callable[[], Any]:
    from ser_mlops.models.build import load_classifier
    from ser_mlops.training.distributed import join_world
    from ser_mlops.training.evaluate import predict_logits
    from ser_mlops.training.recipe import EvaluationRecipe

    classifier, world = load_classifier(material.model, seed=0), join_world()
    return lambda: predict_logits(classifier, material.validation, EvaluationRecipe(EVAL_BATCH_SIZE), None, world)


def one_by_one(material: Material) -> Callable[[], Any]:
    """The usual script: for every file, extract, predict, argmax."""
    import torch
    from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

    extractor = AutoFeatureExtractor.from_pretrained(material.model)
    model = AutoModelForAudioClassification.from_pretrained(material.model).eval()
    clips = material.validation

    def predict() -> list[int]:
        predicted = []
        for i in range(len(clips)):
            inputs = extractor(clips.wave(i) / 32768, sampling_rate=16000, return_tensors="pt")
            with torch.no_grad():
                predicted.append(int(model(inputs["input_values"].float()).logits.argmax()))
        return predicted

    return predict


def trainer(material: Material) -> Callable[[], Any]:
    validation = trainer_examples(material.model, material.validation)
    return new_trainer(material, (), train=None, validation=validation).evaluate


CLAIM = Claim(
    "evaluate",
    "How long does it take to predict a set of clips with a trained model?",
    unit="clip",
    contenders=(
        Contender("ser_mlops", _begin(ours)),
        Contender("batches of one clip", _begin(one_by_one), is_peer=True),
        Contender("Trainer.evaluate", _begin(trainer), is_peer=True),
    ),
    aims={("ser_mlops", "batches of one clip"): 1.0, ("ser_mlops", "Trainer.evaluate"): 1.0},
    repeats=1,
)

if __name__ == "__main__":
    main(CLAIM)
