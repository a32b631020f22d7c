"""Computes hours, disk and memory of MSP-Podcast on a cluster from the figures at its top; change them to yours and run it again.

python examples/cluster_plan.py
"""

CLIPS = 268_000  # release 2.0 (docs/corpora.md)
SECONDS_PER_CLIP = 5.5  # assumed: about 410 hours in all
TRAINED_SHARE = 0.6  # assumed: part Train
GPUS = 8
EPOCHS, ROUNDS = 20, 3
PARAMETERS = 315.7e6  # measured: HuB-LL with its head, counted
HIDDEN, CNN_CHANNELS, STEPS_PER_SECOND = 1024, 512, 50  # of HuB-LL; weighted layers (HuB-ER, HuB-SID) cache 25 times as much
FLOP_PER_STEP = 2 * PARAMETERS
CNN_FLOP_PER_SECOND = 4.9e9  # seven convolutions of 512 channels
SUSTAINED_FLOPS = 45e12  # assumed: bfloat16 on a GPU of the A100 class, small batches; an epoch of yours tells better
HEAD_STEP_S = 1.5e-3  # measured: one step of a head over cached outputs, one core (docs/lab-log.md)
BATCH_SIZE = 2
SAMPLE_BYTES = 2  # int16 at 16 kHz
FLOAT_BYTES, HALF_BYTES = 4, 2


def main() -> None:
    audio_s = CLIPS * SECONDS_PER_CLIP
    forward_s = audio_s * (FLOP_PER_STEP * STEPS_PER_SECOND + CNN_FLOP_PER_SECOND) / SUSTAINED_FLOPS
    epoch_s = 3 * forward_s * TRAINED_SHARE  # backward costs twice the forward pass
    evaluation_s = forward_s * (1 - TRAINED_SHARE) / 2  # about half of the rest validates
    round_s = EPOCHS * (epoch_s + evaluation_s)
    head_s = EPOCHS * CLIPS * TRAINED_SHARE / BATCH_SIZE * HEAD_STEP_S
    rows = {
        "audio": f"{audio_s / 3600:.0f} h",
        "data/audio (int16)": gigabytes(audio_s * 16_000 * SAMPLE_BYTES),
        "encoder cache, float32": gigabytes(CLIPS * HIDDEN * FLOAT_BYTES),
        "feature_encoder cache, float32": gigabytes(audio_s * STEPS_PER_SECOND * CNN_CHANNELS * FLOAT_BYTES),
        "feature_encoder cache, bfloat16": gigabytes(audio_s * STEPS_PER_SECOND * CNN_CHANNELS * HALF_BYTES),
        "state of a round (weights, two moments, best weights)": gigabytes(4 * PARAMETERS * FLOAT_BYTES),
        "states of a full array": gigabytes(GPUS * 4 * PARAMETERS * FLOAT_BYTES),
        "GPU memory before activations (weights, gradients, moments)": gigabytes(4 * PARAMETERS * FLOAT_BYTES),
        "filling the encoder cache, one GPU": hours(forward_s),
        "a round over the encoder cache, one core": hours(head_s),
        "a round, nothing frozen, one GPU": hours(round_s),
        f"{ROUNDS} rounds as an array, nothing frozen": hours(round_s),
        f"{ROUNDS} rounds one after another on all {GPUS} GPUs, at best": hours(ROUNDS * round_s / GPUS),
        f"{GPUS} rounds as an array of {GPUS} GPUs": hours(round_s),
    }
    for name, value in rows.items():
        print(f"{name:<62}{value:>9}")


def gigabytes(num_bytes: float) -> str:
    return f"{num_bytes / 1e9:.1f} GB"


def hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h"


if __name__ == "__main__":
    main()
