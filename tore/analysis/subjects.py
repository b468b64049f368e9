"""What a benchmark compares: networks by name or checkpoint, with their costs, forms and errors."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tore.analysis.cost import Cost, measure_cost, topology_at_hand
from tore.body.body_model import load_body
from tore.body.topology import Topology
from tore.datasets.mesh_dataset import MeshDataset
from tore.engine.distributed import Processes
from tore.evaluation.protocol import PAPER_HUMAN36M, PaperRow
from tore.export.loading import exported_copy, load_network, recorded_network
from tore.files import read_json
from tore.modeling import create_model
from tore.modeling.build import CONFIGS, FastMETROConfig, ModelConfig, build_model, reduction_of
from tore.modeling.model_names import SIZES, list_models, named_options
from tore.modeling.recorded_body import body_dir_for
from tore.paths import body_dir_at_hand
from tore.training.build import Network
from tore.training.evaluate import Evaluation
from tore.training.evaluation_report import row_of
from tore_runtime.record import is_export

SIZE_NAMES = {layers: name for name, layers in SIZES.items()}
# The network as it is, or its export: (runtime, precision).
FORMS: dict[str, tuple[str, str] | None] = {
    "plain": None,
    "openvino": ("openvino", "float32"),
    "openvino-bf16": ("openvino", "bfloat16"),
    "onnxruntime": ("onnxruntime", "float32"),
}
FAST = "openvino"
BASELINES = ("fastmetro", "fastmetro,token_reduction=none", "metro", "metro,token_reduction=none")


@dataclass(frozen=True)
class Request:
    """A subject as it was requested."""

    network: str | None  # None for a checkpoint
    file: Path | None
    options: dict[str, Any] = field(default_factory=dict)  # of `create_model`, or of `load_model` for a file
    label: str | None = None
    pa_mpjpe: float | None = None
    form: str = "plain"  # of FORMS


def parse_subject(text: str) -> Request:
    """Reads a subject's text. ValueError where it names an option that does not exist or a value that cannot be."""
    whole = Path(text).exists()
    first, *rest = [text] if whole else text.split(",")
    options: dict[str, Any] = {}
    for part in rest:
        name, sign, value = part.partition("=")
        if not sign or not value:
            raise ValueError(f"subject {text!r}: {part!r} is no option; write name=value, such as keep_ratio=0.8")
        options[name] = value if name in ("label", "pa_mpjpe") else _value(value)
    label, accuracy = options.pop("label", None), options.pop("pa_mpjpe", None)
    pa_mpjpe = _accuracy(accuracy, text) if accuracy is not None else None
    if first in list_models():
        named = named_options(first)
        first = named.pop("network")
        if twice := sorted(set(named) & set(options)):
            raise ValueError(f"subject {text!r}: the name says {', '.join(twice)} already; leave the option out")
        options = {**named, **options}
    if first in CONFIGS:
        known = _create_options()
        if unknown := sorted(set(options) - known):
            raise ValueError(f"subject {text!r}: no option {', '.join(unknown)}; use {', '.join(sorted(known))}")
        return Request(first, None, options, label, pa_mpjpe)
    if not Path(first).exists():
        raise FileNotFoundError(f"subject {text!r}: {first} is neither a checkpoint file nor {' nor '.join(CONFIGS)}")
    return Request(None, Path(first), options, label, pa_mpjpe)


def paper_requests() -> list[Request]:
    """The paper's rows; where only geometry tokens are reduced, ITP keeps every token, as the official code does."""
    return [Request(row.network, None, _options_of(row)) for row in PAPER_HUMAN36M]


def _options_of(row: PaperRow) -> dict[str, Any]:
    if not row.geometry_reduction:
        return {"arch": row.arch, "token_reduction": "none"}
    return {"arch": row.arch} | ({} if row.network == "metro" else {"keep_ratio": row.keep_ratio or 1.0})


def _create_options() -> set[str]:
    images = ("image_size", "image_mean", "image_std")
    places = ("network", "body_dir", "topology", "device", "options", "backbone_weights", *images)
    return {name for name in inspect.signature(create_model).parameters if name not in places} | {"smpl_regressor"}


