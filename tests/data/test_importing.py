"""Existing frames come along: pickles are read without running what they carry, moved files are found again, MSP-Podcast is checked."""

import base64
import gzip
import os
import pickle
import subprocess
import sys
import unicodedata
import zlib
from datetime import UTC, date, datetime
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from ser_mlops.data.corpora.catalogue import catalogue
from ser_mlops.data.corpora.crema import CREMA
from ser_mlops.data.corpora.emofilm import EMOFILM
from ser_mlops.data.corpora.msp_podcast import MSP_PODCAST
from ser_mlops.data.corpora.ravdess import RAVDESS
from ser_mlops.data.corpora.registry import CORPORA
from ser_mlops.data.corpora.scan import scan
from ser_mlops.data.importing.msp import prepare_msp
from ser_mlops.data.importing.old_frames import import_frames, nearest
from ser_mlops.data.importing.pickles import read_pickle
from ser_mlops.errors import DataError
from tests.data.corpora.builders import lay_out

PROJECT = Path(__file__).resolve().parents[2]
RULES = {"calm": "neutral", "contempt": "drop", "labels": "acted", "ties": "drop"}
# The frame of `old_frame()` as these releases of pandas pickled it, zlib and base 85.
PICKLES_OF_OLD_PANDAS = {
    "1.5.3": (
        "c-n1J&u`N(6i(WP4K|4}i66V{hUhNYcH@B9Mk!FDWl|-iT_(#(-6opjM7Bej#3VRSHpw?0{JZe%w9o-QIM4BW-}}Dj?^E!7(DvLi_bMtzRE23NSvZ!oU|?>)q?*2R"
        "@i*A{442R~9a2mrnC<2CTxcc*<ti+wpc5t)nDrODOwW&-GnShN^9sWAMExlNbC=Yj%F}bsNMdVj@}{VZ>Y_o%kjXp+vqr|UERuRWc8J{{8x41FuHp9r6S#W(j`T%k"
        "*_&4W6t1tn!VtPq+xX8Qj^npKak(w>G$fH9wPs-a9%xK6t4W=6oeQKGD4wSl#->ERMTuH=&(_TSC8|Y@1yo9kt=EZUX(^PJb*iy6+b}CQ0C$N%-WTZk2{eQ(Dz?rx"
        "P3z<a&5wW4JV2V)XZQ?Ty<z|OXm@{aZ=VeMC*&x8P2LQ`DSZ$B+{OKO<n*+;3#gb#WVa$%ttI8a5HZ`1yr|PCYW5k}CXa4D@`!z4Dom(CYuq7%P07Iiv)Z1UU=cf$"
        "jL<lcJ<gt3o!QPpWg8E>j(?}3Is<cy(}Y<Qtg@oiIgZN_G96(}7uPd8<3qFcKOz#PSSCaJUFx32F+P~4Qsb0ON9nRcRW@K4_zsiV4ZV!+K$}~(3(J#&Y3k^o*=cEw"
        "X1+wCWX$Qrg%2s`<y4VTU7;(eW@IknO4UjD3yoSwss"
    ),
    "2.2.3": (
        "c-n1JL2uJA6mHsv4K|4}q`@w`A-YSp-8dk|C<RKiOsa&m%Var;+eCAm$aW}`m;?vPCi%vLzYEV!3mxEt^BlkTz3+SeKKb9nPRlKGuc9KQDo9Gng0Z9p19ST&)%2B%"
        "zrpTjxP+eRl42sk>@26}LNh5SS3yAqoiM4utiRx8a(>*LvD|FUD+teH^``{PT~doGPtG|bv8}Pm_eEV)7Xfkb7&DnCVAjZ3mPK5T#}2ahW1}J8nv3|o!1xXTzp1{c"
        "EPd0?pTPCiR~SJr>=^GUL{aqiCoZ>zEe&z#h3y#_uMZm2%xYZcT;~Eg`ikd?g|R82XHmko-Lo~bwam4sv4ToTvG+QWEGdQ3vQ9MCW*cS&N8m0Isr3c=UJMN*3yZz8"
        "P18QP!Smx^JP(oQ^%*|Ic7HTDKH59j-#;M3!3jBvUXwS&U`pS^KX=jK9XUO1?tCgH64|W?R%=N)FhtCD!dBRABsKdCY?FsKpE+e8m<nR5&>VM&U{f-*|E#uW#$UwF"
        "CMjA6vPaott25hOsO;cj&++e8RA*praT+sggH=|PI>&K2LZ&OM?V@^Shy2`Z|Br}7DVE8|ewVsuQG_q1snj@S(^a~xP?ZfB2A;!Yc0)I#J<#Zu?ZWh=V46DmXLedz"
        "qn$62C>e7)ap42Xc{x=itt+$z)r`zVT&X$^egPCpNNf"
    ),
}


