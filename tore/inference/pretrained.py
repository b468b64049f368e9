"""Networks as folders and as repositories of the Hugging Face hub: where they are read from and written to.

Both hold `model.safetensors`, a file of `tore.save_model` that tells all of its network, and a README.md that says how
to load it. `load_model`, `MeshRecovery.from_checkpoint` and the commands' --checkpoint take such a folder, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from torch import nn

from tore import __version__
from tore.files import check_output_folder, write_whole
from tore.modeling.build import ModelConfig, reduction_of
from tore.modeling.checkpoint_contents import FILE_NAME, PRETRAINED_NAME
from tore.modeling.checkpoints import network_in, save_model
from tore.paths import MADE_BODIES, default_checkpoint

if TYPE_CHECKING:
    from typing import Self  # of Python 3.11

CARD_NAME = "README.md"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)
FILE_ENDINGS = (".bin", ".pt", ".pth", ".ckpt", ".safetensors")
CARD = """\
---
library_name: tore
pipeline_tag: image-to-3d
tags:
- human-mesh-recovery
---

# {title}

| | |
|---|---|
| network | {network} |
| backbone | {arch} |
| token reduction | {reduction} |
| image | {image} |
| body model | {body} |

```python
import tore

people = tore.MeshRecovery.from_pretrained("OWNER/NAME"{body_dir}).predict("photo.jpg")
```

