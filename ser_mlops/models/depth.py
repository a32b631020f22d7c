"""freeze=encoder:K: the CNN and the first K layers of the encoder are frozen. Nothing heavy is imported."""

from ser_mlops.errors import SettingsError


def depth_of(mode: str) -> int | None:
    """Return K of a mode encoder:K; None for any other.

    >>> depth_of("encoder:9"), depth_of("encoder")
    (9, None)
    """
    part, colon, depth = mode.partition(":")
    return int(depth) if part == "encoder" and colon and depth.isdigit() else None


def check_depth(mode: str, num_layers: int, model: str) -> None:
    """Refuse K layers of a model that has not more than K."""
    depth = depth_of(mode)
    if depth is not None and not 1 <= depth < num_layers:
        possible = "encoder:1" if num_layers == 2 else f"encoder:1 to encoder:{num_layers - 1}"
        raise SettingsError(f"freeze={mode}: {model} has {num_layers} layers, expected {possible}, or encoder to freeze all")
