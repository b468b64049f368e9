"""From a configuration to a network: the last place that knows one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import torch

from tore.body.identity import body_identity
from tore.body.topology import Topology, load_topology
from tore.device import resolve_device
from tore.image_format import IMAGE_SIZE, IMAGENET_MEAN, IMAGENET_STD, OFFICIAL_FORMAT, STRIDE, ImageFormat, ShownImage
from tore.modeling.backbones import Backbone, load_backbone_weights
from tore.modeling.checkpoint_contents import unwrapped
from tore.modeling.fastmetro import FastMETRO
from tore.modeling.heads import SMPLRegressor
from tore.modeling.image_token_pruning import kept_tokens
from tore.modeling.metro import METRO
from tore.modeling.model_names import METRO_REDUCTIONS, SIZES, TOKEN_REDUCTIONS, chosen_options
from tore.paths import takes_data_dir

BESIDE = ("arch", "body", "image_size", "image_mean", "image_std")  # fields that no constructor takes


@dataclass(frozen=True)
class FastMETROConfig(ShownImage):
    """FastMETRO; the defaults are the official L body network with TORE at keep_ratio 0.8."""

    network: ClassVar[str] = "fastmetro"
    arch: str = "resnet50"
    body: str = "body"  # "body" | "hand"
    image_reduction: str = "itp"
    kept_tokens: int | None = 39  # None where image tokens are not reduced
    geometry_reduction: bool = True
    learned_upsampling: int = 0
    smpl_regressor: bool = False
    layers: int = 3
    widths: tuple[int, int] = (512, 128)
    hidden: tuple[int, int] = (2048, 512)
    heads: int = 8
    dropout: float = 0.1
    image_size: int = IMAGE_SIZE  # side in pixels of the square image
    image_mean: tuple[float, float, float] = IMAGENET_MEAN  # red, green, blue, of 1
    image_std: tuple[float, float, float] = IMAGENET_STD


@dataclass(frozen=True)
class METROConfig(ShownImage):
    """METRO; the defaults are the official body network with TORE."""

    network: ClassVar[str] = "metro"
    arch: str = "resnet50"
    body: str = "body"
    geometry_reduction: bool = True
    image_mixing: str = "learned"  # "learned" | "mean"
    image_tokens: int = 49
    camera_points: str = "vertices"  # "vertices" | "all"; read without geometry reduction only
    camera_hidden: int = 250
    smpl_regressor: bool = False
    widths: tuple[int, int, int] = (1024, 256, 128)
    layers: int = 4
    heads: int = 4
    hidden: int = 3072
    dropout: float = 0.1
    regressor_layers: int = 3
    regressor_heads: int = 8
    regressor_hidden: int = 512
    image_size: int = IMAGE_SIZE
    image_mean: tuple[float, float, float] = IMAGENET_MEAN
    image_std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image_mixing == "learned" and self.image_tokens != self.image_positions:
            raise ValueError(
                f"image_size {self.image_size} gives {self.image_positions} image tokens, but the network mixes "
                f"{self.image_tokens}; leave one of the two out, or give both of one image"
            )


ModelConfig = FastMETROConfig | METROConfig
CONFIGS: dict[str, type[FastMETROConfig] | type[METROConfig]] = {"fastmetro": FastMETROConfig, "metro": METROConfig}

# What the official networks without geometry token reduction have besides.
WITHOUT_GEOMETRY_REDUCTION: dict[tuple[str, str], dict[str, Any]] = {
    ("fastmetro", "body"): {"learned_upsampling": 1},
    ("metro", "hand"): {
        "widths": (1024, 256, 64),
        "image_mixing": "mean",
        "camera_points": "all",
        "camera_hidden": 150,
    },
}


def configure(network: str, **values: Any) -> ModelConfig:
    """A configuration of `network` with `values` for some of its fields.

    Raises ValueError naming a network or a field that does not exist.
    """
    if network not in CONFIGS:
        raise ValueError(f"network {network!r} is not known; use one of {', '.join(CONFIGS)}")
    known = {field.name for field in fields(CONFIGS[network])}
    if unknown := sorted(set(values) - known):
        raise ValueError(f"{network} has no option {', '.join(unknown)}; it has {', '.join(sorted(known))}")
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return CONFIGS[network](**values)


def describe(config: ModelConfig) -> dict[str, Any]:
    """The configuration as plain values, `network` included, for JSON and checkpoints."""
    return {"network": config.network, **asdict(config)}


def reduction_of(config: ModelConfig) -> str:
    """The configured token reduction in a word: "tore", "none", or the two halves such as "tome+gtr" and "itp"."""
    if isinstance(config, METROConfig):
        return "tore" if config.geometry_reduction else "none"
    image, geometry = config.image_reduction, config.geometry_reduction
    if (image, geometry) in (("itp", True), ("none", False)):
        return "tore" if geometry else "none"
    return f"{image}+gtr" if geometry else image


def image_format_of(model: torch.nn.Module) -> ImageFormat:
    """What a network is shown, whatever wraps it; a module without a configuration counts as official in this."""
    config = getattr(unwrapped(model), "config", None)
    return config.image_format if isinstance(config, ModelConfig) else OFFICIAL_FORMAT


def prunes_image_tokens(config: ModelConfig) -> bool:
    """Whether the network has the paper's image token pruning, which the image token loss trains."""
    return isinstance(config, FastMETROConfig) and config.image_reduction == "itp"


