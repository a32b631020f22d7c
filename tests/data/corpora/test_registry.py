"""Every corpus of the registry keeps the contract, and an eighth joins from outside the package."""

import re
from pathlib import Path, PurePosixPath

import pytest

from ser_mlops.data.corpora.base import NotAClip
from ser_mlops.data.corpora.catalogue import catalogue
from ser_mlops.data.corpora.registry import CORPORA, all_corpora, corpus_named
from ser_mlops.data.corpora.scan import scan
from ser_mlops.data.demo.scripts import SCRIPTS
from ser_mlops.emotions import EMOTIONS
from ser_mlops.errors import DataError
from ser_mlops.settings.preparation import CatalogueSettings
from tests.data.corpora.builders import OWN_CORPUS, lay_out

every_corpus = pytest.mark.parametrize("corpus", CORPORA.values(), ids=CORPORA)


def test_the_registry_holds_the_seven_corpora():
    assert list(CORPORA) == ["CAFE", "CREMA", "EMOFILM", "MSP_PODCAST", "RAVDESS", "SAVEE", "TESS"]
    assert list(SCRIPTS) == list(CORPORA)


@every_corpus
def test_facts_are_complete(corpus):
    for text in (corpus.title, corpus.language, corpus.licence, corpus.source, corpus.citation, corpus.layout):
        assert text
    assert corpus.source.startswith("http")
    assert PurePosixPath(corpus.layout.split(" with ")[0]).suffix == ".wav"


@every_corpus
def test_emotions_are_the_seven_or_mapped_by_a_rule(corpus):
    mapped = {"calm", "contempt", "other", "no agreement"}
    assert set(corpus.emotions.values()) <= {*EMOTIONS, *mapped}
    assert corpus.rule in ("", *CatalogueSettings.model_fields)


@every_corpus
def test_the_demo_parses_into_known_emotions_genders_and_languages(corpus):
    script = SCRIPTS[corpus.name]
    row = {"EmoClass": "N", "SpkrID": "1", "Gender": "Male", "Split_Set": "Train"}
    table = {PurePosixPath(line.path).stem: row for line in script.lines()}
    for line in script.lines():
        clip = corpus.parse(PurePosixPath(line.path), table if corpus.lists_clips else {})
        assert clip.code in corpus.emotions
        assert clip.gender in ("female", "male", "unknown")
        assert clip.language in corpus.language.split(", ")
        assert clip.recording


@every_corpus
@pytest.mark.parametrize("name", ["", ".wav", "README.wav", "._x.wav", "x" * 300 + ".wav", "é\u202e.wav", "-_-_-.wav"])
def test_foreign_names_are_refused_with_a_reason(corpus, name):
    with pytest.raises(NotAClip, match=r"\w+"):
        corpus.parse(PurePosixPath("folder") / name, {})


@every_corpus
def test_fold_tables_cover_every_speaker_and_every_fold(corpus):
    if corpus.fold_table:
        assert len(corpus.fold_table) == corpus.num_speakers
        assert set(corpus.fold_table.values()) == set(range(corpus.num_folds))


def test_an_unknown_corpus_is_refused_by_name():
    with pytest.raises(DataError, match=re.escape("unknown corpus 'RAVDES', expected one of: CAFE, CREMA, EMOFILM")):
        corpus_named("RAVDES")


def test_an_eighth_corpus_joins_from_outside_the_package(tmp_path):
    (tmp_path / "own.py").write_text(OWN_CORPUS)
    own = str(tmp_path / "own.py")
    assert list(all_corpora(own)) == [*CORPORA, "EMODB"]
    lay_out(tmp_path, "EMODB/wav/03a01Fa.wav", "EMODB/wav/08b02Na.wav", "EMODB/wav/08b02La.wav", "EMODB/wav/notes.wav")
    emodb = corpus_named("EMODB", own)
    table = catalogue(emodb, scan(tmp_path, emodb, imported=tmp_path / "nothing"), {"labels": "acted", "ties": "drop"})
    assert table[["emotion", "speaker", "reason"]].to_numpy().tolist() == [
        ["happy", "EMODB/03", ""],
        ["", "EMODB/08", "emotion: boredom"],
        ["neutral", "EMODB/08", ""],
        ["", "", "unparsable name"],
    ]


