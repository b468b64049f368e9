"""The options of a run about its network: which one it is, and how it is initialized."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from tore.modeling.build import FastMETROConfig
from tore.modeling.initialization import PARTS_TO_LOAD, REST
from tore.modeling.model_names import NAMED_SIZES, TOKEN_REDUCTIONS, size_fields
from tore.training.options import Options, flag_text, option, value_text

BODIES = ("body", "hand")
FASTMETRO_NAMES = tuple(f"FastMETRO{mark}{size}" for mark in "_-" for size in NAMED_SIZES)
TORE_RECIPE = "tore"
COORDINATES = 3
BERT_INTERMEDIATE = 3072
BLOCKS = 3  # of METRO


@dataclass(frozen=True)
class NetworkOptions(Options):
    """Which network is trained and how it starts; shared by both networks."""

    network: ClassVar[str]
    recipes: ClassVar[tuple[str, str]]  # the names of the two official recipes
    body: str = option("body", choices=BODIES)
    arch: str = option("hrnet-w64")
    token_reduction: str | None = option(None)  # None: tore, or what a checkpoint holds
    geometry_reduction: bool | None = option(None)
    smpl_regressor: bool = option(False)
    image_size: int | None = option(None, least=1)  # side of the square image in pixels; None: the backbone's usual
    image_mean: tuple[float, ...] | None = option(None)  # red, green, blue, from 0 to 1; likewise
    image_std: tuple[float, ...] | None = option(None)
    freeze_backbone: bool | None = option(None)  # None: MoveNet's alone
    backbone_weights: str | None = option(None)  # None: the usual one; "timm": timm's own; "none": a random start
    checkpoint: str | None = option(None)  # a file or folder whose network is taken
    pretrained: str | None = option(None)
    pretrained_parts: tuple[str, ...] = option(PARTS_TO_LOAD, choices=(*PARTS_TO_LOAD, REST))
    template_initialization: bool = option(False)
    camera_initialization: tuple[float, ...] | None = option(None)  # scale, x, y

    def __post_init__(self) -> None:
        """Checks also what the shared options cannot be together."""
        super().__post_init__()
        if self.camera_initialization is not None and len(self.camera_initialization) != COORDINATES:
            raise ValueError(
                f"--camera_initialization {value_text(self.camera_initialization)} is not three numbers such as 0.9,0,0"
            )

    def create_options(self) -> dict[str, Any]:
        """What `create_model` takes beside the backbone and the body."""
        return {
            "token_reduction": self.token_reduction or TORE_RECIPE,
            "geometry_reduction": self.geometry_reduction,
            "smpl_regressor": self.smpl_regressor,
            "image_size": self.image_size,
            "image_mean": self.image_mean,
            "image_std": self.image_std,
            "frozen_backbone": self.freeze_backbone,
        }


@dataclass(frozen=True)
class FastMETROOptions(NetworkOptions):
    """FastMETRO, by its official flags."""

    network: ClassVar[str] = "fastmetro"
    recipes: ClassVar[tuple[str, str]] = (TORE_RECIPE, "fastmetro")
    token_reduction: str | None = option(None, choices=TOKEN_REDUCTIONS)
    model_name: str = option("FastMETRO_L", choices=FASTMETRO_NAMES)
    keep_ratio: float = option(0.8)
    keypoint_queries: bool | None = option(None)  # None: of bodies with MoveNet
    model_dim_1: int | None = option(None, least=1)  # None, here and below: as --model_name
    model_dim_2: int | None = option(None, least=1)
    feedforward_dim_1: int | None = option(None, least=1)
    feedforward_dim_2: int | None = option(None, least=1)
    transformer_dropout: float = option(0.1)
    transformer_nhead: int = option(8)

    def create_options(self) -> dict[str, Any]:
        """Sizes included."""
        size = self.model_name[len("FastMETRO_") :]
        usual = FastMETROConfig(**size_fields(size))
        widths = (self.model_dim_1 or usual.widths[0], self.model_dim_2 or usual.widths[1])
        hidden = (self.feedforward_dim_1 or usual.hidden[0], self.feedforward_dim_2 or usual.hidden[1])
        return {
            **super().create_options(),
            "size": size,
            "keep_ratio": self.keep_ratio,
            "keypoint_queries": self.keypoint_queries,
            "widths": widths,
            "hidden": hidden,
            "dropout": self.transformer_dropout,
            "heads": self.transformer_nhead,
        }


@dataclass(frozen=True)
class METROOptions(NetworkOptions):
    """METRO, by its official flags; the inputs of its blocks follow from the backbone and the widths."""

    network: ClassVar[str] = "metro"
    recipes: ClassVar[tuple[str, str]] = (TORE_RECIPE, "metro")
    token_reduction: str | None = option(None, choices=("tore", "none"))
    num_hidden_layers: int = option(4)
    num_attention_heads: int = option(4)
    intermediate_size: int = option(-1)  # below 0: BERT's
    input_feat_dim: tuple[int, ...] = option((2051, 512, 128))
    hidden_feat_dim: tuple[int, ...] = option((1024, 256, 128))
    drop_out: float = option(0.1)

    def __post_init__(self) -> None:
        """Checks also that the blocks are three, and that both reductions say the same."""
        super().__post_init__()
        if len(self.hidden_feat_dim) != BLOCKS or len(self.input_feat_dim) != BLOCKS:
            raise ValueError("--input_feat_dim and --hidden_feat_dim take three numbers, one for each block")
        reduction, geometry = self.token_reduction, self.geometry_reduction
        if None not in (reduction, geometry) and (reduction == TORE_RECIPE) != geometry:
            raise ValueError(
                f"{flag_text('token_reduction', reduction)} and --geometry_reduction {value_text(geometry)}: METRO's "
                "token reduction is that of its geometry tokens; give one of the two"
            )

    def create_options(self) -> dict[str, Any]:
        """Sizes included."""
        return {
            **super().create_options(),
            "widths": self.hidden_feat_dim,
            "layers": self.num_hidden_layers,
            "heads": self.num_attention_heads,
            "hidden": BERT_INTERMEDIATE if self.intermediate_size < 0 else self.intermediate_size,
            "dropout": self.drop_out,
        }


NETWORKS: dict[str, type[FastMETROOptions] | type[METROOptions]] = {
    "fastmetro": FastMETROOptions,
    "metro": METROOptions,
}