def old_frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "path": ["CREMA/1001_IEO_ANG_HI.wav", "CREMA/1001_IEO_NEU_XX.wav"],
            "labels": [3, 0],
            "emotions": ["angry", "neutral"],
        }
    )


def pickled(folder: Path, corpus: str, train: pd.DataFrame, test: pd.DataFrame) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for part, frame in (("train", train), ("test", test)):
        frame.to_pickle(folder / f"D.{corpus}_{part}_DF.p")
    return folder


@pytest.mark.parametrize("version", PICKLES_OF_OLD_PANDAS)
def test_pickles_of_older_pandas_are_read(tmp_path, version):
    (tmp_path / "old.p").write_bytes(zlib.decompress(base64.b85decode(PICKLES_OF_OLD_PANDAS[version])))
    assert read_pickle(tmp_path / "old.p").to_numpy().tolist() == old_frame().to_numpy().tolist()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "change",
    [
        lambda frame: frame,
        lambda frame: frame.astype(object),
        lambda frame: frame.astype({"emotions": "category"}),
        lambda frame: frame[frame["labels"] > 0],
        lambda frame: frame.set_index("path", drop=False),
        lambda frame: frame.convert_dtypes(),
        lambda frame: frame.assign(calm=[True, None], gender=None, score=np.float32(0.5)),
    ],
    ids=["plain", "object", "category", "filtered", "indexed", "nullable", "mixed"],
)
def test_every_protocol_and_kind_of_column_is_read(tmp_path, protocol, change):
    frame = change(old_frame())
    frame.to_pickle(tmp_path / "new.p", protocol=protocol)
    pd.testing.assert_frame_equal(read_pickle(tmp_path / "new.p"), frame)


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("kind", ["Float32", "Float64", "Int8", "Int16", "Int32", "UInt8", "UInt64", "float16", "int8", "datetime64[ns]"])
def test_columns_of_every_harmless_type_are_read(tmp_path, protocol, kind):
    frame = old_frame().assign(more=pd.Series([1, 0]).astype(kind))
    frame.to_pickle(tmp_path / "new.p", protocol=protocol)
    pd.testing.assert_frame_equal(read_pickle(tmp_path / "new.p"), frame)


@pytest.mark.parametrize(
    "change",
    [
        lambda frame: frame.set_index(["path", "labels"], drop=False).rename_axis(["a", "b"]),
        lambda frame: frame.set_index(pd.to_datetime(["2020-01-01", "2021-01-01"])),
        lambda frame: frame.set_index(pd.CategoricalIndex(["a", "b"])),
        lambda frame: frame.assign(when=[datetime(2020, 1, 1, tzinfo=UTC), None], day=[date(2020, 1, 1)] * 2, span=pd.Timedelta("1s")),
        lambda frame: frame.assign(when=[pd.Timestamp("2020-01-01"), "never"], gone=pd.Series([pd.NaT, pd.NaT], dtype=object)),
    ],
    ids=["MultiIndex", "dates as index", "categories as index", "dates", "mixed objects"],
)
def test_dates_and_indexes_are_read(tmp_path, change):
    frame = change(old_frame())
    frame.to_pickle(tmp_path / "new.p")
    pd.testing.assert_frame_equal(read_pickle(tmp_path / "new.p"), frame)


@pytest.mark.parametrize("kind", [PurePosixPath, PureWindowsPath, Path])
def test_paths_as_objects_are_read_as_paths_that_reach_no_disk(tmp_path, kind):
    frame = old_frame()
    frame["path"] = pd.Series([kind(path) for path in frame["path"]], dtype=object)
    frame.to_pickle(tmp_path / "new.p")
    read = read_pickle(tmp_path / "new.p")["path"]
    assert [path.as_posix() for path in read] == old_frame()["path"].tolist()
    assert not any(isinstance(path, Path) for path in read)


