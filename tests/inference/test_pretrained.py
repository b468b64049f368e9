"""Networks as folders and repositories: there and back, from the hub's cache, and every way that can fail."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load, load_file, save_file

import tore
from tests import rules
from tore.inference import pretrained
from tore.inference.predictor import MeshRecovery
from tore.modeling.checkpoint_contents import checkpoint_file
from tore.paths import default_checkpoint

WRONG = (
    ("wings", 2, "has no option wings"),
    ("widths", [64], r"cannot have widths \(64,\); the official one is \(512, 128\)"),
    ("kept_tokens", -1, "cannot have kept_tokens -1"),
    ("dropout", "0.1", "cannot have dropout '0.1'"),
    ("layers", True, "cannot have layers True"),
    ("body", "foot", "body kind 'foot' is not known"),
    ("heads", 7, r"tells of a network that cannot be \(attention width 64 is not divisible by 7 heads\)"),
)
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def folder(recovery: MeshRecovery, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pretrained") / "small"
    assert recovery.save_pretrained(folder) == folder / "model.safetensors"
    return folder


@pytest.fixture
def hub(folder: Path, tmp_path: Path) -> Path:
    """A cache as the hub's own package leaves it behind a download."""
    repository = tmp_path / "cache" / "models--somebody--small-net"
    (repository / "snapshots" / COMMIT).mkdir(parents=True)
    (repository / "snapshots" / COMMIT / "model.safetensors").symlink_to(folder / "model.safetensors")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return tmp_path / "cache"


def test_a_folder_there_and_back(recovery: MeshRecovery, folder: Path) -> None:
    photo = rules.photo(1, 224, 224)
    (expected,) = recovery.predict(photo)
    for name in (folder, str(folder), folder / "model.safetensors"):
        again = MeshRecovery.from_pretrained(name, device="cpu")
        (person,) = again.predict(photo)
        assert np.array_equal(person.vertices, expected.vertices) and np.array_equal(person.camera, expected.camera)
        assert person.checkpoint == str(name) and again.model.config == recovery.model.config
        assert again.model.trained_on == recovery.model.trained_on
    model = tore.load_model(folder, device="cpu")  # the same folder elsewhere
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), recovery.model.parameters(), strict=True))


def test_the_file_tells_everything_in_its_metadata(recovery: MeshRecovery, folder: Path) -> None:
    with safe_open(str(folder / "model.safetensors"), "pt") as archive:
        told = json.loads(archive.metadata()["plain"])
    assert told["config"]["arch"] == "resnet10t" and told["config"]["image_size"] == 224
    assert told["config"]["keypoint_queries"] is False and told["config"]["network"] == "fastmetro"
    assert told["trained_on"] == recovery.body.identity.described()
    card = (folder / "README.md").read_text()
    assert "resnet10t" in card and "synthetic" in card and "library_name: tore" in card


def test_half_the_size_in_16_bits_and_a_card_that_stays(recovery: MeshRecovery, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    file = recovery.save_pretrained(tmp_path, half=True)
    assert file.stat().st_size < 0.6 * (folder / "model.safetensors").stat().st_size
    assert (tmp_path / "README.md").read_text() == "mine"
    again = MeshRecovery.from_pretrained(tmp_path, device="cpu").model
    for one, other in zip(again.parameters(), recovery.model.parameters(), strict=True):
        assert one.dtype == torch.float32 and torch.equal(one, other.half().float())


def test_no_name_is_the_shipped_network() -> None:
    found = MeshRecovery.from_pretrained(device="cpu")
    expected = tore.load_model(default_checkpoint("body"), device="cpu")
    assert found.body.kind == "body" and found.checkpoint == str(default_checkpoint("body"))
    assert all(torch.equal(a, b) for a, b in zip(found.model.parameters(), expected.parameters(), strict=True))
    assert MeshRecovery.from_pretrained(body="hand", device="cpu").body.kind == "hand"


def test_a_repository_in_the_cache(recovery: MeshRecovery, hub: Path) -> None:
    given = {"cache_dir": hub, "local_files_only": True, "device": "cpu"}
    for revision in (None, COMMIT):
        again = MeshRecovery.from_pretrained("somebody/small-net", revision=revision, **given)
        assert again.checkpoint == "somebody/small-net" and again.model.config == recovery.model.config
    with pytest.raises(FileNotFoundError, match=r"somebody/other is no file or folder here.*model\.safetensors is not"):
        MeshRecovery.from_pretrained("somebody/other", **given)
    with pytest.raises(FileNotFoundError, match=r"not in .*: run once where there is a network, or give a folder"):
        MeshRecovery.from_pretrained("somebody/small-net", revision="v2", **given)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("GatedRepoError", "its owner must grant access first"),
        ("RepositoryNotFoundError", "sees no such repository: mend the name, or log in"),
        ("RevisionNotFoundError", "has no revision 'v9': name another one"),
        ("EntryNotFoundError", r"holds no model\.safetensors: give one that MeshRecovery\.push_to_hub wrote"),
    ],
)
def test_what_the_hub_answers_becomes_a_sentence(error: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub import errors

    kind = getattr(errors, error)

    def refuse(*_: object, **__: object) -> str:
        raise kind.__new__(kind)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    with pytest.raises(FileNotFoundError, match=f"somebody/net is no file or folder here, and on the .* hub .*{words}"):
        MeshRecovery.from_pretrained("somebody/net", revision="v9")


def test_names_that_are_paths_never_reach_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "_fetched", lambda *_: pytest.fail("the hub was asked"))
    names = ["out/model.safetensors", "./somebody/net", "a/b/c", "nothing", str(tmp_path / "no"), Path("somebody/net")]
    for name in names:
        with pytest.raises(FileNotFoundError, match="is missing: give a file, a folder, or OWNER/NAME"):
            MeshRecovery.from_pretrained(name)
    with pytest.raises(ValueError, match="is a local path; leave revision, token"):
        MeshRecovery.from_pretrained(tmp_path, revision="main")


