"""How near does the encoder come to what the machine can multiply?

The transformer of HuBERT of base and of large size over 6 clips of 2.5 s, as caches and evaluations run it: feature projection, positional
convolution, 12 or 24 layers, mean over the steps. Beside it, in turns with it and on the same number of threads, its matrix multiplications
alone at the same sizes: the six linear maps of a layer, and the two products of attention in every head. The share is the operations per
second of the encoder (those multiplications and the positional convolution, 2 per multiply-add) over those of the multiplications alone.
Elementwise work (norms, GELU, softmax) counts as time and not as operations, so 100 % cannot be reached. bfloat16 is measured as the caches
use it: a copy of the model in that type.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.harness import Claim, Contender, Limit, Work, main, scaled

CLIPS = 6
SECONDS = 2.5
TURNS = 5
SHARE = "% of the multiplication rate"


LARGE = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
}


def _begin(type_name: str, geometry: Mapping[str, Any]) -> Callable[[float], Work]:
    return lambda scale: Work(encoder_rates(type_name, scaled(CLIPS, scale), geometry), TURNS)


def encoder_rates(type_name: str, size: int, geometry: Mapping[str, Any]) -> Callable[[], Mapping[str, float]]:
    """Return what measures so many clips on the GPU, or on the CPU where there is none; `geometry` departs from HubertConfig's defaults."""
    import torch
    from transformers import AutoModelForAudioClassification, HubertConfig, Wav2Vec2FeatureExtractor

    from ser_mlops.emotions import EMOTIONS
    from ser_mlops.models.classifier import EmotionClassifier

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, config = getattr(torch, type_name), HubertConfig(**geometry, id2label=dict(enumerate(EMOTIONS)))
    net = AutoModelForAudioClassification.from_config(config)
    classifier = EmotionClassifier(net, Wav2Vec2FeatureExtractor(return_attention_mask=True)).to(device, kind)
    lengths_B = torch.full((size,), int(SECONDS * 16000), device=device)
    steps_B = classifier.num_steps(lengths_B)
    hidden_BTC = torch.randn(size, int(steps_B[0]), config.conv_dim[-1], device=device, dtype=kind)
    multiply, operations = _multiplications(size, int(steps_B[0]), config, device, kind)
    per_group = config.hidden_size // config.num_conv_pos_embedding_groups
    convolution = 2 * size * int(steps_B[0]) * config.hidden_size * per_group * config.num_conv_pos_embeddings

    def run() -> Mapping[str, float]:
        with torch.inference_mode():
            pairs = [(_seconds(lambda: classifier.pooled(hidden_BTC, steps_B)), _seconds(multiply)) for _ in range(TURNS)]
        encoder = (operations + convolution) / statistics.median(pair[0] for pair in pairs)
        multiplied = operations / statistics.median(pair[1] for pair in pairs)
        return {
            SHARE: 100 * encoder / multiplied,
            "GFLOP/s": encoder / 1e9,
            "multiplications alone: GFLOP/s": multiplied / 1e9,
            "threads": torch.get_num_threads(),
        }

    return run


def _seconds(work: Callable[[], Any]) -> float:
    import torch

    start = time.perf_counter()
    work()
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _multiplications(size: int, steps: int, config: Any, device: Any, kind: Any) -> tuple[Callable[[], None], int]:
    """Return what does every matrix multiplication of a pass, with weights of their own as in the model, and its operations."""
    import torch

    hidden, inner, layers, heads = config.hidden_size, config.intermediate_size, config.num_hidden_layers, config.num_attention_heads

    def draw(*shape: int) -> Any:
        return torch.randn(*shape, device=device, dtype=kind)

    maps = [(config.conv_dim[-1], hidden), *[(hidden, hidden)] * 4 * layers, *[(hidden, inner), (inner, hidden)] * layers]
    weights = [draw(columns, rows) for rows, columns in maps]
    inputs = {rows: draw(size * steps, rows) for rows, _ in maps}
    queries, keys, values = (draw(size * heads, steps, hidden // heads) for _ in range(3))
    scores = draw(size * heads, steps, steps)

    def multiply() -> None:
        for weight in weights:
            torch.nn.functional.linear(inputs[weight.shape[1]], weight)
        for _ in range(layers):
            torch.bmm(queries, keys.transpose(1, 2))
            torch.bmm(scores, values)

    linear = sum(2 * size * steps * rows * columns for rows, columns in maps)
    return multiply, linear + layers * 4 * size * steps * steps * hidden


CLAIM = Claim(
    "limit",
    "How near does the encoder come to what the machine can multiply?",
    unit="pass",
    contenders=(
        Contender("float32", _begin("float32", {})),
        Contender("bfloat16", _begin("bfloat16", {})),
        Contender("float32 (large)", _begin("float32", LARGE), kind="large"),
    ),
    limits=(Limit("float32", 95, SHARE, is_least=True), Limit("float32 (large)", 95, SHARE, is_least=True)),
    repeats=3,
)

if __name__ == "__main__":
    main(CLAIM)
