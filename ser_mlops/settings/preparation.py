"""The settings of the stages: corpora, label rules, audio, frames, and the ways in for older data."""

from typing import Annotated, Literal

from pydantic import Field

from ser_mlops.settings.kinds import (
    LabelChoice,
    Names,
    OptionalName,
    Section,
)


class DataSettings(Section):
    raw: str
    """Folder with one folder per corpus: data/demo (synthetic) or data/raw (a link made by `make raw FROM=FOLDER`)."""
    corpora: Annotated[Names, Field(min_length=1)]
    """Corpora to use."""
    own_corpora: str
    """Python file that defines CORPORA, a list of corpora beside the seven (docs/adding-a-corpus.md)."""


class CatalogueSettings(Section):
    calm: Literal["neutral", "drop"]
    """RAVDESS calm (02): counted as neutral, or left out."""
    contempt: Literal["drop", "disgust"]
    """EMOFILM dis (disprezzo): left out, or kept as disgust for comparison with older work."""
    labels: LabelChoice
    """Of all corpora, or by corpus: the acted emotion, what most listeners heard, or votes, which keep clips without a majority, too."""
    ties: Literal["drop", "acted", "both"]
    """Where listeners hear several emotions equally often: no majority, the acted one of them, or each of them (docs/labels.md)."""

    def labels_of(self, corpus: str) -> str:
        """Return the choice for one corpus."""
        return self.labels if isinstance(self.labels, str) else self.labels.get(corpus, "acted")

    @property
    def labels_in_words(self) -> str:
        """The label rule, with that of ties where listeners decide: `acted`, `CREMA: votes (ties: drop)`."""
        if self.labels == "acted":
            return self.labels
        chosen = self.labels if isinstance(self.labels, str) else ", ".join(f"{corpus}: {choice}" for corpus, choice in self.labels.items())
        return f"{chosen} (ties: {self.ties})"


class AudioSettings(Section):
    min_seconds: Annotated[float, Field(ge=0)]
    """Shorter clips are left out."""
    cut_off: Literal["drop", "keep"]
    """Files that end before their header says, as interrupted copies do: left out, or kept with a warning."""


class FramesSettings(Section):
    split: Literal["groups", "stratified"]
    """groups: no speaker on two sides. stratified: the old rule, by emotion with speakers ignored; runs are tagged so."""
    seed: int
    """Seed of the folds."""
    test_ratio: Annotated[float, Field(gt=0, lt=1)]
    """Share of the clips held out by `split: stratified`."""


class ImportFramesSettings(Section):
    folder: OptionalName
    """Folder with D.{CORPUS}_train_DF.p and D.{CORPUS}_test_DF.p."""


class PrepareMspSettings(Section):
    annotations: OptionalName
    """labels_consensus.csv of an MSP-Podcast release."""
    audio_dir: OptionalName
    """Folder with its audio files."""
    output: OptionalName
    """Folder for D.MSP_PODCAST_train_DF.p and D.MSP_PODCAST_test_DF.p, for people who still need them; none: not written."""