@pytest.mark.parametrize("suffix", ["gz", "bz2", "xz", "zip"])
def test_compressed_pickles_are_read_whatever_their_name(tmp_path, suffix):
    old_frame().to_pickle(tmp_path / f"new.p.{suffix}")
    os.rename(tmp_path / f"new.p.{suffix}", tmp_path / "new.p")
    pd.testing.assert_frame_equal(read_pickle(tmp_path / "new.p"), old_frame())


def test_zstd_pickles_are_read(tmp_path):
    with pa.CompressedOutputStream(tmp_path / "new.p.zst", "zstd") as file:
        file.write(pickle.dumps(old_frame()))
    pd.testing.assert_frame_equal(read_pickle(tmp_path / "new.p.zst"), old_frame())


def test_a_compressed_hostile_pickle_is_refused_too(tmp_path):
    mark = tmp_path / "mark"
    with gzip.open(tmp_path / "hostile.p.gz", "wb") as file:
        pickle.dump(Hostile(os.system, f"touch {mark}"), file)
    with pytest.raises(DataError, match=r"refused: the pickle asks for posix\.system"):
        read_pickle(tmp_path / "hostile.p.gz")
    assert not mark.exists()


def test_a_refusal_says_how_to_save_the_frame_again(tmp_path):
    path = tmp_path / "new.p"
    frame = old_frame().assign(span=pd.period_range("2020", periods=2, freq="Y"))
    frame.to_pickle(path)
    with pytest.raises(DataError, match=r"refused: the pickle asks for pandas\S*\.\w*Period\w*") as refusal:
        read_pickle(path)
    line = str(refusal.value).partition("save its plain columns again: ")[2]
    exec(line.replace("FILE", repr(str(path))), {"pd": pd})  # the very line that the message gives
    assert read_pickle(path)[["path", "labels", "emotions"]].to_numpy().tolist() == old_frame().to_numpy().tolist()


