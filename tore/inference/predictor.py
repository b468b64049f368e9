"""The Python door: `MeshRecovery.from_checkpoint(path).predict(pictures)`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils._pytree import tree_map_only

from tore.body.body_model import BodyModel
from tore.body.load import load_body
from tore.body.standin import standin_dir
from tore.deploy.fastmetro import FastMETROForm
from tore.deploy.form import for_inference
from tore.deploy.parts import Parts
from tore.geometry.rotations import matrix_to_axis_angle
from tore.inference.crops import Box, Crop, crops_of
from tore.inference.picture import PictureSource, read_picture
from tore.inference.recovery import BodyParameters, Recovery, picture_camera, place
from tore.modeling.backbones import STRIDE
from tore.modeling.checkpoints import load_model
from tore.modeling.fastmetro import FastMETRO
from tore.modeling.prediction import MeshPrediction
from tore.visualize.pinhole import CROP_SIZE

AMP_TYPES = {"cuda": torch.float16, "mps": torch.float16}  # elsewhere bfloat16
BATCH_SIZE = 8
Boxes = Sequence[Box] | np.ndarray


class MeshRecovery:
    """A network and its body model, from pictures to meshes.

    model: in evaluation mode, on its device. body: of the same kind. amp: run the network in half precision where
    that is safe. checkpoint: the name that results carry. For a model that was compiled in place (`model.compile()`),
    which each new size of batch would have compiled anew, a batch is filled up to the largest so far.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        body: BodyModel,
        *,
        amp: bool = False,
        checkpoint: str = "",
    ) -> None:
        self.model = model
        self._largest = 0
        self.device, self.dtype = _place_of(model)
        self.body = body.to(self.device)
        self.amp, self.checkpoint = amp, checkpoint
        self.faces: np.ndarray = body.faces.cpu().numpy()  # (F, 3)

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        data_dir: str | Path | None = None,
        device: str | torch.device = "auto",
        *,
        amp: bool = False,
        fast: bool = False,
        compiled: bool = False,
        arch: str | None = None,
    ) -> MeshRecovery:
        """Reads a published or own checkpoint; network, backbone and body are worked out from it.

        data_dir: folder of the body model files; None means the usual one, or the stand-in's own for a network that
        was trained on it. fast: run the network's inference form (`tore.deploy`), the same to rounding; it pays for
        many pictures. compiled: and have torch's compiler write its code, which pays for thousands of them one
        by one: the first pass takes minutes. Half precision runs the plain network. arch: the backbone's name, where
        the file does not tell it. Raises FileNotFoundError and ValueError with the file to mend.
        """
        model = load_model(path, data_dir, device, **({"arch": arch} if arch else {}))
        if data_dir is None and model.config.stand_in:
            data_dir = standin_dir()
        body = load_body(model.config.body, data_dir)
        network: torch.nn.Module = model
        if (fast or compiled) and not amp:
            network = for_inference(model, Parts(compiled=compiled))
        return cls(network, body, amp=amp, checkpoint=str(path))

    @property
    def one_size(self) -> bool:
        """Whether batches are filled up."""
        return self.model._compiled_call_impl is not None

    @property
    def prunes_tokens(self) -> bool:
        """Whether the network keeps some image tokens and says where they looked."""
        return isinstance(self.model, FastMETRO | FastMETROForm) and self.model.config.kept_tokens is not None

    @property
    def regresses_parameters(self) -> bool:
        """Whether the network has the SMPL parameter regressor."""
        return getattr(self.model, "smpl_regressor", None) is not None

    def predict(
        self,
        pictures: PictureSource | Iterable[PictureSource],
        boxes: Boxes | Sequence[Boxes | None] | None = None,
        *,
        focal_length: float | None = None,
        batch_size: int = BATCH_SIZE,
        left: bool = False,
    ) -> list[Recovery]:
        """The people of one picture or of many, in order: one per picture, or one per box.

        pictures: what `tore.inference.picture.read_picture` takes, or any number of these; arrays (B, H, W, 3) and
        tensors (B, 3, H, W) are many. boxes: for one picture a list of (x, y, width, height) in its pixels; for many
        pictures a list of such lists, None where the middle of the picture is meant. focal_length: of the pictures'
        camera, in pixels, where it is known. left: all are left hands; the network, which knows right ones, is shown
        their mirror images.

        Raises FileNotFoundError or ValueError naming the picture that cannot be read.
        """
        if batch_size < 1:
            raise ValueError(f"batch size {batch_size}: give 1 or more")
        found: list[Recovery] = []
        waiting: list[Crop] = []
        for index, (source, chosen) in enumerate(_paired(pictures, boxes)):
            name = str(source) if isinstance(source, (str, Path)) else f"picture {index + 1}"
            waiting += crops_of(read_picture(source, name), chosen, name, left)
            while len(waiting) >= batch_size:
                found += self.recover(waiting[:batch_size], focal_length=focal_length)
                waiting = waiting[batch_size:]
        return found + self.recover(waiting, focal_length=focal_length)

    @torch.inference_mode()
    def recover(self, crops: Sequence[Crop], *, focal_length: float | None = None) -> list[Recovery]:
        """One forward pass over the crops of `tore.inference.crops`: a result for each."""
        if not crops:
            return []
        if self.body.kind != "hand" and any(crop.left for crop in crops):
            raise ValueError(f"{self.checkpoint or 'this network'} recovers people, who have no left or right")
        images = torch.stack([crop.image for crop in crops]).to(self.device, self.dtype)  # (B,3,n,n)
        with self._precision():
            prediction = self._predict(images)
        prediction = mirrored_back(prediction, [crop.left for crop in crops])
        vertices = prediction.vertices.float()
        mesh_joints = _numpy(self.body.regress_joints(vertices))
        cameras, joints = _numpy(prediction.camera), _numpy(prediction.joints)
        heatmaps = None if prediction.heatmap is None else _numpy(prediction.heatmap)
        views = [picture_camera(crop.picture_size, focal_length) for crop in crops]
        translations, meshes = place(cameras, list(crops), views), _numpy(vertices)
        parameters = self._parameters(prediction, vertices, translations)
        return [
            Recovery(
                kind=self.body.kind,
                crop=crop,
                camera=cameras[i],
                joints=joints[i],
                mesh_joints=mesh_joints[i],
                vertices=meshes[i],
                heatmap=None if heatmaps is None else heatmaps[i],
                picture_camera=views[i],
                translation=translations[i],
                checkpoint=self.checkpoint,
                parameters=parameters[i],
            )
            for i, crop in enumerate(crops)
        ]

    def _predict(self, images: torch.Tensor) -> MeshPrediction:
        """images (B, 3, n, n), which are repeated where the batch is to be filled up."""
        if not self.one_size:
            return self.model(images)
        wanted = len(images)
        self._largest = max(self._largest, wanted)
        filled = images[torch.arange(self._largest, device=images.device) % wanted]
        return tree_map_only(torch.Tensor, lambda value: value[:wanted], self.model(filled))

    def _parameters(
        self, prediction: MeshPrediction, vertices: torch.Tensor, translations: np.ndarray
    ) -> list[BodyParameters | None]:
        """The regressed body of each mesh (B, V, 3) and of its translation (B, 3), None without the regressor."""
        if prediction.rotations is None or prediction.betas is None:
            return [None] * len(vertices)
        rotations, betas = prediction.rotations.float(), prediction.betas.float()
        offset = self.body.root(vertices) - self.body.root(self.body(rotations, betas))  # (B, 1, 3)
        moved = translations + _numpy(offset.squeeze(1))
        poses = _numpy(matrix_to_axis_angle(rotations).flatten(1))  # (B, 72)
        return [BodyParameters(*parts) for parts in zip(poses, _numpy(betas), moved, strict=True)]

    def _precision(self) -> AbstractContextManager:
        if not self.amp:
            return nullcontext()
        return torch.autocast(self.device.type, AMP_TYPES.get(self.device.type, torch.bfloat16))