def add_smpl_regressor(model: FastMETRO | METRO) -> None:
    """Gives a body network without it the SMPL parameter regressor, with fresh weights."""
    config = replace(model.config, smpl_regressor=True)
    _check_smpl_regressor(config, config.body)
    model.smpl_regressor = SMPLRegressor(vertices=model.upsampling.sizes[1])
    _note(model, config)


def _check_smpl_regressor(config: ModelConfig, kind: str) -> None:
    if config.smpl_regressor and kind != "body":
        raise ValueError(f"the SMPL parameter regressor reads a body's mesh, not a {kind}'s; leave it out")


def build_model(config: ModelConfig, topology: Topology) -> FastMETRO | METRO:
    """The network of `config` on the joints and mesh levels of `topology`, with fresh weights."""
    _check_smpl_regressor(config, topology.kind)
    backbone = Backbone(config.arch)
    options = {f.name: getattr(config, f.name) for f in fields(config) if f.name not in BESIDE}
    kind: type[FastMETRO] | type[METRO] = METRO
    if isinstance(config, FastMETROConfig):
        kind, options["grid"] = FastMETRO, (config.image_size // STRIDE, config.image_size // STRIDE)
    model = kind(backbone=backbone, topology=topology, **options)
    _note(model, config)
    model.trained_on = topology.identity
    return model


def _note(model: FastMETRO | METRO, config: ModelConfig) -> None:
    """Keeps with a network what it is, for files of it: its configuration and the shapes of its entries."""
    model.config = config
    model.layout = {name: tuple(value.shape) for name, value in model.state_dict().items()}


def topology_for(config: ModelConfig, body_dir: str | Path | None = None) -> Topology:
    """The joints and mesh levels that the configured network works on, of the body model in `body_dir`."""
    return load_topology(config.body, body_dir, template=isinstance(config, METROConfig))


@takes_data_dir
def create_model(
    network: str = "fastmetro",
    *,
    arch: str | None = None,
    size: str | None = None,
    token_reduction: str | None = None,
    geometry_reduction: bool | None = None,
    keep_ratio: float = 0.8,
    body: str | None = None,
    body_dir: str | Path | None = None,
    topology: Topology | None = None,
    backbone_weights: str | Path | None = None,
    image_size: int = IMAGE_SIZE,
    image_mean: Sequence[float] = IMAGENET_MEAN,
    image_std: Sequence[float] = IMAGENET_STD,
    device: str | torch.device = "cpu",
    **options: Any,
) -> FastMETRO | METRO:
    """A fresh network in training mode: `create_model("fastmetro_tore_l_efficientnet_b0", keep_ratio=0.8)`.

    Args:
        network: a name of `tore.list_models()`, which says the next three and the body, or "fastmetro" or "metro".
        arch: backbone, see `tore.modeling.backbones`; "resnet50" where nothing says it.
        size: FastMETRO's S, M or L (the usual one): 1, 2 or 3 layers on each side of each Transformer. METRO has one.
        token_reduction: "tore" (the paper's, and the usual one), "none" (the official baseline), or for FastMETRO
            another way to fewer image tokens, see `tore.modeling.token_reduction_baselines`.
        geometry_reduction: whether the main Transformer sees joints alone; None means in all cases but "none".
        keep_ratio: FastMETRO's share of image tokens that are kept, in (0, 1].
        body: "body" (the usual one) or "hand".
        body_dir: folder of the body model files, "synthetic" or "capsules"; None means `tore.paths.body_dir()`. The
            network's `trained_on`, which files of it record, says which body model they are.
        topology: joints and mesh levels, instead of reading them from `body_dir`.
        backbone_weights: ImageNet file of the backbone, or "timm" for timm's own pretrained weights; None and "none"
            leave it at its random start.
        image_size: side of the square images in pixels, a multiple of the backbone's stride 32; it sets how many image
            tokens there are.
        image_mean, image_std: what the images' red, green and blue, from 0 to 1, are normalized by. Data sets and
            inference take size, mean and deviation from the network's configuration.
        device: where the network goes; "meta": parameters and constants without numbers. Made under
            `torch.device("meta")` without naming it here, the parameters stay there and the constants have numbers.
        options: further fields of `FastMETROConfig` or `METROConfig`, such as `dropout=0.0`.

    Raises:
        ValueError: an unknown name, with the nearest ones, or a value that the network cannot have.
        FileNotFoundError: a body model file is missing.
    """
    given = {"arch": arch, "size": size, "token_reduction": token_reduction, "body": body}
    network, arch, size, token_reduction, body = chosen_options(network, given)
    values: dict[str, Any] = {
        "arch": arch,
        "body": body,
        "image_size": image_size,
        "image_mean": tuple(image_mean),
        "image_std": tuple(image_std),
        **reduction_fields(network, body, token_reduction, geometry_reduction),
    }
    image_tokens = replace(CONFIGS["fastmetro"](), image_size=image_size).image_positions
    if network == "fastmetro":
        if size not in SIZES:
            raise ValueError(f"size {size!r} is not known; use one of {', '.join(SIZES)}")
        values["layers"] = SIZES[size]
        values["kept_tokens"] = None if token_reduction == "none" else kept_tokens(keep_ratio, image_tokens)
    elif network == "metro":
        values["image_tokens"] = image_tokens
    config = configure(network, **{**values, **options})
    if topology is None:
        topology = replace(topology_for(config, body_dir), identity=body_identity(body, body_dir))
    model = build_model(config, topology)
    if backbone_weights is not None:
        load_backbone_weights(model.backbone, backbone_weights)
    on_meta = any(parameter.is_meta for parameter in model.parameters())
    return model if on_meta and device != "meta" else model.to(resolve_device(device))


def reduction_fields(
    network: str, body: str, token_reduction: str, geometry_reduction: bool | None = None
) -> dict[str, Any]:
    """The configuration fields that the two reductions set, see `create_model`. ValueError for an unknown name."""
    names = TOKEN_REDUCTIONS if network == "fastmetro" else METRO_REDUCTIONS
    if token_reduction not in names:
        raise ValueError(f"token_reduction {token_reduction!r} is not known for {network}; use {', '.join(names)}")
    geometry = token_reduction != "none" if geometry_reduction is None else geometry_reduction
    values: dict[str, Any] = {"geometry_reduction": geometry}
    if network == "fastmetro":
        values["image_reduction"] = "itp" if token_reduction == "tore" else token_reduction
    return values if geometry else values | WITHOUT_GEOMETRY_REDUCTION.get((network, body), {})