class Hostile:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("hostile", "named"),
    [
        (lambda mark: Hostile(os.system, f"touch {mark}"), r"posix\.system"),
        (lambda mark: Hostile(eval, f"open({str(mark)!r}, 'w')"), r"(builtins|__builtin__)\.eval"),
        (lambda mark: Hostile(Path.touch, mark), r"((builtins|__builtin__)\.getattr|pathlib\.(Posix)?Path(\.touch)?)"),
        (lambda mark: Hostile(subprocess.Popen, ["touch", str(mark)]), r"(subprocess|commands)\.Popen"),
        (lambda mark: Hostile(pd.read_pickle, str(mark)), r"pandas\.read_pickle"),
        (lambda mark: Hostile(pd.eval, "1 + 1"), r"pandas\.eval"),
        (lambda mark: Hostile(np.load, str(mark)), r"numpy\.load"),
        (lambda mark: Hostile(np.save, str(mark), np.zeros(1)), r"numpy\.save"),
        (lambda mark: Hostile(getattr, pd.DataFrame, "to_csv"), r"(builtins|__builtin__)\.getattr"),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_hostile_pickle_is_refused_by_name_and_does_not_run(tmp_path, hostile, named, protocol):
    mark = tmp_path / "mark"
    frame = old_frame().astype(object)
    frame.loc[0, "path"] = hostile(mark)
    (tmp_path / "hostile.p").write_bytes(pickle.dumps(frame, protocol=protocol))
    with pytest.raises(DataError, match=rf"hostile\.p: refused: the pickle asks for {named}, expected only pandas"):
        read_pickle(tmp_path / "hostile.p")
    assert not mark.exists()


@pytest.mark.parametrize(
    ("opcodes", "reason"),
    [
        (b"\x80\x04\x8c\x06pandas\x8c\x10DataFrame.to_csv\x93.", "pandas.DataFrame.to_csv"),
        (b"cpandas\nDataFrame\nN}Vcopy\nVmine\ns\x86b.", "changes the class DataFrame"),
        (b"c_codecs\nencode\n(Va\nVrot13\ntR.", "encoding 'rot13'"),
    ],
)
def test_opcodes_that_reach_round_the_list_are_refused(tmp_path, opcodes, reason):
    (tmp_path / "odd.p").write_bytes(opcodes)
    with pytest.raises(DataError, match="refused: .*" + reason):
        read_pickle(tmp_path / "odd.p")


@pytest.mark.parametrize("content", [b"", b"text", b"\x80\x04", pickle.dumps(old_frame())[:-40], b"\x80\xff."])
def test_a_damaged_pickle_is_an_error_of_one_line(tmp_path, content):
    (tmp_path / "damaged.p").write_bytes(content)
    with pytest.raises(DataError, match=r"damaged\.p: not a readable pickle of a DataFrame"):
        read_pickle(tmp_path / "damaged.p")


def test_a_pickle_of_something_else_is_refused(tmp_path):
    (tmp_path / "list.p").write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(DataError, match="holds a list, expected a DataFrame"):
        read_pickle(tmp_path / "list.p")


@pytest.fixture
def ravdess(tmp_path):
    """Two actors' files, and the old pair of frames that name them in a folder that is gone."""
    names = [f"03-01-{code:02}-01-01-01-{actor:02}.wav" for actor in (1, 2) for code in (1, 2, 5)]
    lay_out(tmp_path / "raw", *(f"RAVDESS/Actor_{name[-6:-4]}/{name}" for name in names))
    frame = pd.DataFrame(
        {
            "path": [f"/old/place/RAVDESS/Actor_{name[-6:-4]}/{name}" for name in names],
            "labels": [0, 7, 3] * 2,
            "emotions": ["neutral", "calm", "angry"] * 2,
            "gender": ["male"] * 3 + ["female"] * 3,
            "calm": [False, True, False] * 2,
        }
    )
    pickled(tmp_path / "old", "RAVDESS", frame[:3], frame[3:])
    return tmp_path


def imported_catalogue(folder, corpus, **rules):
    return catalogue(corpus, scan(folder / "raw", corpus, imported=folder / "imported"), RULES | rules)


def test_old_frames_become_catalogues_with_their_division_as_partitions(ravdess):
    counts = import_frames(ravdess / "old", ravdess / "raw", CORPORA, ravdess / "imported")
    assert counts == {"RAVDESS": {"found": 6, "moved": 0, "lost": 0}}
    table = imported_catalogue(ravdess, RAVDESS)
    assert table["part"].tolist() == ["train"] * 3 + ["test"] * 3
    assert table["labels"].tolist() == [0, 0, 3] * 2
    assert table["rule"].tolist() == ["", "calm: neutral", ""] * 2
    assert table["speaker"].tolist() == ["RAVDESS/01"] * 3 + ["RAVDESS/02"] * 3
    assert table["gender"].tolist() == ["male"] * 3 + ["female"] * 3


def test_label_7_obeys_the_calm_rule(ravdess):
    import_frames(ravdess / "old", ravdess / "raw", CORPORA, ravdess / "imported")
    table = imported_catalogue(ravdess, RAVDESS, calm="drop")
    assert table["reason"].tolist() == ["", "emotion: calm", ""] * 2


def test_paths_that_moved_are_found_again_by_name(ravdess):
    os.rename(ravdess / "raw/RAVDESS/Actor_01", ravdess / "raw/RAVDESS/men")
    os.remove(ravdess / "raw/RAVDESS/Actor_02/03-01-05-01-01-01-02.wav")
    counts = import_frames(ravdess / "old", ravdess / "raw", CORPORA, ravdess / "imported")
    assert counts == {"RAVDESS": {"found": 2, "moved": 3, "lost": 1}}
    table = imported_catalogue(ravdess, RAVDESS).set_index("path")
    assert table.loc["RAVDESS/men/03-01-05-01-01-01-01.wav", "emotion"] == "angry"
    assert table.loc["RAVDESS/03-01-05-01-01-01-02.wav", "reason"] == "imported row without audio"


def test_names_that_differ_in_case_or_unicode_form_are_found_and_counted(tmp_path):
    lay_out(tmp_path / "raw", "CREMA/1001_ieo_ang_hi.WAV", f"CREMA/{unicodedata.normalize('NFD', 'colère.wav')}")
    frame = pd.DataFrame({"path": ["1001_IEO_ANG_HI.wav", unicodedata.normalize("NFC", "Colère.wav")], "labels": [3, 3]})
    folder = pickled(tmp_path / "old", "CREMA", frame[:1], frame[1:])
    counts = import_frames(folder, tmp_path / "raw", CORPORA, tmp_path / "imported")
    assert counts == {"CREMA": {"found": 0, "moved": 2, "lost": 0, "respelt": 2}}
    assert imported_catalogue(tmp_path, CREMA)["emotion"].tolist() == ["angry", "angry"]


def test_compressed_pairs_are_found_by_their_names(tmp_path):
    lay_out(tmp_path / "raw", "CREMA/1001_IEO_ANG_HI.wav", "CREMA/1001_IEO_NEU_XX.wav")
    (tmp_path / "old").mkdir()
    old_frame()[:1].to_pickle(tmp_path / "old/D.CREMA_train_DF.p.gz")
    old_frame()[1:].to_pickle(tmp_path / "old/D.CREMA_test_DF.p.xz")
    assert import_frames(tmp_path / "old", tmp_path / "raw", CORPORA, tmp_path / "imported")["CREMA"]["lost"] == 0


def test_files_that_no_imported_row_names_are_left_out(ravdess):
    lay_out(ravdess / "raw", "RAVDESS/Actor_03/03-01-01-01-01-01-03.wav")
    import_frames(ravdess / "old", ravdess / "raw", CORPORA, ravdess / "imported")
    table = imported_catalogue(ravdess, RAVDESS).set_index("path")
    assert table.loc["RAVDESS/Actor_03/03-01-01-01-01-01-03.wav", "reason"] == "not imported"


def test_names_that_no_parser_reads_are_clips_where_they_are_imported(tmp_path):
    lay_out(tmp_path / "raw", "CREMA/mine_1.wav", "CREMA/mine_2.wav")
    frame = pd.DataFrame({"path": ["mine_1.wav", "mine_2.wav"], "labels": [1, 2]})
    import_frames(pickled(tmp_path / "old", "CREMA", frame[:1], frame[1:]), tmp_path / "raw", CORPORA, tmp_path / "imported")
    table = imported_catalogue(tmp_path, CREMA)
    assert table[["emotion", "speaker", "group"]].to_numpy().tolist() == [
        ["happy", "CREMA/unknown", "CREMA/CREMA/mine_1.wav"],
        ["sad", "CREMA/unknown", "CREMA/CREMA/mine_2.wav"],
    ]


def test_a_speaker_whom_the_old_division_split_is_a_group_on_each_side(tmp_path):
    lay_out(tmp_path / "raw", "CREMA/1001_IEO_ANG_HI.wav", "CREMA/1001_IEO_NEU_XX.wav")
    folder = pickled(tmp_path / "old", "CREMA", old_frame()[:1], old_frame()[1:])
    import_frames(folder, tmp_path / "raw", CORPORA, tmp_path / "imported")
    table = imported_catalogue(tmp_path, CREMA)
    assert table["group"].tolist() == ["CREMA/1001@train", "CREMA/1001@test"]
    assert table["speaker"].unique().tolist() == ["CREMA/1001"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": [9, 0]}, "labels '9' of 'CREMA/1001_IEO_ANG_HI.wav' .1 such., expected 0 to 6"),
        ({"labels": [7, 0]}, "labels '7' of .* expected 0 to 6"),
        ({"emotions": ["rage", "neutral"]}, "emotions 'rage' of .* expected one of neutral, happy, sad"),
        ({"emotions": ["fear", "neutral"]}, "emotions 'fear' of .* expected the emotion of its label"),
    ],
)
def test_labels_that_make_no_sense_are_refused_by_name(tmp_path, change, message):
    lay_out(tmp_path / "raw", "CREMA/1001_IEO_ANG_HI.wav", "CREMA/1001_IEO_NEU_XX.wav")
    frame = old_frame().assign(**change)
    folder = pickled(tmp_path / "old", "CREMA", frame, old_frame()[:0])
    with pytest.raises(DataError, match=message):
        import_frames(folder, tmp_path / "raw", CORPORA, tmp_path / "imported")
    assert not (tmp_path / "imported").exists()