def mirrored_back(prediction: MeshPrediction, which: list[bool]) -> MeshPrediction:
    """Predictions from mirrored pictures as those of the pictures, for the samples that `which` says."""
    if not any(which):
        return prediction
    mirrored = torch.tensor(which, device=prediction.camera.device)
    sign = 1 - 2 * mirrored.to(prediction.camera.dtype)
    axes = torch.stack([sign, torch.ones_like(sign), torch.ones_like(sign)], 1)  # (B, 3)
    changed = {
        "camera": prediction.camera * axes.roll(1, 1),  # scale, tx, ty
        "joints": prediction.joints * axes[:, None],
        "vertices_coarse": prediction.vertices_coarse * axes[:, None],
        "vertices": prediction.vertices * axes[:, None],
    }
    if prediction.heatmap is not None:
        width = CROP_SIZE // STRIDE
        turned = prediction.heatmap.unflatten(2, (-1, width)).flip(3).flatten(2)  # (B, M, h*w)
        changed["heatmap"] = torch.where(mirrored[:, None, None], turned, prediction.heatmap)
    return prediction._replace(**changed)


def as_boxes(values: Any) -> list[Box]:
    """(N, 4) or one (4,) as a list of (x, y, width, height). ValueError for another shape."""
    try:
        table = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"boxes are lists of four numbers x, y, width, height, not {values!r}") from None
    table = table[None] if table.ndim == 1 and len(table) else table
    if table.ndim != 2 or table.shape[1] != 4 or not len(table):
        raise ValueError(f"boxes have shape {table.shape}; give (N, 4): x, y, width, height in pixels")
    return [(float(x), float(y), float(width), float(height)) for x, y, width, height in table]


def _paired(pictures: Any, boxes: Any) -> list[tuple[PictureSource, list[Box] | None]]:
    """Every picture with its boxes, None for its middle."""
    many = _as_many(pictures)
    if many is None:
        return [(pictures, None if boxes is None else as_boxes(boxes))]
    sources = list(many)
    if boxes is None:
        return [(source, None) for source in sources]
    if len(boxes) != len(sources):
        raise ValueError(f"{len(boxes)} lists of boxes for {len(sources)} pictures; give one for each, or None")
    chosen = [None if some is None else as_boxes(some) for some in boxes]
    return list(zip(sources, chosen, strict=True))


def _as_many(pictures: PictureSource | Iterable[PictureSource]) -> Iterable[PictureSource] | None:
    """The pictures one by one, or None where it is a single one."""
    if isinstance(pictures, (np.ndarray, torch.Tensor)):
        return pictures if pictures.ndim == 4 else None
    if isinstance(pictures, (str, Path, Image.Image)) or not isinstance(pictures, Iterable):
        return None
    return pictures


def _numpy(values: torch.Tensor) -> np.ndarray:
    return values.float().cpu().numpy()


def _place_of(model: torch.nn.Module) -> tuple[torch.device, torch.dtype]:
    parameter = next(model.parameters())
    return parameter.device, parameter.dtype
