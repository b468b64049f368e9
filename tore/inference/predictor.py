"""From images to recovered people: `MeshRecovery`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils._pytree import tree_map_only

from tore.body.body_model import BodyModel, load_body
from tore.device import place_of
from tore.export.loading import ExportedNetwork, load_network
from tore.inference.finding import Finding
from tore.inference.images import ImageSource, read_photograph
from tore.inference.pairing import Asked, paired
from tore.inference.parameters import FITTED, REFINED, REGRESSED, fitted, regressed
from tore.inference.pretrained import Pretrained
from tore.inference.refinement import STAYED, Refiner, crop_keypoints
from tore.modeling.checkpoint_contents import unwrapped
from tore.modeling.checkpoints import Checkpoint
from tore.modeling.evaluation_mode import evaluating
from tore.modeling.heads import MeshPrediction
from tore.modeling.recorded_body import body_dir_for, check_body
from tore.paths import renamed_argument, takes_data_dir
from tore_runtime.crops import PersonCrop, Place, check_crops, crops_of
from tore_runtime.detector import Detector
from tore_runtime.focal_length import FocalChoice
from tore_runtime.frames import Prediction
from tore_runtime.image_files import ValueRange, check_reading
from tore_runtime.pipeline import BATCH_SIZE
from tore_runtime.record import is_export
from tore_runtime.result import Recovery, in_axes_of_images, placements, recoveries

AMP_TYPES = {"cuda": torch.float16, "mps": torch.float16}  # elsewhere bfloat16
Boxes = Sequence[Place] | np.ndarray | torch.Tensor


class MeshRecovery(Pretrained, Finding):
    """A network and its body model, from images to meshes.

    model: on any device and of any dtype, which are read at each call; it runs in evaluation mode, and each of its
    modules is afterwards in the mode in which it was. body: the one that it was trained on, ValueError for another.
    amp: run the network in half precision where that is safe; an autocast around the call changes nothing. checkpoint:
    the name that results carry. detector: finds people where `predict` is told neither boxes nor a detector; None takes
    the center of each image, and it may be set at any time. For a model that was compiled in place (`model.compile()`),
    which each new size of batch would have compiled anew, a batch is filled up to the largest so far. Threads may share
    one, as long as none of them trains the network meanwhile.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        body: BodyModel,
        *,
        amp: bool = False,
        checkpoint: str = "",
        detector: Detector | None = None,
    ) -> None:
        check_body(model, body, checkpoint or "the network")
        self.model = model
        self._largest = 0
        self._refiner: Refiner | None = None
        self.body = body
        self.amp, self.checkpoint, self.detector = amp, checkpoint, detector
        self.faces: np.ndarray = body.faces.cpu().numpy()  # (F, 3)

    def __repr__(self) -> str:
        network = f"{type(self.model).__name__} on {self.device}, {self.dtype}"
        return f"MeshRecovery({self.checkpoint or 'no file'!r}, {self.body.kind}, {network})"

    @property
    def dtype(self) -> torch.dtype:
        """Which numbers it has now."""
        return place_of(self.model)[1]

    @classmethod
    @takes_data_dir
    def from_checkpoint(
        cls,
        path: str | Path | Checkpoint,
        body_dir: str | Path | None = None,
        device: str | torch.device = "auto",
        *,
        amp: bool = False,
        fast: bool = False,
        runtime: str | None = None,
        arch: str | None = None,
        tell: Callable[[str], object] = lambda text: None,
    ) -> MeshRecovery:
        """Reads an official or own checkpoint or an export, or takes one that was read; all else is worked out from it.

        path: the checkpoint file or its folder, or the folder of an export. body_dir: folder of the body model files,
        or "synthetic"; None means the synthetic one where the file records it, else the usual one. fast: run the
        checkpoint's export on a CPU, which is made on first use, and the optimized graph elsewhere. runtime: that runs
        an export, "openvino" (the usual one) or "onnxruntime". amp: an export computes in bfloat16, which OpenVINO
        does. arch: the backbone's name, where the file does not tell it. tell: is handed a line where an export is
        made. Raises FileNotFoundError and ValueError with the file to mend.
        """
        exported = fast or (not isinstance(path, Checkpoint) and is_export(path))
        options: dict[str, Any] = {"fast": fast, "half": amp and exported, "runtime": runtime, "tell": tell}
        options |= {"arch": arch} if arch else {}
        network: Any = load_network(path, body_dir, device, **options)
        body = load_body(network.config.body, body_dir_for(network.trained_on, body_dir))
        name = str(path.path if isinstance(path, Checkpoint) else path)
        recovery = cls(network, body, amp=amp and not exported, checkpoint=name)
        recovery.placer_options = {"fast": fast, "runtime": runtime, "tell": tell}
        return recovery

    @property
    def one_size(self) -> bool:
        """Whether batches are filled up."""
        return self.model._compiled_call_impl is not None

    @property
    def prunes_tokens(self) -> bool:
        """Whether the network keeps some image tokens and says where they looked."""
        lacking = isinstance(self.model, ExportedNetwork) and "heatmap" not in self.model.record.outputs
        return getattr(self.config, "kept_tokens", None) is not None and not lacking

    @property
    def regresses_parameters(self) -> bool:
        """Whether the network has the SMPL parameter regressor."""
        if isinstance(self.model, ExportedNetwork):
            return "rotations" in self.model.record.outputs
        return getattr(unwrapped(self.model), "smpl_regressor", None) is not None

    @property
    def _keypoint_queries(self) -> bool:
        """Whether the network's camera is a fit to the keypoints of its backbone."""
        return bool(getattr(self.config, "keypoint_queries", False))

    @property
    def usual_batch(self) -> int:
        """A size of batch that keeps the network busy."""
        return max(BATCH_SIZE, self.model.usual_batch if isinstance(self.model, ExportedNetwork) else 0)

    @renamed_argument("pictures", "images")
    def predict(
        self,
        images: ImageSource | Iterable[ImageSource] | Mapping[str | Path, Boxes | None],
        boxes: Boxes | Iterable[Boxes | None] | Mapping[str, Boxes | None] | None = None,
        *,
        detector: Detector | None = None,
        focal_length: float | str | None = None,
        fov: float | None = None,
        batch_size: int = BATCH_SIZE,
        left: Any = None,
        value_range: ValueRange | None = None,
        channel_order: str = "rgb",
        keep_crop: bool = True,
        refine: bool = False,
        fit: bool = False,
    ) -> list[Recovery]:
        """The people of one image or of many, in order: one per image, per box, or per person found.

        images: one image or any iterable of them; arrays (B, H, W, 3) and tensors (B, 3, H, W) are many; a dictionary
        from paths to boxes is both. An image is a path, an image file's bytes, a file open in binary mode, a Pillow
        image, an array (H, W), (H, W, 1 | 3 | 4) or a tensor (H, W), (1 | 3 | 4, H, W), on any device.
        boxes: for one image a list of (x, y, width, height) in its pixels, or of `Crop`s, which may be rotated; for
        many an iterable of such lists, None where they are not known and [] for nobody, or a dictionary by path,
        file name or stem. A network on MoveNet is shown people in boxes rotated where their keypoints are surer that
        way, unless `turns_people` is set to False; all others are shown them upright.
        detector: of `tore.detection`; finds people, or for a network of hands their hands, where no boxes are given.
        Without it `self.detector` does, which `from_pretrained` sets for networks on a pose network; where that is None
        too, the center of the image is taken.
        focal_length: of the images' camera, in pixels, or "official" for 1000 at 224; fov: in its place the field of
        view in degrees over the longer side. Without both it is taken from an image's EXIF entries, else its diagonal.
        left: which are left hands: one flag for all, or one (or one for each person) per image, in order or by name.
        The network, which knows right hands, is shown their mirror images. Without it, a network that sees upright
        hands finds it out, and any other takes them for right ones.
        channel_order: of arrays and tensors, "rgb" unless it is said: "bgr" for what `cv2.imread` gives.
        value_range: the numbers that are black and white in arrays and tensors. Without it whole numbers count from 0
        to 255 whatever their dtype, floats from 0 to 1 or, where they go beyond 16, to 255; `tore_runtime.image_files`
        has the rule, and what it cannot tell is refused.
        keep_crop: False lets go of what each crop showed (0.75 MB a person); drawing over it then raises ValueError.
        refine: moves each person toward the keypoints that MoveNet finds in the crop (`tore.inference.refinement`);
        `Recovery.refinement` says what became of it.
        fit: fit pose, shape and place of the body model to each mesh (`Recovery.parameters`), also where the network
        regresses them.

        Raises FileNotFoundError or ValueError naming the image that cannot be read: its path, or its number from 1.
        """
        return list(
            self.iter_predict(
                images,
                boxes,
                detector=detector,
                focal_length=focal_length,
                fov=fov,
                batch_size=batch_size,
                left=left,
                value_range=value_range,
                channel_order=channel_order,
                keep_crop=keep_crop,
                refine=refine,
                fit=fit,
            )
        )

    @renamed_argument("pictures", "images")
    def iter_predict(
        self,
        images: ImageSource | Iterable[ImageSource] | Mapping[str | Path, Boxes | None],
        boxes: Boxes | Iterable[Boxes | None] | Mapping[str, Boxes | None] | None = None,
        *,
        detector: Detector | None = None,
        focal_length: float | str | None = None,
        fov: float | None = None,
        batch_size: int = BATCH_SIZE,
        left: Any = None,
        value_range: ValueRange | None = None,
        channel_order: str = "rgb",
        keep_crop: bool = True,
        refine: bool = False,
        fit: bool = False,
    ) -> Iterator[Recovery]:
        """The results of `predict` one by one: no more images are read ahead than a batch takes.

        Arguments that cannot be are told by the call itself. Where an image fails, the results of those before it come
        first.
        """
        if not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
            raise ValueError(f"batch size {batch_size!r}: give 1 or more")
        choice = FocalChoice(focal_length, fov)
        check_reading(value_range, channel_order)
        if refine:
            self.refiner()
        finder = self.detector if detector is None else detector

        def crops(asked: Asked) -> list[PersonCrop]:
            pixels, lens = read_photograph(
                asked.source, asked.name, value_range=value_range, channel_order=channel_order
            )
            places = asked.boxes
            if places is None and finder is not None:
                places = list(self.find(finder, pixels))
            places, sides = self.upright(pixels, places, None if left is None else asked.left)
            return crops_of(pixels, places, asked.name, sides, self.image_format, lens=lens)

        asked = paired(images, boxes, False if left is None else left)
        found = self._batches(map(crops, asked), int(batch_size), choice, fit, refine)
        return found if keep_crop else (replace(person, crop=person.crop.without_pixels()) for person in found)

    def _batches(
        self, crops: Iterator[list[PersonCrop]], batch_size: int, choice: FocalChoice, fit: bool, refine: bool
    ) -> Iterator[Recovery]:
        """A pass whenever as many crops wait as a batch takes, and one for the rest, also before an error."""
        waiting: list[PersonCrop] = []
        failure: Exception | None = None
        options: dict[str, Any] = {"focal_length": choice.focal_length, "fov": choice.fov, "fit": fit, "refine": refine}
        while True:
            try:
                waiting += next(crops)
            except StopIteration:
                break
            except Exception as error:
                failure = error
                break
            while len(waiting) >= batch_size:
                yield from self.recover(waiting[:batch_size], **options)
                waiting = waiting[batch_size:]
        yield from self.recover(waiting, **options)
        if failure is not None:
            raise failure

    @torch.inference_mode()
    def recover(
        self,
        crops: Sequence[PersonCrop],
        *,
        focal_length: float | str | None = None,
        fov: float | None = None,
        refine: bool = False,
        fit: bool = False,
    ) -> list[Recovery]:
        """One forward pass over the crops of `tore_runtime.crops`: a result for each; `fit` and `refine` as for
        `predict`."""
        choice = FocalChoice(focal_length, fov)
        if not crops:
            return []
        check_crops(crops, self.body.kind, self.image_format, self.checkpoint)
        device, dtype = place_of(self.model)
        if device.type == "meta":
            raise ValueError(f"{self.checkpoint or 'this network'} is on the meta device, which holds no numbers")
        if dtype == torch.bfloat16 and self._keypoint_queries:
            raise ValueError(
                f"{self.checkpoint or 'this network'} takes keypoints from its backbone, which bfloat16 moves so that "
                "meshes are off by centimeters; use float32 or float16 numbers, or amp=True"
            )
        images = torch.from_numpy(np.stack([crop.image for crop in crops])).to(device, dtype)  # (B,3,n,n)
        with torch.autocast(device.type, enabled=False):
            with evaluating(self.model), self._precision(device):
                prediction = self._predict(images)
            keypoints = self._keypoints(images, prediction) if refine else None
            if device.type == "mps":  # has no float64, in which bodies are fitted and refined
                prediction, keypoints = tree_map_only(torch.Tensor, torch.Tensor.cpu, (prediction, keypoints))
            body = self._body_on(prediction.vertices.device)
            return self._recoveries(crops, prediction, body, choice, keypoints, fit)

    def _keypoints(self, images: torch.Tensor, prediction: MeshPrediction) -> torch.Tensor:
        """(B, 17, 3) that MoveNet finds in the crops; where it is the backbone, it does not see them twice."""
        known = prediction.keypoints
        if known is not None and getattr(self.config, "frozen_backbone", False):
            return known  # others moved with their backbone's weights
        return crop_keypoints(images, self.image_format)

    def refiner(self) -> Refiner:
        """What moves people of this body model toward keypoints. ValueError for hands."""
        if self._refiner is None or self._refiner.body is not self.body:
            self._refiner = Refiner(self.body)
        return self._refiner

    def _recoveries(
        self,
        crops: Sequence[PersonCrop],
        prediction: MeshPrediction,
        body: BodyModel,
        choice: FocalChoice,
        keypoints: torch.Tensor | None,
        fit: bool,
    ) -> list[Recovery]:
        """What the network said, in the frames of the crops' images; with keypoints of the crops, refined."""
        rotations, notes = [crop.region.rotation for crop in crops], [""] * len(crops)
        sources = [REGRESSED] * len(crops)
        said = Prediction(*(_numpy(getattr(prediction, name)) for name in Prediction._fields))
        said = in_axes_of_images(said, crops)
        prediction = _with(prediction, said)
        if keypoints is not None:
            own = FITTED if prediction.rotations is None else REGRESSED
            prediction, notes = self.refiner().of_crops(prediction, keypoints, rotations)
            sources = [own if text.startswith(STAYED) else REFINED for text in notes]
            said = Prediction(*(_numpy(getattr(prediction, name)) for name in Prediction._fields))
        vertices, mesh_joints = prediction.vertices, _numpy(body.regress_joints(prediction.vertices))
        by_keypoints = [self._keypoint_queries or source == REFINED for source in sources]
        places = placements(said.camera, said.vertices, crops, choice, by_keypoints=by_keypoints)
        translations = np.stack([place.translation for place in places])
        if fit:
            parameters = fitted(body, vertices, translations, [crop.left for crop in crops])
        else:
            parameters = regressed(body, prediction, vertices, translations, sources)
        return recoveries(self.body.kind, crops, said, mesh_joints, places, self.checkpoint, parameters, notes)

    def _predict(self, images: torch.Tensor) -> MeshPrediction:
        """images (B, 3, n, n), which are repeated where the batch is to be filled up."""
        if not self.one_size:
            return self.model(images)
        wanted = len(images)
        self._largest = max(self._largest, wanted)
        filled = images[torch.arange(self._largest, device=images.device) % wanted]
        return tree_map_only(torch.Tensor, lambda value: value[:wanted], self.model(filled))

    def _body_on(self, device: torch.device) -> BodyModel:
        """The body beside the network; the caller's own stays where it is."""
        if self.body.faces.device != device:
            self.body = copy.deepcopy(self.body).to(device)
        return self.body

    def _precision(self, device: torch.device) -> AbstractContextManager:
        if not self.amp:
            return nullcontext()
        return torch.autocast(device.type, AMP_TYPES.get(device.type, torch.bfloat16))


def _numpy(values: Any) -> Any:
    """A tensor as float32 numbers; None as it is."""
    return None if values is None else values.float().cpu().numpy()


def _with(prediction: MeshPrediction, said: Prediction) -> MeshPrediction:
    """A prediction with other numbers, on its device; the coarser meshes stay along the axes of the crops."""
    device = prediction.camera.device
    numbers = {name: values for name, values in said._asdict().items() if values is not None}
    return prediction._replace(**{name: torch.from_numpy(values).to(device) for name, values in numbers.items()})