def test_one_clip_on_both_sides_is_refused_by_name(tmp_path):
    lay_out(tmp_path / "raw", "CREMA/1001_IEO_ANG_HI.wav", "CREMA/1001_IEO_NEU_XX.wav")
    folder = pickled(tmp_path / "old", "CREMA", old_frame(), old_frame())
    with pytest.raises(DataError, match=r"1001_IEO_ANG_HI.wav' is imported twice \(angry in \w+; angry in \w+\)"):
        import_frames(folder, tmp_path / "raw", CORPORA, tmp_path / "imported")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ((), "no D.CORPUS_train_DF.p in"),
        (("D.CREMAA_train_DF.p",), "unknown corpus 'CREMAA', expected one of: CAFE"),
        (("D.CREMA_train_DF.p",), "no .*D.CREMA_test_DF.p, expected a pair"),
    ],
)
def test_a_folder_without_pairs_is_refused(tmp_path, files, message):
    (tmp_path / "old").mkdir()
    for name in files:
        old_frame().to_pickle(tmp_path / "old" / name)
    with pytest.raises(DataError, match=message):
        import_frames(tmp_path / "old", tmp_path / "raw", CORPORA, tmp_path / "imported")


def test_files_of_one_name_are_told_apart_by_their_folders():
    candidates = [f"SAVEE/AudioData/{speaker}/sa01.wav" for speaker in ("DC", "JE")]
    assert nearest("C:/speech/SAVEE/JE/sa01.wav", candidates) == "SAVEE/AudioData/JE/sa01.wav"
    with pytest.raises(DataError, match=r"'sa01.wav' may be any of: SAVEE/AudioData/DC/sa01.wav, SAVEE/AudioData/JE/sa01.wav"):
        nearest("sa01.wav", candidates)