def test_folders_that_do_not_say_which_network(folder: Path, recovery: MeshRecovery, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"without a state_dict\.bin or model\.safetensors; .* in it: small"):
        checkpoint_file(folder.parent)
    (tmp_path / "state_dict.bin").touch()
    with pytest.raises(ValueError, match=r"is a training checkpoint: it holds a state_dict\.bin; name another folder"):
        recovery.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ValueError, match=r"holds state_dict\.bin and model\.safetensors: name the file that is meant"):
        tore.load_model(tmp_path)
    with pytest.raises(ValueError, match="recovers a body, not a hand; leave body out"):
        MeshRecovery.from_pretrained(folder, body="hand", device="cpu")


def test_damaged_and_foreign_files(folder: Path, tmp_path: Path) -> None:
    whole, file = (folder / "model.safetensors").read_bytes(), tmp_path / "model.safetensors"
    tensors = load_file(folder / "model.safetensors")
    with safe_open(str(folder / "model.safetensors"), "pt") as archive:
        metadata = archive.metadata()

    def refused(words: str) -> None:
        with pytest.raises(ValueError, match=words) as caught:
            MeshRecovery.from_pretrained(tmp_path, device="cpu")
        assert str(file) in str(caught.value)

    file.write_bytes(whole[: len(whole) // 2])
    refused("is not a safetensors file or is damaged .*get it again")
    flipped = bytearray(whole)
    flipped[-5] ^= 1
    file.write_bytes(flipped)
    refused("do not match its checksum; get the file again")
    save_file({"layer.weight": torch.zeros(2, 2)}, str(file))
    refused("is no checkpoint of FastMETRO or METRO: none of its 1 entries")
    for plain in ("[]", "{", '"text"'):
        save_file(tensors, str(file), {"plain": plain})
        refused("is damaged|holds no flat dictionary")
    for field, value, words in WRONG:
        told = json.loads(metadata["plain"])
        told["config"][field] = value
        save_file(tensors, str(file), {"plain": json.dumps(told)})
        refused(words)
    save_file(tensors, str(file), {"plain": json.dumps({**told, "format": "tore-9"})})
    refused("has the format tore-9 of another version of tore, and this one reads tore-1: install")


def test_pushing_writes_the_file_and_leaves_a_card_alone(
    recovery: MeshRecovery, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    uploaded: list[tuple[str, dict[str, bytes]]] = []

    class Hub:
        def __init__(self, token: str | None, library_name: str) -> None:
            assert (token, library_name) == ("secret", "tore")

        def create_repo(self, repository: str, *, private: bool, exist_ok: bool) -> None:
            if repository == "somebody/locked":
                raise PermissionError("403 Forbidden: no rights")
            assert private and exist_ok

        def file_exists(self, repository: str, name: str, *, revision: str | None) -> bool:
            return repository == "somebody/old"

        def upload_folder(self, *, repo_id: str, folder_path: str, **_: object) -> SimpleNamespace:
            uploaded.append((repo_id, {path.name: path.read_bytes() for path in Path(folder_path).iterdir()}))
            return SimpleNamespace(commit_url="https://hub/commit")

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    for repository, names in (
        ("somebody/new", {"model.safetensors", "README.md"}),
        ("somebody/old", {"model.safetensors"}),
    ):
        assert recovery.push_to_hub(repository, private=True, token="secret") == "https://hub/commit"
        assert uploaded[-1][0] == repository and set(uploaded[-1][1]) == names
        sent, held = load(uploaded[-1][1]["model.safetensors"]), load_file(folder / "model.safetensors")
        assert sent.keys() == held.keys() and all(torch.equal(sent[name], held[name]) for name in held)
    with pytest.raises(
        ConnectionError, match=r"somebody/locked was not written .*\(403 Forbidden: no rights\): log in"
    ):
        recovery.push_to_hub("somebody/locked", private=True, token="secret")
    with pytest.raises(ValueError, match="'net' is no repository of the Hugging Face hub: give OWNER/NAME"):
        recovery.push_to_hub("net")
