"""Old module and function names of version 0.1, which import through this table until version 0.3.

A module that was merged or moved is found under its old name with a DeprecationWarning; names inside that were
renamed are found too. Nothing in the project imports an old name.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

# old module -> where its names are now, relative to tore unless it is tore_runtime's
MODULES: dict[str, tuple[str, ...]] = {
    "body.load": ("body.body_model",),
    "body.mano": ("body.body_model",),
    "body.smpl": ("body.body_model",),
    "body.standin_files": ("synthetic.body_files",),
    "body.standin_mesh": ("synthetic.mesh",),
    "datasets.bad_samples": ("datasets.sets",),
    "datasets.base64_text": ("datasets.images",),
    "datasets.checking": ("datasets.inspection.checking",),
    "datasets.checksums": ("datasets.tsv",),
    "datasets.convert.posed_bodies": ("datasets.convert.entries",),
    "datasets.convert.spin_npz": ("datasets.convert.spin",),
    "datasets.convert.threedpw_pose2mesh": ("datasets.convert.threedpw",),
    "datasets.convert.threedpw_site": ("datasets.convert.threedpw",),
    "datasets.decoder_complaints": ("datasets.images",),
    "datasets.findings": ("datasets.inspection.rows",),
    "datasets.gallery": ("datasets.inspection.gallery",),
    "datasets.joining": ("datasets.sets",),
    "datasets.jpeg_rows": ("datasets.images",),
    "datasets.label_checks": ("datasets.inspection.rows", "geometry.alignment"),
    "datasets.label_shares": ("datasets.label",),
    "datasets.picture": ("datasets.images",),
    "datasets.pixels": ("tore_runtime.image_files",),
    "datasets.row_checks": ("datasets.inspection.rows",),
    "datasets.samplers": ("datasets.loader",),
    "datasets.set_checksums": ("datasets.inspection.checksums",),
    "datasets.set_identity": ("datasets.sets",),
    "datasets.statistics": ("datasets.inspection.statistics",),
    "datasets.synthesis.people": ("synthetic.people",),
    "datasets.synthesis.scene": ("synthetic.scene",),
    "datasets.synthesis.writing": ("synthetic.writing",),
    "deploy.attention": ("export.transformer",),
    "deploy.fastmetro": ("export.networks",),
    "deploy.form": ("export.networks",),
    "deploy.heads": ("export.heads",),
    "deploy.metro": ("export.networks",),
    "deploy.transformer": ("export.transformer",),
    "engine.checkpoints": ("engine.state",),
    "engine.ema": ("engine.state",),
    "engine.logs": ("engine.logging",),
    "engine.non_finite": ("engine.faults",),
    "engine.optimiser": ("engine.optimization", "datasets.loader"),
    "engine.progress": ("engine.state",),
    "engine.random_state": ("engine.state",),
    "engine.schedule": ("engine.optimization", "datasets.loader"),
    "engine.signals": ("engine.faults",),
    "engine.validation": ("training.evaluate",),
    "engine.window": ("engine.logging",),
    "evaluation.f_score": ("evaluation.metrics",),
    "evaluation.hand_shares": ("evaluation.metrics",),
    "geometry.merging": ("geometry.alignment",),
    "geometry.procrustes": ("geometry.alignment",),
    "inference.drawing": ("tore_runtime.outputs",),
    "inference.evaluation_mode": ("inference.predictor",),
    "inference.matching": ("tore_runtime.inputs",),
    "inference.picture": ("inference.images",),
    "inference.poses": ("tore_runtime.outputs",),
    "inference.recovery": ("tore_runtime.result",),
    "inference.results": ("tore_runtime.result",),
    "inference.run": ("tore_runtime.pipeline",),
    "losses.keypoints": ("losses.terms",),
    "losses.reduction": ("losses.terms",),
    "losses.smpl_parameters": ("losses.terms",),
    "losses.surface": ("losses.terms",),
    "losses.tokens": ("losses.terms",),
    "losses.total": (
        "losses.criterion",
        "losses.recipes",
    ),
    "losses.vertices": ("losses.terms",),
    "losses.warm_up": ("training.pretraining",),
    "memory": ("device",),
    "modeling.attention": ("modeling.transformer",),
    "modeling.bert": ("modeling.metro",),
    "modeling.cost": ("analysis.cost",),
    "modeling.depthwise": ("ops.depthwise",),
    "modeling.dropout": ("ops.linear",),
    "modeling.encoder_decoder": ("modeling.transformer",),
    "modeling.geometry_tokens": ("modeling.fastmetro",),
    "modeling.image_mixing": ("modeling.metro",),
    "modeling.imagenet_weights": ("modeling.backbones",),
    "modeling.kernel_choice": ("ops.linear",),
    "modeling.linear": ("ops.linear",),
    "modeling.neighbour_blocks": ("ops.neighbor_attention",),
    "modeling.point_camera": ("modeling.metro",),
    "modeling.position_code": ("modeling.transformer",),
    "modeling.prediction": ("modeling.heads",),
    "modeling.published_keys": ("modeling.official_keys",),
    "modeling.shape_facts": ("modeling.checkpoint_contents",),
    "modeling.shape_regressor": ("modeling.neural_shape_regressor",),
    "modeling.smpl_regressor": ("modeling.heads",),
    "modeling.starts": ("modeling.initialization",),
    "modeling.tensor_file": ("files",),
    "modeling.token_reduction": ("modeling.image_token_pruning",),
    "modeling.token_reduction_average": ("modeling.token_reduction_baselines",),
    "modeling.token_reduction_base": ("modeling.image_token_pruning",),
    "modeling.token_reduction_by_name": ("modeling.token_reduction_baselines",),
    "modeling.token_reduction_dpc_knn": ("modeling.token_reduction_baselines",),
    "modeling.token_reduction_none": ("modeling.token_reduction_baselines",),
    "modeling.token_reduction_random": ("modeling.token_reduction_baselines",),
    "modeling.token_reduction_tome": ("modeling.token_reduction_baselines",),
    "modeling.token_reduction_topk": ("modeling.token_reduction_baselines",),
    "modeling.upsampling": ("modeling.neural_shape_regressor",),
    "modeling.warm_up": ("modeling.initialization",),
    "modeling.wrappings": ("modeling.checkpoint_contents",),
    "tools.ablate": ("cli.ablate",),
    "tools.ablate_grid": ("analysis.ablation",),
    "tools.ablate_report": ("analysis.ablation",),
    "tools.ablate_run": ("analysis.ablation",),
    "tools.baselines": ("demo.judging",),
    "tools.bench": ("cli.bench",),
    "tools.bench_end_to_end": ("analysis.benchmark",),
    "tools.bench_report": ("analysis.benchmark_report",),
    "tools.bench_subjects": ("analysis.subjects",),
    "tools.bench_timing": ("analysis.benchmark", "device"),
    "tools.checkpoint_flags": ("cli.checkpoint_flags",),
    "tools.convert": ("cli.convert",),
    "tools.cost": (
        "analysis.cost",
        "cli.cost",
    ),
    "tools.cost_plot": ("analysis.tables",),
    "tools.data": ("cli.data",),
    "tools.demo": ("cli.demo",),
    "tools.demo_data": ("demo.data",),
    "tools.demo_judging": ("demo.judging",),
    "tools.demo_pictures": ("demo.images",),
    "tools.demo_report": ("demo.report",),
    "tools.demo_stages": ("demo.stages",),
    "tools.demo_training": ("demo.training",),
    "tools.evaluate": ("cli.evaluate",),
    "tools.evaluation_report": ("training.evaluation_report",),
    "tools.fastmetro_arguments": ("cli.network_flags",),
    "tools.flags": ("cli.flags",),
    "tools.freihand": (
        "cli.freihand",
        "training.hand_submission",
    ),
    "tools.hand_arguments": ("cli.training_flags",),
    "tools.hand_predictions": ("training.hand_submission",),
    "tools.help": ("cli.flags",),
    "tools.info": ("cli.info",),
    "tools.machine": ("device",),
    "tools.metro_arguments": ("cli.network_flags",),
    "tools.picture_path": ("cli.flags",),
    "tools.resuming": ("training.resuming",),
    "tools.set_check": ("training.set_check",),
    "tools.stages": ("demo.stages",),
    "tools.synth": ("cli.synth",),
    "tools.synth_pictures": ("cli.synth",),
    "tools.tables": ("analysis.tables",),
    "tools.tore_inference_fm": ("cli.infer",),
    "tools.train_arguments": ("cli.training_flags",),
    "tools.train_compose": ("training.build",),
    "tools.train_recipe": ("training.recipes",),
    "tools.train_rules": ("cli.training_rules",),
    "tools.train_run": (
        "training.run",
        "training.build",
    ),
    "tools.train_setup": (
        "training.build",
        "engine.step",
        "training.evaluate",
    ),
    "tools.training_sheet": ("training.sheet",),
    "tools.warm_up": (
        "training.pretraining",
        "cli.pretrain",
    ),
    "visualize.charts": ("visualize.report",),
    "visualize.heatmap": ("tore_runtime.drawing",),
    "visualize.mesh_viewer": ("visualize.report",),
    "visualize.overlay": ("tore_runtime.drawing",),
    "visualize.pinhole": ("geometry.camera",),
    "visualize.shading": ("tore_runtime.renderer",),
    "visualize.sheet": ("tore_runtime.drawing",),
    "visualize.skeleton": ("tore_runtime.drawing",),
    "geometry.crop": ("tore_runtime.crop",),
    "datasets.crop": ("tore_runtime.cutting",),
    "datasets.image_files": ("tore_runtime.image_files",),
    "entry": ("tore_runtime.entry",),
    "inference.names": ("tore_runtime.names",),
    "inference.focal_length": ("tore_runtime.focal_length",),
    "inference.boxes": ("tore_runtime.boxes",),
    "inference.inputs": ("tore_runtime.inputs",),
    "inference.crops": ("tore_runtime.crops",),
    "inference.result": ("tore_runtime.result",),
    "inference.outputs": ("tore_runtime.outputs",),
    "inference.pipeline": ("tore_runtime.pipeline",),
    "inference.frames": ("tore_runtime.frames",),
    "visualize.drawing": ("tore_runtime.drawing",),
    "visualize.rasterizer": ("tore_runtime.rasterizer",),
    "visualize.renderer": ("tore_runtime.renderer",),
    "visualize.mesh_files": ("tore_runtime.mesh_files",),
    "export.record": ("tore_runtime.record",),
    "export.sessions": ("tore_runtime.sessions",),
    "detection.detector": ("tore_runtime.detector",),
    "streams": ("tore_runtime.streams",),
}
PACKAGES = ("deploy", "datasets.synthesis")  # old packages that are gone
# old name inside a module -> new name
NAMES: dict[str, str] = {
    "BASELINE_OPTIMISERS": "BASELINE_OPTIMIZERS",
    "BATCH": "POSED_AT_ONCE",
    "COLOUR_NOISE": "COLOR_NOISE",
    "EXIF": "EXIF_MARK",
    "FASTMETRO_OPTIMISER": "FASTMETRO_OPTIMIZER",
    "HandWishes": "HandOptions",
    "IDLE": "METRO_IDLE",
    "METRO_OPTIMISER": "METRO_OPTIMIZER",
    "MIRROR_JOINT": "SMPL_FLIP",
    "NEIGHBOUR_ATTENTION": "NEIGHBOR_ATTENTION",
    "NeighbourBlocks": "NeighborBlocks",
    "OPTIMISERS": "OPTIMIZERS",
    "OptimiserRecipe": "OptimizerRecipe",
    "PICTURES": "IMAGES",
    "PICTURE_ENDINGS": "IMAGE_ENDINGS",
    "PICTURE_MARGIN": "IMAGE_MARGIN",
    "PICTURE_SIZE": "IMAGE_SIZE",
    "PUBLISHED": "OFFICIAL",
    "PUBLISHED_REDUCTIONS": "OFFICIAL_REDUCTIONS",
    "PictureSource": "ImageSource",
    "ROOMS": "PARTS_TO_LOAD",
    "SHEET_PICTURES": "SHEET_IMAGES",
    "StandIn": "SyntheticModel",
    "build_optimiser": "build_optimizer",
    "cell_centres": "cell_centers",
    "centre_joints": "center_joints",
    "centred": "centered",
    "check_in_picture": "check_in_image",
    "check_picture_file": "check_image_file",
    "crop_camera": "pinhole_of_crop",
    "crop_picture": "crop_image",
    "decode_picture": "decode_image",
    "doubts": "sanity_warnings",
    "find_pictures": "find_images",
    "finish_picture": "finish_image",
    "from_published": "from_official",
    "load_rooms": "load_parts",
    "made_pictures": "made_images",
    "make_pictures": "make_images",
    "network_options": "metro_options",
    "optimiser_from": "optimizer_from",
    "picture_bytes": "image_bytes",
    "picture_camera": "image_camera",
    "picture_order": "image_order",
    "picture_path": "image_path",
    "picture_rows": "image_rows",
    "picture_set": "image_set",
    "picture_translation": "image_translation",
    "published_file": "checkpoint_file",
    "published_state": "official_state",
    "read_picture": "read_image",
    "restore_picture": "restore_image",
    "rooms_of": "parts_of",
    "wishes_of": "hand_options_of",
    "write_pictures": "write_images",
}


def _whole_name(home: str) -> str:
    return home if home.startswith("tore_runtime.") else f"tore.{home}"


class _OldNames(MetaPathFinder, Loader):
    """Finds the old modules, as modules that look their names up in the new ones."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """The spec of an old module or package of `tore`."""
        inside = name.removeprefix("tore.")
        if name == inside or (inside not in MODULES and inside not in PACKAGES):
            return None
        return ModuleSpec(name, self, is_package=inside in PACKAGES)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """An ordinary module."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Gives the old module a `__getattr__` of the new ones."""
        inside = module.__name__.removeprefix("tore.")
        homes = [importlib.import_module(_whole_name(home)) for home in MODULES.get(inside, ())]
        if homes:
            now = " and ".join(home.__name__ for home in homes)
            warnings.warn(f"{module.__name__} is now {now}", DeprecationWarning, stacklevel=2)

        def find(name: str) -> Any:
            for home in homes:
                for candidate in (NAMES.get(name, name), name):  # a home may have another thing of the old name
                    if hasattr(home, candidate):
                        return getattr(home, candidate)
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")

        module.__getattr__ = find  # type: ignore[method-assign]


def install() -> None:
    """Lets old names be imported; once a process."""
    if not any(isinstance(finder, _OldNames) for finder in sys.meta_path):
        sys.meta_path.append(_OldNames())
