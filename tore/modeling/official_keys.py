"""How the entries of an official checkpoint are called here, as one readable table.

A row pairs an official name with ours; `{n}` and `{k}` stand for numbers and `{*}` for the rest of the name.
The first row that fits is the one that counts. The table is read in both directions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

SHAPE_REGRESSOR = [
    ("transformer_3.{*}", "shape_regressor.transformer.{*}"),
    ("vertex_token_embed.weight", "shape_regressor.vertex_tokens"),
    ("xyz_regressor_v.{*}", "shape_regressor.vertex_head.{*}"),
    ("cam_token_embed.weight", "camera_token"),
    ("cam_predictor.{*}", "camera_head.{*}"),
]
SMPL_REGRESSOR = [
    ("smpl_parameter_regressor.regressor.0.fc_block.{n}.{*}", "smpl_regressor.embedding.{n}.{*}"),
    ("smpl_parameter_regressor.regressor.1.fc_block.{n}.{*}", "smpl_regressor.blocks.0.layers.{n}.{*}"),
    ("smpl_parameter_regressor.regressor.2.fc_block.{n}.{*}", "smpl_regressor.blocks.1.layers.{n}.{*}"),
    ("smpl_parameter_regressor.regressor.3.{*}", "smpl_regressor.head.{*}"),
]
FASTMETRO = [
    ("conv_1x1.{*}", "image_projection.{*}"),
    ("token_selector_conv2d.{*}", "token_reduction.conv.{*}"),
    ("token_selector_fc.{*}", "token_reduction.assign.{*}"),
    ("layer_norm.{*}", "token_reduction.norm.{*}"),
    ("joint_token_embed.weight", "query_tokens.joints"),
    ("dim_reduce_dec.{*}", "reduce_queries.{*}"),
    ("transformer_1.{*}", "transformer_1.{*}"),
    ("transformer_2.{*}", "transformer_2.{*}"),
    *SMPL_REGRESSOR,
]
FASTMETRO_WITH_SHAPE_REGRESSOR = [
    *FASTMETRO,
    ("dim_reduce_enc.{*}", "reduce_memory.{*}"),
    ("xyz_regressor_j.{*}", "point_head.{*}"),
    *SHAPE_REGRESSOR,
]
FASTMETRO_WITHOUT = [
    *FASTMETRO,
    ("vertex_token_embed.weight", "query_tokens.vertices"),
    ("cam_token_embed.weight", "camera_token"),
    ("cam_predictor.{*}", "camera_head.{*}"),
    ("dim_reduce_enc_cam.{*}", "reduce_camera.{*}"),
    ("dim_reduce_enc_img.{*}", "reduce_memory.{*}"),
    ("xyz_regressor.{*}", "point_head.{*}"),
    ("coarse2intermediate_upsample.{*}", "upsampling.steps.0.{*}"),
]
BERT_LAYER = "trans_encoder.{n}.bert.encoder.layer.{k}"
METRO = [
    ("conv_learn_tokens.{*}", "select_tokens.{*}"),
    ("trans_encoder.{n}.bert.img_embedding.{*}", "blocks.{n}.embedding.{*}"),
    ("trans_encoder.{n}.bert.position_embeddings.weight", "blocks.{n}.positions.weight"),
    (f"{BERT_LAYER}.attention.self.query.{{*}}", "blocks.{n}.layers.{k}.query.{*}"),
    (f"{BERT_LAYER}.attention.self.key.{{*}}", "blocks.{n}.layers.{k}.key.{*}"),
    (f"{BERT_LAYER}.attention.self.value.{{*}}", "blocks.{n}.layers.{k}.value.{*}"),
    (f"{BERT_LAYER}.attention.output.dense.{{*}}", "blocks.{n}.layers.{k}.attention_output.{*}"),
    (f"{BERT_LAYER}.attention.output.LayerNorm.{{*}}", "blocks.{n}.layers.{k}.attention_norm.{*}"),
    (f"{BERT_LAYER}.intermediate.dense.{{*}}", "blocks.{n}.layers.{k}.intermediate.{*}"),
    (f"{BERT_LAYER}.output.dense.{{*}}", "blocks.{n}.layers.{k}.output.{*}"),
    (f"{BERT_LAYER}.output.LayerNorm.{{*}}", "blocks.{n}.layers.{k}.output_norm.{*}"),
    ("trans_encoder.{n}.cls_head.{*}", "blocks.{n}.head.{*}"),
    ("trans_encoder.{n}.residual.{*}", "blocks.{n}.residual.{*}"),
    ("upsampling.{*}", "upsampling.steps.0.{*}"),
    ("upsampling2.{*}", "upsampling.steps.1.{*}"),
    *SMPL_REGRESSOR,
]
METRO_WITH_SHAPE_REGRESSOR = [*METRO, *SHAPE_REGRESSOR]
METRO_WITHOUT = [
    *METRO,
    ("cam_param_fc.{*}", "camera_head.of_point.{*}"),
    ("cam_param_fc2.{*}", "camera_head.of_points.{*}"),
    ("cam_param_fc3.{*}", "camera_head.output.{*}"),
]
# (network, geometry token reduction) -> table. The same official name can mean different modules in different networks.
TABLES = {
    ("fastmetro", True): FASTMETRO_WITH_SHAPE_REGRESSOR,
    ("fastmetro", False): FASTMETRO_WITHOUT,
    ("metro", True): METRO_WITH_SHAPE_REGRESSOR,
    ("metro", False): METRO_WITHOUT,
}
# Inside transformer_1, _2 and _3.
ENCODER_DECODER = [
    ("encoder.layers.{n}.linear{k}.{*}", "encoder.{n}.feed_forward.linear{k}.{*}"),
    ("decoder.layers.{n}.linear{k}.{*}", "decoder.{n}.feed_forward.linear{k}.{*}"),
    ("decoder.layers.{n}.multihead_attn.{*}", "decoder.{n}.cross_attn.{*}"),
    ("encoder.layers.{n}.{*}", "encoder.{n}.{*}"),
    ("decoder.layers.{n}.{*}", "decoder.{n}.{*}"),
    ("encoder.norm.{*}", "encoder_norm.{*}"),
    ("decoder.norm.{*}", "decoder_norm.{*}"),
]
RESNET = [
    ("0.{*}", "conv1.{*}"),
    ("1.{*}", "bn1.{*}"),
    ("4.{*}", "layer1.{*}"),
    ("5.{*}", "layer2.{*}"),
    ("6.{*}", "layer3.{*}"),
    ("7.{*}", "layer4.{*}"),
]
# A block of EfficientNet's first stage has no expansion, so its convolutions carry other names in timm.
EFFICIENTNET_STEM = [
    ("_conv_stem.{*}", "conv_stem.{*}"),
    ("_bn0.{*}", "bn1.{*}"),
    ("_conv_head.{*}", "conv_head.{*}"),
    ("_bn1.{*}", "bn2.{*}"),
]
EFFICIENTNET_FIRST_STAGE = [
    ("_depthwise_conv.{*}", "conv_dw.{*}"),
    ("_bn1.{*}", "bn1.{*}"),
    ("_se_reduce.{*}", "se.conv_reduce.{*}"),
    ("_se_expand.{*}", "se.conv_expand.{*}"),
    ("_project_conv.{*}", "conv_pw.{*}"),
    ("_bn2.{*}", "bn2.{*}"),
]
EFFICIENTNET_BLOCK = [
    ("_expand_conv.{*}", "conv_pw.{*}"),
    ("_bn0.{*}", "bn1.{*}"),
    ("_depthwise_conv.{*}", "conv_dw.{*}"),
    ("_bn1.{*}", "bn2.{*}"),
    ("_se_reduce.{*}", "se.conv_reduce.{*}"),
    ("_se_expand.{*}", "se.conv_expand.{*}"),
    ("_project_conv.{*}", "conv_pwl.{*}"),
    ("_bn2.{*}", "bn3.{*}"),
]
# The number of blocks per stage, by how many blocks there are in all: b0, b1 and b2, b3, b4.
EFFICIENTNET_STAGES = {
    16: (1, 2, 2, 3, 3, 4, 1),
    23: (2, 3, 3, 4, 4, 5, 2),
    26: (2, 3, 3, 5, 5, 6, 2),
    32: (2, 4, 4, 6, 6, 8, 2),
}
# Entries that official files hold and nothing reads.
UNREAD = re.compile(
    r"trans_encoder\.\d+\.bert\.(embeddings|pooler)\..*|backbone\.(classifier|_fc|fc)\..*", flags=re.DOTALL
)

Table = list[tuple[str, str]]


@cache
def _pattern(template: str) -> re.Pattern[str]:
    escaped = re.escape(template).replace(r"\{n\}", r"(?P<n>\d+)").replace(r"\{k\}", r"(?P<k>\d+)")
    return re.compile(escaped.replace(r"\{\*\}", "(?P<rest>.*)"))


def translate(name: str, table: Table, *, to_official: bool = False) -> str | None:
    """`name` through the first row that fits, None where no row does."""
    for official, ours in table:
        source, target = (ours, official) if to_official else (official, ours)
        if found := _pattern(source).fullmatch(name):
            parts = found.groupdict()
            filled = target.replace("{n}", parts.get("n", "")).replace("{k}", parts.get("k", ""))
            return filled.replace("{*}", parts.get("rest", ""))
    return None


def network_name(name: str, network: str, geometry_reduction: bool, *, to_official: bool = False) -> str | None:
    """The other name of an entry outside the backbone, None where the official layout knows no such entry.

    `network` is "fastmetro" or "metro"; `geometry_reduction` says whether it has a shape regressor.
    """
    table = TABLES[network, geometry_reduction]
    if to_official:
        outer = translate(name, table, to_official=True)
        return _inside_transformer(outer, to_official=True) if outer else None
    inner = _inside_transformer(name, to_official=False)
    return translate(inner, table) if inner else None


def _inside_transformer(name: str, *, to_official: bool) -> str | None:
    """Official outer name with the part inside an encoder-decoder translated."""
    outer, dot, rest = name.partition(".")
    if outer not in ("transformer_1", "transformer_2", "transformer_3"):
        return name
    inner = translate(rest, ENCODER_DECODER, to_official=to_official)
    return f"{outer}{dot}{inner}" if inner else None


def backbone_names(names: Iterable[str], *, to_official: bool = False, arch: str | None = None) -> dict[str, str]:
    """Each backbone entry's name without its `backbone.` prefix -> the other name.

    Official names tell by themselves which family they are of; the way back needs `arch`. A name that no row
    knows stays as it is, which is right for HRNet and for backbones that have no official name.
    """
    names = list(names)
    if arch is None:
        arch = "resnet50" if "0.weight" in names else "efficientnet-b0" if "_conv_stem.weight" in names else "hrnet"
    if arch.startswith("efficientnet"):
        return _efficientnet_names(names, to_official)
    table = RESNET if arch == "resnet50" else []
    return {name: translate(name, table, to_official=to_official) or name for name in names}


def _efficientnet_names(names: list[str], to_official: bool) -> dict[str, str]:
    """EfficientNet numbers its blocks through; timm numbers them by stage."""
    if to_official:
        places = sorted({tuple(map(int, n.split(".")[1:3])) for n in names if n.startswith("blocks.")})
    else:
        count = 1 + max((int(n.split(".")[1]) for n in names if n.startswith("_blocks.")), default=-1)
        stages = EFFICIENTNET_STAGES.get(count, (count,))
        places = [(stage, index) for stage, depth in enumerate(stages) for index in range(depth)]
    out = {}
    for name in names:
        parts = name.split(".", 3 if to_official else 2)
        if parts[0] not in ("blocks", "_blocks"):
            out[name] = translate(name, EFFICIENTNET_STEM, to_official=to_official) or name
            continue
        if to_official:
            number = places.index((int(parts[1]), int(parts[2])))
            prefix = f"_blocks.{number}"
        else:
            number = int(parts[1])
            prefix = "blocks.{}.{}".format(*places[number])
        table = EFFICIENTNET_FIRST_STAGE if places[number][0] == 0 else EFFICIENTNET_BLOCK
        inner = translate(parts[-1], table, to_official=to_official)
        out[name] = f"{prefix}.{inner}" if inner else name
    return out