def _value(text: str) -> Any:
    """A number, true or false, else the text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _accuracy(text: str, subject: str) -> float:
    """A number, or `metrics.pa_mpjpe` of a JSON file."""
    try:
        if not Path(text).is_file():
            return float(text)
        found = read_json(text)["metrics"].get("pa_mpjpe")
        accuracy = None if found is None else float(found)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"subject {subject!r}: pa_mpjpe={text} is neither a number nor a file of tore evaluate --json"
        ) from error
    if accuracy is None:
        raise ValueError(f"subject {subject!r}: {text} holds no PA-MPJPE: no sample of its set had labeled 3D joints")
    return accuracy


@dataclass(frozen=True)
class Subject:
    """A network to be measured, with its cost; `build` gives it weights."""

    label: str
    request: Request
    config: ModelConfig
    topology: Topology
    cost: Cost
    body_dir: str | Path | None

    @property
    def paper(self) -> PaperRow | None:
        """The paper's row of this network."""
        return row_of(self.config)

    def build(self, device: torch.device) -> nn.Module:
        """The network on its device, in evaluation mode and in the wanted form."""
        file, options, form = self.request.file, self.request.options, FORMS[self.request.form]
        if form is not None and device.type != "cpu":
            raise ValueError(f"{self.label}: an export runs on the CPU; add --device cpu")
        if file is not None:
            if form is not None:
                options = options | {"fast": True, "runtime": form[0], "half": form[1] != "float32"}
            return load_network(file, self.body_dir, device, **options)
        network = build_model(self.config, self.topology).to(device).eval()
        if form is None:
            return network
        body_dir = body_dir_at_hand(self.config.body, self.body_dir)
        return exported_copy(network, body_dir, runtime=form[0], precision=form[1])

    def facts(self) -> dict[str, Any]:
        """What it is, as plain values."""
        config = self.config
        facts: dict[str, Any] = {
            "subject": self.label,
            "network": config.network,
            "backbone": config.arch,
            "size": None,
        }
        facts |= {"tokens": reduction_of(config), "kept": None, "form": self.request.form}
        if isinstance(config, FastMETROConfig):
            facts |= {"size": SIZE_NAMES.get(config.layers, str(config.layers)), "kept": config.kept_tokens}
        return facts


def subjects_of(
    requests: Sequence[Request], body_dir: str | Path | None, image_size: int | None = None
) -> list[Subject]:
    """The subjects with their costs, under labels of which no two are the same.

    image_size: side of the networks' images in pixels; None leaves it at the usual one, or what a checkpoint tells.
    Raises ValueError for a checkpoint that tells another one.
    """
    found: list[Subject] = []
    for request in requests:
        if request.file is not None and is_export(request.file) and request.form == "plain":
            request = replace(request, form=FAST)
        if image_size is not None:
            request = replace(request, options={"image_size": image_size, **request.options})
        where = _body_dir_of(request, body_dir)
        model, topology = _without_storage(request, where)
        config, cost = model.config, measure_cost(model)
        label = (request.label or _label(request, config)) + ("" if request.form == "plain" else f" {request.form}")
        same = sum(subject.label == label or subject.label.startswith(f"{label} (") for subject in found)
        label = f"{label} ({same + 1})" if same else label
        found.append(Subject(label, request, config, topology, cost, where))
    return found


def _body_dir_of(request: Request, body_dir: str | Path | None) -> str | Path | None:
    """The folder that was named, else the body model that the subject's file records, if the project makes it."""
    if request.file is None:
        return body_dir
    return body_dir_for(recorded_network(request.file, **request.options)[1], body_dir)


def _without_storage(request: Request, body_dir: str | Path | None) -> tuple[Network, Topology]:
    """The subject's network on the meta device, where only sizes count, and what it was built on."""
    if request.file is not None:
        config, _ = recorded_network(request.file, **request.options)
        topology = topology_at_hand(config.body, body_dir)
        with torch.device("meta"):
            return build_model(config, topology).to("meta"), topology
    topology = topology_at_hand(request.options.get("body", "body"), body_dir)
    with torch.device("meta"):
        return create_model(request.network or "", topology=topology, device="meta", **request.options), topology


def _label(request: Request, config: ModelConfig) -> str:
    """Such as "fastmetro-L resnet50 tore 39", or the file's name."""
    if request.file is not None:
        return request.file.name if request.file.name != "state_dict.bin" else str(request.file)
    size, kept = "", ""
    if isinstance(config, FastMETROConfig):
        size = f"-{SIZE_NAMES.get(config.layers, config.layers)}"
        kept = f" {config.kept_tokens}" if config.kept_tokens is not None else ""
    hand = " hand" if config.body == "hand" else ""
    return f"{config.network}{size} {config.arch} {reduction_of(config)}{kept}{hand}"


def judged(
    subjects: Sequence[Subject], networks: Mapping[str, nn.Module], yaml: Path, *, batch_size: int, device: torch.device
) -> list[Subject]:
    """The subjects with the PA-MPJPE of their networks on a set, measured as `tore evaluate` does.

    ValueError for a subject whose weights are random or whose error is given, and where no sample has an error.
    """
    for subject in subjects:
        if subject.request.file is None or subject.request.pa_mpjpe is not None:
            why = "has random weights" if subject.request.file is None else "is given its pa_mpjpe"
            raise ValueError(f"{subject.label} {why}, so that {yaml} tells nothing of it: leave it or --val_yaml out")
    found = []
    for subject in subjects:
        config = subject.config
        body_dir = body_dir_at_hand(config.body, subject.body_dir)
        evaluation = Evaluation(
            MeshDataset(yaml, False, config.body, image_format=config.image_format),
            load_body(config.body, body_dir),
            network=config.network,
            body_dir=body_dir,
            processes=Processes(device=device),
            batch_size=batch_size,
            workers=0,
        )
        error = evaluation(networks[subject.label]).result.metrics.get("pa_mpjpe")
        if error is None:
            raise ValueError(f"{yaml} gives no PA-MPJPE: no sample of it has enough labeled 3D joints")
        found.append(replace(subject, request=replace(subject.request, pa_mpjpe=error)))
    return found