def test_a_file_of_own_corpora_that_is_missing_or_lists_none_is_refused(tmp_path):
    with pytest.raises(DataError, match="expected a Python file that defines CORPORA"):
        all_corpora(str(tmp_path / "own.py"))
    (tmp_path / "own.py").write_text("CORPORA = ['EMODB']\n")
    with pytest.raises(DataError, match="defines no CORPORA, expected a list of Corpus"):
        all_corpora(str(tmp_path / "own.py"))


def test_an_own_corpus_cannot_take_a_name_that_is_taken(tmp_path):
    (tmp_path / "own.py").write_text(OWN_CORPUS.replace('name="EMODB"', 'name="CREMA"'))
    with pytest.raises(DataError, match="the name 'CREMA' is taken"):
        all_corpora(str(tmp_path / "own.py"))


@pytest.mark.parametrize(("word", "meant"), [("Neutral", "neutral"), (" neutral", "neutral"), ("Anger", "angry"), ("sadness", "sad")])
def test_a_word_that_means_one_of_the_seven_is_refused_as_its_clips_would_be_left_out(word, meant, tmp_path):
    (tmp_path / "own.py").write_text(OWN_CORPUS.replace('"N": "neutral"', f'"N": "{word}"'))
    with pytest.raises(DataError, match=f"EMODB maps 'N' to '{word}', expected '{meant}'"):
        all_corpora(str(tmp_path / "own.py"))


def test_own_python_that_fails_is_named_with_its_line(tmp_path):
    (tmp_path / "own.py").write_text("import math\n\nCORPORA = [EMODB]\n")
    with pytest.raises(DataError, match=r"own.py \(data.own_corpora\) fails in line 3 \(NameError: name 'EMODB' is not defined\)"):
        all_corpora(str(tmp_path / "own.py"))


def broken_parser(tmp_path: Path, body: str) -> str:
    """Scan one file of EMODB by a parser that ends in `body`; return the refusal."""
    start, parser, rest = OWN_CORPUS.partition("def parse(")
    _, marker, corpora = rest.partition("\nEMODB = ")
    (tmp_path / "own.py").write_text(f"{start}{parser}path, table):\n    {body}\n\n{marker}{corpora}")
    lay_out(tmp_path, "EMODB/wav/03a01Fa.wav")
    emodb = corpus_named("EMODB", str(tmp_path / "own.py"))
    with pytest.raises(DataError) as refusal:
        scan(tmp_path, emodb, imported=tmp_path / "nothing")
    return str(refusal.value)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return path.stem[99]", "EMODB: parse fails on 'EMODB/wav/03a01Fa.wav' (IndexError: string index out of range)"),
        ("return None", "parse returns None for 'EMODB/wav/03a01Fa.wav', expected a Clip, or NotAClip raised"),
        ("return Clip('F', 3, 'x')", "speaker of 'EMODB/wav/03a01Fa.wav' is 3, expected text"),
        ("return Clip('F', '', 'x')", "speaker of 'EMODB/wav/03a01Fa.wav' is empty, expected text ('unknown' if nobody knows)"),
        ("return Clip('F', '3', 'x', gender='F')", "'EMODB/wav/03a01Fa.wav': unknown gender 'F', expected one of: female, male, unknown"),
        (
            "return Clip('F', '3', 'x', part='dev')",
            "'EMODB/wav/03a01Fa.wav': unknown part 'dev', expected one of: train, validation, test, test1, test2",
        ),
    ],
)
def test_a_parser_that_goes_wrong_is_named_with_the_file(tmp_path, body, message):
    assert broken_parser(tmp_path, body) == message