def test_contempt_that_an_old_frame_calls_disgust_is_left_to_the_rule(tmp_path):
    lay_out(tmp_path / "raw", "EMOFILM/wav_corpus/f_dis001aen.wav", "EMOFILM/wav_corpus/f_rab001aen.wav", "EMOFILM/wav_corpus/mine.wav")
    frame = pd.DataFrame({"path": ["f_dis001aen.wav", "f_rab001aen.wav", "mine.wav"], "labels": [5, 3, 5]})
    import_frames(pickled(tmp_path / "old", "EMOFILM", frame[:2], frame[2:]), tmp_path / "raw", CORPORA, tmp_path / "imported")
    for choice, emotion in (("drop", ""), ("disgust", "disgust")):
        table = catalogue(EMOFILM, scan(tmp_path / "raw", EMOFILM, tmp_path / "imported"), RULES | {"contempt": choice})
        assert table["emotion"].tolist() == [emotion, "angry", "disgust"]
        assert table["rule"].tolist() == [f"contempt: {choice}", "", ""]


def test_arrays_that_reach_beyond_their_bytes_are_refused(tmp_path):
    class Beyond:
        def __reduce__(self):
            return pa.lib._restore_array, ((pa.int64(), 2**40, 0, 0, [None, pa.py_buffer(b"12345678")], [], None),)

    path = tmp_path / "beyond.p"
    path.write_bytes(pickle.dumps(Beyond()))
    with pytest.raises(DataError, match=r"not a readable pickle of a DataFrame .*Buffer"):
        read_pickle(path)


COLUMNS = "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set\n"


@pytest.fixture
def msp(tmp_path):
    rows = [
        "MSP-PODCAST_0001_0001.wav,N,4,4,4,97,Male,Train",
        "MSP-PODCAST_0001_0002.wav,C,4,4,4,97,Male,Train",
        "MSP-PODCAST_0002_0001.wav,H,4,4,4,Unknown,Unknown,Development",
        "MSP-PODCAST_0003_0001.wav,A,4,4,4,98,Female,Test1",
        "MSP-PODCAST_0004_0001.wav,U,4,4,4,99,Female,Test2",
        "MSP-PODCAST_0005_0001.wav,U,4,4,4,99,Female,Test3",
        "MSP-PODCAST_0006_0001.wav,S,4,4,4,99,Female,Test1",
    ]
    (tmp_path / "labels.csv").write_text(COLUMNS + "\n".join(rows) + "\n")
    names = [row.partition(",")[0] for row in rows[:6]]
    lay_out(tmp_path / "raw", *(f"MSP_PODCAST/Audios/{name}" for name in names))
    return tmp_path


def test_annotations_become_a_catalogue_with_the_official_partitions(msp):
    counts = prepare_msp(msp / "labels.csv", msp / "raw/MSP_PODCAST/Audios", msp / "raw", None, msp / "imported")
    assert counts == {"found": 5, "lost": 1, "without a partition": 1}
    table = imported_catalogue(msp, MSP_PODCAST)
    assert table["part"].tolist() == ["train", "train", "validation", "test1", "test2", "", ""]
    assert table["reason"].tolist() == ["", "emotion: contempt", "", "", "", "not imported", "imported row without audio"]
    assert table["speaker"].tolist()[:3] == ["MSP_PODCAST/97", "MSP_PODCAST/97", "MSP_PODCAST/unknown"]


