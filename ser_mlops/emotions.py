"""The seven emotions in an order that checkpoints store and nothing may change, and the classes that a training makes of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from ser_mlops.errors import DataError, SettingsError, one_of

EMOTIONS = ("neutral", "happy", "sad", "angry", "fear", "disgust", "surprise")
LABELS = {emotion: label for label, emotion in enumerate(EMOTIONS)}
OTHER = "other"
"""What listeners heard that is none of them."""
OUTSIDE = -1
"""In place of a class, where an emotion has none."""


def vote_columns(classes: Sequence[str] = EMOTIONS) -> tuple[str, ...]:
    """Return the columns that count the listeners who heard each class, and last something else."""
    return tuple(f"votes_{name}" for name in (*classes, OTHER))


VOTES = vote_columns()


@dataclass(frozen=True)
class Space:
    """The classes that a training tells apart, in the order of EMOTIONS; a class is named after the emotion that others may join."""

    classes: tuple[str, ...] = EMOTIONS
    joined: tuple[tuple[str, str], ...] = ()
    """Emotions with the class that each joins, in the order of EMOTIONS."""

    @classmethod
    def of(cls, emotions: Sequence[str], merge: Mapping[str, str]) -> "Space":
        """Return the space of the settings `train.emotions` and `train.merge`.

        >>> Space.of(["sad", "happy", "angry", "neutral"], {"sad": "neutral"}).classes
        ('neutral', 'happy', 'angry')

        Raises:
            SettingsError: an emotion is unknown, twice there, or merged without being selected; or one class is left.
        """
        for emotion in emotions:
            if emotion not in EMOTIONS:
                raise SettingsError(f"emotions={','.join(emotions)}: {one_of('emotion', emotion, EMOTIONS)}")
            if emotions.count(emotion) > 1:
                raise SettingsError(f"emotions={','.join(emotions)} names {emotion} twice")
        for emotion, into in merge.items():
            for name in (emotion, into):
                if name not in emotions:
                    raise SettingsError(f"merge={emotion}={into}: {one_of('emotion', name, emotions)} (emotions)")
            if into in merge:
                raise SettingsError(f"merge={emotion}={into}: {into} itself joins {merge[into]}, expected an emotion that joins none")
        chosen = tuple(emotion for emotion in EMOTIONS if emotion in emotions)
        classes = tuple(emotion for emotion in chosen if emotion not in merge)
        if len(classes) < 2:
            left = f"only {classes[0]} is left" if classes else "no emotion is left"
            raise SettingsError(
                f"emotions={','.join(emotions)}: {left} to tell apart, expected two classes or more of: {', '.join(EMOTIONS)}"
            )
        return cls(classes, tuple((emotion, merge[emotion]) for emotion in chosen if emotion in merge))

    @classmethod
    def parse(cls, text: str) -> "Space":
        """Read what `str` wrote.

        >>> Space.parse("neutral, fear+surprise").joined
        (('fear', 'surprise'),)
        """
        groups = [word.split("+") for word in text.split(", ")]
        return cls.of(
            [emotion for group in groups for emotion in group], {emotion: group[-1] for group in groups for emotion in group[:-1]}
        )

    def __str__(self) -> str:
        """Name the classes, each behind the emotions that join it.

        >>> str(Space.of(["neutral", "fear", "surprise"], {"fear": "surprise"}))
        'neutral, fear+surprise'
        """
        return ", ".join("+".join([*(emotion for emotion, into in self.joined if into == name), name]) for name in self.classes)

    @cached_property
    def class_of(self) -> tuple[int, ...]:
        """The class of each of EMOTIONS, as its number; OUTSIDE for those that are left out.

        >>> Space.of(["neutral", "fear", "surprise"], {"fear": "surprise"}).class_of
        (0, -1, -1, -1, 1, -1, 1)
        """
        names = dict(self.joined)
        return tuple(self.classes.index(name) if (name := names.get(emotion, emotion)) in self.classes else OUTSIDE for emotion in EMOTIONS)

    @property
    def left_out(self) -> tuple[str, ...]:
        """The emotions that have no class."""
        return tuple(emotion for emotion, number in zip(EMOTIONS, self.class_of, strict=True) if number == OUTSIDE)


SEVEN = Space()


def label_of(emotion: str) -> int:
    """Return the label (0 to 6) of an emotion.

    >>> label_of("angry")
    3
    """
    if emotion not in LABELS:
        raise DataError(one_of("emotion", emotion, EMOTIONS))
    return LABELS[emotion]
