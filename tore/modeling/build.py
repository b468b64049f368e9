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
from tore.image_format import (
    IMAGE_SIZE,
    IMAGENET_MEAN,
    IMAGENET_STD,
    OFFICIAL_FORMAT,
    STRIDE,
    ImageFormat,
    ShownImage,
    usual_format,
)
from tore.modeling.backbones import KEYPOINTS_OF, SHIPPED, Backbone, load_backbone_weights
from tore.modeling.checkpoint_contents import unwrapped
from tore.modeling.fastmetro import FastMETRO
from tore.modeling.heads import SMPLRegressor
from tore.modeling.image_token_pruning import kept_tokens
from tore.modeling.metro import METRO
from tore.modeling.model_names import METRO_REDUCTIONS, TOKEN_REDUCTIONS, chosen_options, size_fields
from tore.paths import BODY_FILES, takes_data_dir

SHOWN = ("image_size", "image_mean", "image_std")  # fields of `ShownImage`, which checks them
BESIDE = ("arch", "frozen_backbone", "body", *SHOWN)  # fields that no constructor takes


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
    keypoint_queries: bool = False  # the backbone is a pose network, and the queries carry its keypoints
    layers: int = 3
    widths: tuple[int, int] = (512, 128)
    hidden: tuple[int, int] = (2048, 512)
    heads: int = 8
    dropout: float = 0.1
    image_size: int = IMAGE_SIZE  # side in pixels of the square image
    image_mean: tuple[float, float, float] = IMAGENET_MEAN  # red, green, blue, of 1
    image_std: tuple[float, float, float] = IMAGENET_STD
    frozen_backbone: bool = False


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
    frozen_backbone: bool = False

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

    Raises ValueError naming a network or a field that does not exist, or a value that a field cannot have.
    """
    if network not in CONFIGS:
        raise ValueError(f"network {network!r} is not known; use one of {', '.join(CONFIGS)}")
    known = {field.name for field in fields(CONFIGS[network])}
    if unknown := sorted(set(values) - known):
        raise ValueError(f"{network} has no option {', '.join(unknown)}; it has {', '.join(sorted(known))}")
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    if (body := values.get("body", "body")) not in BODY_FILES:
        raise ValueError(f"body kind {body!r} is not known; use 'body' or 'hand'")
    for field in fields(CONFIGS[network]):
        value = values.get(field.name, field.default)
        optional = value is None and field.name == "kept_tokens"
        if not (optional or field.name in SHOWN or _is_like(value, field.default)):
            raise ValueError(f"{network} cannot have {field.name} {value!r}; the official one is {field.default!r}")
    return CONFIGS[network](**values)


def _is_like(value: Any, usual: Any) -> bool:
    """Whether a value is of the kind of the usual one: as many numbers, none of them negative."""
    if isinstance(usual, tuple):
        same = isinstance(value, tuple) and len(value) == len(usual)
        return same and all(map(_is_like, value, usual))
    if isinstance(usual, bool | str):
        return isinstance(value, type(usual))
    wanted = int if isinstance(usual, int) else int | float
    return isinstance(value, wanted) and not isinstance(value, bool) and value >= 0


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
    """What a network is shown, whatever wraps it: by its configuration, else by an `image_format` of its own.

    A module with neither counts as official in this.
    """
    plain = unwrapped(model)
    config, own = getattr(plain, "config", None), getattr(plain, "image_format", None)
    if isinstance(config, ModelConfig):
        return config.image_format
    return own if isinstance(own, ImageFormat) else OFFICIAL_FORMAT


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


def _check_pose_network(config: ModelConfig, kind: str) -> None:
    whose = KEYPOINTS_OF[config.arch][0] if config.arch in KEYPOINTS_OF else None
    if config.image_format.upright and kind != whose:
        raise ValueError(f"{config.arch} sees upright {whose}s, not a {kind}; use another backbone")
    if getattr(config, "keypoint_queries", False) and whose not in (None, kind):
        raise ValueError(f"the keypoints of {config.arch} are a {whose}'s, not a {kind}'s; leave keypoint queries out")


def build_model(config: ModelConfig, topology: Topology) -> FastMETRO | METRO:
    """The network of `config` on the joints and mesh levels of `topology`, with fresh weights."""
    _check_smpl_regressor(config, topology.kind)
    _check_pose_network(config, topology.kind)
    keypoints = isinstance(config, FastMETROConfig) and config.keypoint_queries
    if keypoints and topology.template_joints is None:
        raise ValueError("keypoint queries need the resting body: load_topology(..., template=True)")
    backbone = Backbone(config.arch, keypoints=keypoints, frozen=config.frozen_backbone)
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
    with_keypoints = isinstance(config, FastMETROConfig) and config.keypoint_queries
    return load_topology(config.body, body_dir, template=isinstance(config, METROConfig) or with_keypoints)


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
    image_size: int | None = None,
    image_mean: Sequence[float] | None = None,
    image_std: Sequence[float] | None = None,
    frozen_backbone: bool | None = None,
    keypoint_queries: bool | None = None,
    device: str | torch.device = "cpu",
    **options: Any,
) -> FastMETRO | METRO:
    """A fresh network in training mode: `create_model("fastmetro_tore_l_efficientnet_b0", keep_ratio=0.8)`.

    Args:
        network: a name of `tore.list_models()`, which says the next three and the body, or "fastmetro" or "metro".
        arch: backbone, see `tore.modeling.backbones`; "resnet50" where nothing says it.
        size: FastMETRO's S, M or L (the usual one): 1, 2 or 3 layers on each side of each Transformer; XS: as S,
            narrower. METRO has one.
        token_reduction: "tore" (the paper's, and the usual one), "none" (the official baseline), or for FastMETRO
            another way to fewer image tokens, see `tore.modeling.token_reduction_baselines`.
        geometry_reduction: whether the main Transformer sees joints alone; None means in all cases but "none".
        keep_ratio: FastMETRO's share of image tokens that are kept, in (0, 1].
        body: "body" (the usual one) or "hand".
        body_dir: folder of the body model files, or "synthetic"; None means `tore.paths.body_dir()`. The network's
            `trained_on`, which files of it record, says which body model they are.
        topology: joints and mesh levels, instead of reading them from `body_dir`.
        backbone_weights: ImageNet file of the backbone, or "timm" for timm's own pretrained weights; None and "none"
            leave it at its random start, but a pose network's None means the weights that come with the package.
        image_size: side of the square images in pixels, a multiple of the backbone's stride 32; it sets how many image
            tokens there are. None means 224, and MoveNet's 256.
        image_mean, image_std: what the images' red, green and blue, from 0 to 1, are normalized by; None means
            ImageNet's, MoveNet's 0.5, and MediaPipe's 0 and 1. Data sets and inference take size, mean and deviation
            from the network's configuration.
        frozen_backbone: the backbone is not trained, batch norm included; None means pose networks alone.
        keypoint_queries: a pose network's keypoints enter FastMETRO's queries, and the body is a correction of them
            (`tore.modeling.keypoint_queries`); None means bodies with MoveNet and hands with MediaPipe's landmarks.
        device: where the network goes; "meta": parameters and constants without numbers. Made under
            `torch.device("meta")` without naming it here, the parameters stay there and the constants have numbers.
        options: further fields of `FastMETROConfig` or `METROConfig`, such as `dropout=0.0`.

    Raises:
        ValueError: an unknown name, with the nearest ones, or a value that the network cannot have.
        FileNotFoundError: a body model file is missing.
    """
    given = {"arch": arch, "size": size, "token_reduction": token_reduction, "body": body}
    network, arch, size, token_reduction, body = chosen_options(network, given)
    shown, pose_network = usual_format(arch), arch in KEYPOINTS_OF
    image_size = shown.size if image_size is None else image_size
    values: dict[str, Any] = {
        "arch": arch,
        "body": body,
        "image_size": image_size,
        "image_mean": tuple(shown.mean if image_mean is None else image_mean),
        "image_std": tuple(shown.std if image_std is None else image_std),
        "frozen_backbone": pose_network if frozen_backbone is None else frozen_backbone,
        **reduction_fields(network, body, token_reduction, geometry_reduction),
    }
    image_tokens = replace(CONFIGS["fastmetro"](), image_size=image_size).image_positions
    if keypoint_queries and network != "fastmetro":
        raise ValueError("keypoint queries are FastMETRO's; leave keypoint_queries out")
    if network == "fastmetro":
        values |= size_fields(size)
        with_keypoints = pose_network and KEYPOINTS_OF[arch][0] == body
        values["keypoint_queries"] = with_keypoints if keypoint_queries is None else keypoint_queries
        values["kept_tokens"] = None if token_reduction == "none" else kept_tokens(keep_ratio, image_tokens)
    elif network == "metro":
        values["image_tokens"] = image_tokens
    config = configure(network, **{**values, **options})
    if topology is None:
        topology = replace(topology_for(config, body_dir), identity=body_identity(body, body_dir))
    model = build_model(config, topology)
    on_meta = any(parameter.is_meta for parameter in model.parameters())
    if backbone_weights is None and pose_network and not on_meta:
        backbone_weights = SHIPPED
    if backbone_weights is not None:
        load_backbone_weights(model.backbone, backbone_weights)
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