def test_the_pair_of_pickles_is_written_on_request_and_can_be_imported(msp):
    prepare_msp(msp / "labels.csv", msp / "raw/MSP_PODCAST/Audios", msp / "raw", msp / "old", msp / "imported")
    train = pd.read_pickle(msp / "old/D.MSP_PODCAST_train_DF.p")
    test = pd.read_pickle(msp / "old/D.MSP_PODCAST_test_DF.p")
    assert train[["labels", "emotions", "part"]].to_numpy().tolist() == [[0, "neutral", "train"], [1, "happy", "validation"]]
    assert test["emotions"].tolist() == ["angry", "surprise"]
    assert all(Path(path).is_file() for path in [*train["path"], *test["path"]])
    counts = import_frames(msp / "old", msp / "raw", CORPORA, msp / "again")
    assert counts == {"MSP_PODCAST": {"found": 4, "moved": 0, "lost": 0}}


def test_a_label_file_that_does_not_exist_is_named_as_such(msp):
    with pytest.raises(DataError, match=r"there is no file .*nolabels.csv, expected a csv file with the columns: FileName, "):
        prepare_msp(msp / "nolabels.csv", msp / "raw/MSP_PODCAST/Audios", msp / "raw", None, msp / "imported")


def test_audio_elsewhere_is_stored_as_if_it_were_linked(msp):
    os.rename(msp / "raw/MSP_PODCAST", msp / "scratch")
    prepare_msp(msp / "labels.csv", msp / "scratch", msp / "raw", None, msp / "imported")
    os.symlink(msp / "scratch", msp / "raw/MSP_PODCAST")
    assert (imported_catalogue(msp, MSP_PODCAST)["reason"] == "").sum() == 4


@pytest.mark.parametrize("audio_dir", ["raw/MSP_PODCAST/Audios", "scratch"])
def test_audio_that_is_linked_inside_the_folder_is_found(msp, audio_dir):
    os.rename(msp / "raw/MSP_PODCAST/Audios", msp / "scratch")
    os.symlink(msp / "scratch", msp / "raw/MSP_PODCAST/Audios")
    prepare_msp(msp / "labels.csv", msp / audio_dir, msp / "raw", None, msp / "imported")
    assert (imported_catalogue(msp, MSP_PODCAST)["reason"] == "").sum() == 4


@pytest.mark.parametrize("name", ["../secret.wav", "/etc/secret.wav", "a/../../secret.wav", "C:\\secret.wav", "a\\..\\b.wav", ".."])
def test_names_that_leave_the_audio_folder_are_refused(msp, name):
    with (msp / "labels.csv").open("a") as file:
        file.write(f"{name},N,4,4,4,97,Male,Train\n")
    with pytest.raises(DataError, match=r"leaves the audio folder \(1 such\), expected plain file names"):
        prepare_msp(msp / "labels.csv", msp / "raw/MSP_PODCAST/Audios", msp / "raw", None, msp / "imported")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            "MSP-PODCAST_0001_0001.wav,H,4,4,4,97,Male,Train",
            r"'MSP-PODCAST_0001_0001.wav' is labelled twice with another EmoClass \(N in line 2, H in line 9\); 1 such",
        ),
        ("MSP-PODCAST_0009_0001.wav,Z,4,4,4,97,Male,Train", "unknown EmoClass 'Z', expected one of: N, H"),
    ],
)
def test_rows_that_make_no_sense_are_refused_by_name(msp, row, message):
    with (msp / "labels.csv").open("a") as file:
        file.write(row + "\n")
    with pytest.raises(DataError, match=message):
        prepare_msp(msp / "labels.csv", msp / "raw/MSP_PODCAST/Audios", msp / "raw", None, msp / "imported")


def both_ways(msp, labels: str) -> list[list[tuple[str, ...]]]:
    """What the catalogue makes of a label file beside the audio, and what it makes of the same file imported."""
    (msp / "labels.csv").write_text(labels)
    (msp / "raw/MSP_PODCAST/Labels").mkdir(exist_ok=True)
    (msp / "raw/MSP_PODCAST/Labels/labels_consensus.csv").write_text(labels)
    prepare_msp(msp / "labels.csv", msp / "raw/MSP_PODCAST/Audios", msp / "raw", None, msp / "imported")
    ways = (scan(msp / "raw", MSP_PODCAST, imported=msp / folder) for folder in ("nothing", "imported"))
    tables = [catalogue(MSP_PODCAST, scanned, RULES) for scanned in ways]
    columns = ["path", "emotion", "speaker", "gender", "part"]
    return [[tuple(row) for row in table.loc[table["reason"] == "", columns].to_numpy()] for table in tables]