What it was trained on, how well it does and its license are not known to the program that wrote this page: add them.
"""


class Pretrained:
    """What `MeshRecovery` has to read and write networks by name."""

    model: Any
    body: Any
    checkpoint: str
    from_checkpoint: Any
    own_detector: Any
    detector: Any

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path | None = None,
        *,
        body: str | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        **options: Any,
    ) -> Self:
        """The network that ships, or one of a folder, a file or the Hugging Face hub: `from_pretrained("OWNER/NAME")`.

        name: None is the shipped network of `body`, "body" (where none is given) or "hand". A text of the form
        OWNER/NAME that is no local path is a repository of the hub, whose `model.safetensors` is downloaded once.
        body: what the named network must recover. revision (branch, tag or commit), token, cache_dir and
        local_files_only (take nothing that is not in the cache) are the hub's. options: of `from_checkpoint`.

        A network on the features of a pose network, as those that ship are, gets the detector that belongs to it
        (`own_detector`): `predict("photo.jpg")` finds the people, or the hands, of a photograph. Any other network has
        none and takes the center of the image, as after `from_checkpoint`.

        Raises FileNotFoundError where there is no such network, ValueError for a file that is none and another body.
        """
        file = pretrained_file(name, body or "body", HubOptions(revision, token, cache_dir, local_files_only))
        recovery: Self = cls.from_checkpoint(file, **options)
        if body not in (None, recovery.body.kind):
            raise ValueError(f"{name or file} recovers a {recovery.body.kind}, not a {body}; leave body out")
        recovery.checkpoint = str(name or file)
        finding = {key: options[key] for key in ("fast", "runtime", "tell") if key in options}
        recovery.detector = recovery.own_detector(**finding)
        return recovery

    def save_pretrained(self, folder: str | Path, *, half: bool = False, leave_out_backbone: bool = False) -> Path:
        """Writes the network as `folder/model.safetensors`, which `from_pretrained(folder)` reads, and a README.md.

        The folder is made when missing; a README.md that is there stays. half: learned numbers in 16 bits.
        leave_out_backbone: see `tore.save_model`. Returns the file's path.

        Raises ValueError for an optimized model (fast) and what else `tore.save_model` refuses, and for the folder of a
        training checkpoint; OutputError where nothing can be written.
        """
        folder = Path(folder)
        check_output_folder(folder)
        if (folder / FILE_NAME).exists():
            raise ValueError(f"{folder} is a training checkpoint: it holds a {FILE_NAME}; name another folder")
        save_model(self.model, folder / PRETRAINED_NAME, half, leave_out_backbone)
        if not (folder / CARD_NAME).exists():
            write_whole(folder / CARD_NAME, card_of(self.model))
        return folder / PRETRAINED_NAME

    def push_to_hub(
        self,
        repository: str,
        *,
        half: bool = False,
        leave_out_backbone: bool = False,
        private: bool | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
    ) -> str:
        """Writes the same into a repository OWNER/NAME of the Hugging Face hub, which is made when missing.

        private: of a repository that is made. revision: the branch. A README.md that is there stays. Returns the
        commit's address. Raises ConnectionError, saying why, where the hub refuses or is not reached.
        """
        from huggingface_hub import HfApi

        if not is_hub_id(repository):
            raise ValueError(f"{repository!r} is no repository of the Hugging Face hub: give OWNER/NAME")
        with TemporaryDirectory() as folder:
            self.save_pretrained(folder, half=half, leave_out_backbone=leave_out_backbone)
            with _telling(repository):
                api = HfApi(token=token, library_name="tore")
                api.create_repo(repository, private=private, exist_ok=True)
                if api.file_exists(repository, CARD_NAME, revision=revision):
                    Path(folder, CARD_NAME).unlink()
                message = f"A network of tore {__version__}"
                commit = api.upload_folder(
                    repo_id=repository, folder_path=folder, commit_message=message, revision=revision
                )
        return str(commit.commit_url)


@dataclass(frozen=True)
class HubOptions:
    """How a repository is reached.

    revision: branch, tag or commit. token: of the hub, None for the one that `hf auth login` left. cache_dir: where
    downloads are kept, None for the hub's own folder. local_files_only: take nothing that is not there yet.
    """

    revision: str | None = None
    token: str | bool | None = None
    cache_dir: str | Path | None = None
    local_files_only: bool = False


def pretrained_file(name: str | Path | None, kind: str, hub: HubOptions) -> Path:
    """The file of a network: that which ships for a body `kind` where no name is given, a local one, or the hub's.

    name: a file, a folder, or OWNER/NAME on the hub where no file or folder is called so.

    Raises FileNotFoundError where there is none, saying why.
    """
    if name is None:
        return default_checkpoint(kind)
    path = Path(name).expanduser()
    if path.exists() or isinstance(name, Path) or not is_hub_id(name):
        if hub != HubOptions():
            raise ValueError(f"{name} is a local path; leave revision, token, cache_dir and local_files_only out")
        if not path.exists():
            raise FileNotFoundError(f"{name} is missing: give a file, a folder, or OWNER/NAME of the Hugging Face hub")
        return path
    return _fetched(name, hub)


def is_hub_id(name: str) -> bool:
    """Whether a text has the form OWNER/NAME, and is not plainly the path of a file."""
    return HUB_ID.fullmatch(name) is not None and not name.endswith(FILE_ENDINGS)


def _fetched(repository: str, hub: HubOptions) -> Path:
    """The repository's file in the cache, downloaded where it is not there yet."""
    from huggingface_hub import errors, hf_hub_download  # timm brings it

    also = f"{repository} is no file or folder here, and on the Hugging Face hub"
    try:
        return Path(hf_hub_download(repository, PRETRAINED_NAME, library_name="tore", **vars(hub)))
    except errors.GatedRepoError:
        reason = "its owner must grant access first: ask there, then log in with `hf auth login`"
    except errors.RepositoryNotFoundError:
        reason = "this user sees no such repository: mend the name, or log in with `hf auth login`"
    except errors.RevisionNotFoundError:
        reason = f"it has no revision {hub.revision!r}: name another one"
    except errors.LocalEntryNotFoundError as error:
        place = hub.cache_dir or "the hub's cache"
        why = "" if hub.local_files_only else f" and cannot be downloaded ({_first_line(error)})"
        reason = f"{PRETRAINED_NAME} is not in {place}{why}: run once where there is a network, or give a folder"
    except errors.EntryNotFoundError:
        reason = f"it holds no {PRETRAINED_NAME}: give one that MeshRecovery.push_to_hub wrote"
    except Exception as error:  # whatever a download raises
        reason = f"it cannot be read ({_first_line(error)})"
    raise FileNotFoundError(f"{also} {reason}")


def _first_line(error: Exception) -> str:
    cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
    return (str(cause).strip() or type(cause).__name__).splitlines()[0].rstrip(".")


def card_of(model: nn.Module) -> str:
    """The README.md of a network: what its configuration says, and how to load it."""
    network = network_in(model)
    config: ModelConfig = network.config
    body = network.trained_on
    made = body is not None and body.name in MADE_BODIES
    kind = type(network).__name__
    keypoints = ", keypoints in its queries" if getattr(config, "keypoint_queries", False) else ""
    return CARD.format(
        title=f"{kind} for {'hands' if config.body == 'hand' else 'bodies'}, {config.arch}",
        network=kind + keypoints,
        arch=config.arch + (" (frozen)" if config.frozen_backbone else ""),
        reduction=reduction_of(config),
        image=f"{config.image_size} x {config.image_size}, mean {config.image_mean}, deviation {config.image_std}",
        body=body if made or body is None else f"{body}, whose files are not part of this repository",
        body_dir="" if made else ", body_dir=FOLDER_OF_THE_BODY_MODEL",
    )


@contextmanager
def _telling(repository: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # whatever an upload raises
        raise ConnectionError(
            f"{repository} was not written to the Hugging Face hub ({_first_line(error)}): log in with `hf auth "
            "login` as a user who may write there, or give token=..."
        ) from error
