"""Aliases, hub ids and folders become classifiers with the weights of the checkpoint and a head of our own."""

import contextlib
import json
import os
import pickle
import socket
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification, SEWConfig, SEWModel

from ser_mlops.emotions import EMOTIONS
from ser_mlops.errors import ModelError
from ser_mlops.models import location
from ser_mlops.models.aliases import ALIASES
from ser_mlops.models.build import load_classifier, open_classifier
from ser_mlops.models.location import locate
from tests.models.builders import ARCHITECTURES, NEWER, build_net, padded, some_waves, write_checkpoint, write_to_cache


def load_elsewhere(home: Path, *models: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Load models in a process of its own, whose Hugging Face cache is `home`."""
    program = "import sys\nfrom ser_mlops.models.build import load_classifier\nfor model in sys.argv[1:]: load_classifier(model, seed=1)"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return subprocess.run(
        [sys.executable, "-c", program, *models],
        env=inherited | {"HF_HOME": str(home), **environment},
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.mark.parametrize("old", [False, True], ids=["safetensors", "old bin"])
@pytest.mark.parametrize("alias", [*ARCHITECTURES, *NEWER])
def test_every_alias_loads_offline_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alias: str, old: bool) -> None:
    write_to_cache(tmp_path, alias, old=old)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    load_classifier(alias, seed=1)


def test_a_process_of_its_own_loads_models_from_the_cache_and_prints_nothing(tmp_path: Path) -> None:
    for number, alias in enumerate([*ARCHITECTURES, *NEWER]):
        write_to_cache(tmp_path, alias, old=bool(number % 2))
    loaded = load_elsewhere(tmp_path, *ALIASES, HF_HUB_OFFLINE="1")
    assert loaded.returncode == 0, loaded.stderr
    assert loaded.stdout + loaded.stderr == ""
    assert load_elsewhere(tmp_path, "HuB-LL", HF_ENDPOINT="http://127.0.0.1:9").returncode == 0


def test_without_files_and_network_the_error_says_at_once_what_to_bring(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for endpoint in ("http://127.0.0.1:9", f"http://127.0.0.1:{silent.getsockname()[1]}"):
            message = load_elsewhere(tmp_path, "HuB-LL", HF_ENDPOINT=endpoint, no_proxy="*").stderr.splitlines()[-1]
            assert "needs config.json, preprocessor_config.json, model.safetensors or pytorch_model.bin of " in message
            assert "hf download facebook/hubert-large-ll60k" in message
            assert "-P model=FOLDER" in message
        assert num_waiting(silent) <= 2, "the hub was asked again and again"


def num_waiting(server: socket.socket) -> int:
    """Count the connections that nobody has accepted."""
    server.setblocking(False)
    found = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            server.accept()[0].close()
            found += 1
    return found


def test_the_error_names_only_the_files_that_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_to_cache(tmp_path, "HuB-LL")
    next(tmp_path.rglob("preprocessor_config.json")).unlink()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"needs preprocessor_config.json of facebook/hubert-large-ll60k"):
        locate("HuB-LL")


@pytest.mark.parametrize("alias", ARCHITECTURES)
def test_the_body_is_the_checkpoints_and_a_head_of_other_classes_is_new(tmp_path: Path, alias: str) -> None:
    folder = write_checkpoint(tmp_path, alias)
    ours, theirs = load_classifier(str(folder), seed=1).base.state_dict(), load_file(folder / "model.safetensors")
    theirs = {key.removeprefix("hubert.").removeprefix("wav2vec2."): value for key, value in theirs.items()}
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())
    classifier = load_classifier(str(folder), seed=1)
    assert classifier.net.classifier.weight.shape == (7, 16)
    assert classifier.config.id2label == dict(enumerate(EMOTIONS))
    if alias in ("HuB-ER", "HuB-SID"):
        assert torch.equal(classifier.net.projector.weight, theirs["projector.weight"])


def test_the_old_form_holds_the_same_weights(tmp_path: Path) -> None:
    new = load_classifier(str(write_checkpoint(tmp_path / "new", "W2V2-base")), seed=1)
    old = load_classifier(str(write_checkpoint(tmp_path / "old", "W2V2-base", old=True)), seed=1)
    assert all(torch.equal(value, old.state_dict()[key]) for key, value in new.state_dict().items())


def test_the_head_follows_from_the_seed_and_leaves_the_global_random_state(tmp_path: Path) -> None:
    for model in ("tiny", str(write_checkpoint(tmp_path, "HuB-LL"))):
        torch.manual_seed(5)
        before = torch.get_rng_state()
        first = load_classifier(model, seed=1)
        assert torch.equal(torch.get_rng_state(), before)
        torch.manual_seed(6)
        again, other = load_classifier(model, seed=1), load_classifier(model, seed=2)
        assert all(torch.equal(value, again.state_dict()[key]) for key, value in first.state_dict().items())
        assert all(torch.equal(value, other.base.state_dict()[key]) for key, value in first.base.state_dict().items())
        assert not torch.equal(first.net.classifier.weight, other.net.classifier.weight)
        assert not torch.equal(first.net.projector.weight, other.net.projector.weight)
        assert first.net.classifier.weight.std().item() == pytest.approx(0.02, rel=0.2)


def test_seven_classes_of_another_order_do_not_pass_for_ours(tmp_path: Path) -> None:
    shuffled = dict(enumerate(reversed(EMOTIONS)))
    theirs = load_file(write_checkpoint(tmp_path, "HuB-ER", id2label=shuffled) / "model.safetensors")
    assert not torch.equal(load_classifier(str(tmp_path), seed=1).net.classifier.weight, theirs["classifier.weight"])
    with pytest.raises(ModelError, match="no trained emotion classifier"):
        open_classifier(tmp_path)


def test_a_trained_model_keeps_its_head_and_opens_in_plain_transformers(tmp_path: Path) -> None:
    classifier = load_classifier("tiny", seed=3)
    classifier.save(tmp_path)
    assert not list(tmp_path.glob("*.bin"))
    opened, loaded = open_classifier(tmp_path), load_classifier(str(tmp_path), seed=4)
    wave = some_waves(9000)
    values_BS, lengths_B = padded(classifier, wave)
    batch = AutoFeatureExtractor.from_pretrained(tmp_path)([wave[0] / 32768], sampling_rate=16000, return_tensors="pt")
    assert "attention_mask" in batch
    with torch.inference_mode():
        logits_BE = classifier(values_BS, lengths_B)
        assert torch.equal(opened(values_BS, lengths_B), logits_BE)
        assert torch.equal(loaded(values_BS, lengths_B), logits_BE)
        plain = AutoModelForAudioClassification.from_pretrained(tmp_path)
        assert torch.allclose(plain(**batch).logits, logits_BE, atol=1e-5)
    assert plain.config.id2label == dict(enumerate(EMOTIONS))


def test_without_attention_mask_a_saved_model_stays_so(tmp_path: Path) -> None:
    load_classifier("tiny", seed=3, attention_mask=False).save(tmp_path)
    assert not open_classifier(tmp_path).attention_mask
    assert not json.loads((tmp_path / "preprocessor_config.json").read_text())["return_attention_mask"]


def test_the_specaugment_vector_may_be_missing(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, "W2V2-base", drop=("masked_spec_embed",))
    first, again = (load_classifier(str(folder), seed=seed).base.masked_spec_embed for seed in (1, 1))
    assert torch.equal(first, again)
    assert 0 <= first.min() < first.max() <= 1


def test_any_other_missing_weight_is_an_error_that_names_it(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, "HuB-LL", drop=("layers.1.attention.k_proj.weight",))
    with pytest.raises(ModelError, match=r"1 weights are missing .*hubert\.encoder\.layers\.1\.attention\.k_proj\.weight"):
        load_classifier(str(folder), seed=1)


def test_a_body_of_another_size_is_an_error_that_names_it(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, "HuB-LL")
    build_net("HuB-LL", intermediate_size=50).config.save_pretrained(folder)
    with pytest.raises(ModelError, match=r"missing or of another size: hubert\.encoder\.layers\.0\.feed_forward"):
        load_classifier(str(folder), seed=1)


def test_an_architecture_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    SEWModel(SEWConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)).save_pretrained(tmp_path)
    write_checkpoint(tmp_path / "other", "HuB-LL")
    (tmp_path / "other" / "preprocessor_config.json").rename(tmp_path / "preprocessor_config.json")
    with pytest.raises(ModelError, match="unknown architecture 'sew', expected one of: hubert, wav2vec2, wavlm"):
        load_classifier(str(tmp_path), seed=1)


def test_names_that_nobody_knows_are_answered_with_those_accepted(tmp_path: Path) -> None:
    for model in ("HuBLL", "../nowhere/model", str(tmp_path / "nowhere"), "a/b/c"):
        with pytest.raises(ModelError, match=r"expected one of: HuB-LL, HuB-XL, .*tiny, a hub id"):
            locate(model)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"lacks config.json, preprocessor_config.json, model.safetensors or pytorch_model.bin"):
        locate(str(tmp_path / "empty"))


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_truncated_file_is_an_error_that_says_so(tmp_path: Path, name: str) -> None:
    weights = write_checkpoint(tmp_path, "HuB-LL", old=name.endswith("bin")) / name
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(ModelError, match=r"cannot be read .* fetch them again"):
        load_classifier(str(tmp_path), seed=1)


class Trap:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_a_bin_file_that_carries_code_does_not_run_it(tmp_path: Path) -> None:
    weights = write_checkpoint(tmp_path, "HuB-LL", old=True) / "pytorch_model.bin"
    for content in (torch.save, lambda trap, path: path.write_bytes(pickle.dumps(trap))):
        content(Trap(tmp_path / "ran"), weights)
        with pytest.raises(ModelError, match="cannot be read"):
            load_classifier(str(tmp_path), seed=1)
    assert not (tmp_path / "ran").exists()


def test_the_tiny_model_is_small() -> None:
    classifier = load_classifier("tiny", seed=1)
    assert 20_000 < sum(classifier.num_parameters()) < 28_000


@pytest.mark.parametrize("alias", ["HuB-LL", "HuB-ER", "tiny"])
def test_classifiers_that_share_their_encoder_differ_in_their_heads_as_others_do(tmp_path: Path, alias: str) -> None:
    model = alias if alias == "tiny" else str(write_checkpoint(tmp_path / alias, alias))
    first, second = (load_classifier(model, seed=seed, share_encoder=True) for seed in (1, 2))
    assert all(one is other for one, other in zip(first.base.parameters(), second.base.parameters(), strict=True))
    for shared, seed in ((first, 1), (second, 2)):
        alone = load_classifier(model, seed=seed)
        unused = {name for name in alone.state_dict() if name.endswith("masked_spec_embed")}
        assert shared.state_dict().keys() == alone.state_dict().keys()
        assert all(torch.equal(shared.state_dict()[name], weight) for name, weight in alone.state_dict().items() if name not in unused)
        assert shared.config.id2label == alone.config.id2label


def test_a_shared_encoder_is_read_again_when_the_files_changed(tmp_path: Path) -> None:
    model = str(write_checkpoint(tmp_path / "model", "HuB-LL"))
    before = load_classifier(model, seed=1, share_encoder=True)
    torch.manual_seed(8)
    write_checkpoint(tmp_path / "other", "DistilHubert")
    for path in (tmp_path / "other").iterdir():
        path.replace(tmp_path / "model" / path.name)
    after = load_classifier(model, seed=1, share_encoder=True)
    assert before.config.num_hidden_layers == 3
    assert after.config.num_hidden_layers == 2


def test_an_unknown_architecture_is_refused_before_its_weights_are_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = []

    def hand_out(repository: str, name: str, local_files_only: bool) -> str:
        fetched.append(name)
        (tmp_path / name).write_text('{"model_type": "seamless_m4t"}')
        return str(tmp_path / name)

    monkeypatch.setattr(location, "hf_hub_download", hand_out)
    with pytest.raises(ModelError, match="'owner/name': unknown architecture 'seamless_m4t', expected one of: hubert, wav2vec2, wavlm"):
        location._download("owner/name")
    assert fetched == ["config.json"]


@pytest.mark.parametrize("model", ["HuB-ER", "HuB-LL"])
def test_layers_are_chosen_and_plain_transformers_chooses_the_same(tmp_path: Path, model: str) -> None:
    folder = str(write_checkpoint(tmp_path / "given", model))
    given, last, every = (load_classifier(folder, seed=1, layers=layers) for layers in ("checkpoint", "last", "all"))
    assert (given.weighs_layers, last.weighs_layers, every.weighs_layers) == (model == "HuB-ER", False, True)
    assert last.shares_of_layers() == []
    assert every.shares_of_layers() == pytest.approx([1 / 4] * 4)
    every.save(tmp_path / "saved")
    assert AutoModelForAudioClassification.from_pretrained(tmp_path / "saved").config.use_weighted_layer_sum