def with_cells(labels: str, column: int, change) -> str:
    header, *rows = labels.splitlines()
    changed = [",".join(change(cell) if place == column else cell for place, cell in enumerate(row.split(","))) for row in rows]
    return "\n".join([header, *changed]) + "\n"


@pytest.mark.parametrize(
    "change",
    [
        lambda labels: labels,
        lambda labels: labels.replace("\n", ",\n").replace(",\n", "\n", 1),
        lambda labels: labels.replace("\n", ",\n"),
        lambda labels: with_cells(labels, 0, lambda name: f"Audios/{name}"),
        lambda labels: with_cells(labels, 0, lambda name: name.replace(".wav", ".WAV")),
        lambda labels: with_cells(labels, 0, lambda name: name.removesuffix(".wav")),
        lambda labels: with_cells(labels, 0, lambda name: f"  {name} "),
        lambda labels: labels + labels.splitlines()[1] + "\n\n",
        lambda labels: "\ufeff" + labels.replace("\n", "\r\n"),
        lambda labels: labels.replace("Male", "m").replace("Female", "F"),
    ],
    ids=[
        "plain",
        "rows end in commas",
        "lines end in commas",
        "subfolder",
        "upper suffix",
        "no suffix",
        "spaces",
        "repeated",
        "BOM",
        "gender",
    ],
)
def test_label_files_as_people_have_them_say_the_same_both_ways(msp, change):
    expected, _ = both_ways(msp, (msp / "labels.csv").read_text())
    assert len(expected) == 4
    assert both_ways(msp, change((msp / "labels.csv").read_text())) == [expected, expected]


@pytest.mark.parametrize(
    ("column", "value", "named"),
    [
        (1, "D", r"another EmoClass \(N in line 2, D in line 9\)"),
        (7, "Test1", r"another Split_Set \(Train in line 2, Test1 in line 9\)"),
        (5, "12", r"another SpkrID \(97 in line 2, 12 in line 9\)"),
    ],
)
@pytest.mark.parametrize("spelling", [lambda name: name, lambda name: f"Audios/{name}", lambda name: name.removesuffix(".wav")])
def test_rows_that_contradict_each_other_are_refused_both_ways(msp, column, value, named, spelling):
    labels = (msp / "labels.csv").read_text()
    cells = labels.splitlines()[1].split(",")
    cells[0], cells[column] = spelling(cells[0]), value
    labels += ",".join(cells) + "\n"
    with pytest.raises(DataError, match=rf"MSP-PODCAST_0001_0001.* is labelled twice with {named}; 1 such"):
        both_ways(msp, labels)
    with pytest.raises(DataError, match=rf"MSP-PODCAST_0001_0001.* is labelled twice with {named}; 1 such"):
        scan(msp / "raw", MSP_PODCAST, imported=msp / "nothing")


def test_a_row_of_too_many_cells_is_named(msp):
    with (msp / "labels.csv").open("a") as file:
        file.write("MSP-PODCAST_0001_0001.wav,N,4,4,4,97,Male,Train,oops\n")
    with pytest.raises(DataError, match=r"the row of 'MSP-PODCAST_0001_0001.wav' has 9 cells, expected 8"):
        prepare_msp(msp / "labels.csv", msp / "raw/MSP_PODCAST/Audios", msp / "raw", None, msp / "imported")


def run(folder, command, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    words = [sys.executable, "-m", f"pipelines.{command}", *map(str, arguments)]
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_commands_import_and_say_what_they_did(msp, ravdess):
    (msp / "params.yaml").write_text((PROJECT / "params.yaml").read_text().replace("raw: data/demo", "raw: raw"))
    (msp / "data").mkdir(exist_ok=True)
    (msp / "data/own_corpora.py").write_text("CORPORA = []\n")
    done = run(msp, "import_frames", "--folder", "old")
    assert "RAVDESS: 6 clips found, 0 found under another path, 0 not found" in done.stdout, done.stderr
    done = run(msp, "prepare_msp", "--annotations", "labels.csv", "--audio_dir", "raw/MSP_PODCAST/Audios")
    assert "MSP_PODCAST: 5 rows found, 1 rows lost, 1 rows without a partition" in done.stdout, done.stderr
    assert sorted(path.name for path in (msp / "data/imported").iterdir()) == ["MSP_PODCAST.parquet", "RAVDESS.parquet"]
    for command in ("import_frames", "prepare_msp"):
        done = run(msp, command)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
