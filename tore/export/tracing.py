"""A backbone as a graph of fused convolutions: batch norm, activation and residual sum go into the one before."""

from __future__ import annotations

import copy
import operator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn.utils.fusion import fuse_conv_bn_eval

from tore.export.kernels import FusedConv2d
from tore.export.parts import Parts

ACTIVATION_NAMES: dict[Any, str] = {
    nn.Identity: "none",
    nn.ReLU: "relu",
    nn.ReLU6: "relu6",
    nn.SiLU: "swish",
    nn.GELU: "gelu",
    nn.Sigmoid: "sigmoid",
}
SUMS = (operator.add, operator.iadd, torch.add)
SAMPLE = 96  # pixels; at three strides of 32 no feature map is a single position by chance


class ChannelsLast(nn.Module):
    """A backbone that is handed its images with the channels innermost."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, H/32, W/32)."""
        return self.backbone(images.contiguous(memory_format=torch.channels_last))


def backbone_form(backbone: Any, parts: Parts) -> nn.Module:
    """The optimized backbone; `backbone` itself is used up."""
    form: nn.Module = backbone
    if parts.fused_backbone and getattr(backbone, "keypoints", False):  # finding them is no graph
        backbone.trunk = fuse(backbone.trunk, packed=parts.packed_weights)
    elif parts.fused_backbone:
        form = fuse(backbone, packed=parts.packed_weights)
    return ChannelsLast(form) if parts.channels_last else form


def fuse(backbone: nn.Module, *, packed: bool) -> nn.Module:
    """The backbone in evaluation mode as a graph of `FusedConv2d` and what else it has.

    A backbone that cannot be traced, or normalizes in another way than by batch norm, keeps what it has there.
    """
    try:
        graph = _Tracer().trace(backbone)
    except Exception:
        return backbone
    traced = fx.GraphModule(backbone, graph)
    weight = next(backbone.parameters())
    sample = torch.zeros(1, 3, SAMPLE, SAMPLE, device=weight.device, dtype=weight.dtype)
    ShapeProp(traced).propagate(sample)
    fusion = _Fusion(traced, packed)
    fusion.convolutions()
    fusion.activations()
    fusion.sums()
    fusion.activations()
    return fusion.finish()


class _Tracer(fx.Tracer):
    """Stops at convolutions and batch norms of every kind."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        leaf = isinstance(m, (nn.Conv2d, nn.modules.batchnorm._BatchNorm))
        return leaf or super().is_leaf_module(m, module_qualified_name)


class _Fusion:
    """The passes over one graph; a node is fused with the next where nothing else reads it."""

    def __init__(self, traced: fx.GraphModule, packed: bool) -> None:
        self.traced, self.graph, self.packed = traced, traced.graph, packed
        self.modules: dict[Any, nn.Module] = dict(traced.named_modules())

    def module(self, node: Any) -> Any:
        """The module that a node calls, else None."""
        called = isinstance(node, fx.Node) and node.op == "call_module"
        return self.modules[node.target] if called else None

    def convolutions(self) -> None:
        """Every convolution becomes a fused one, the batch norm behind it folded in."""
        for node in list(self.graph.nodes):
            conv = self.module(node)
            if not isinstance(conv, nn.Conv2d) or conv.padding_mode != "zeros" or isinstance(conv.padding, str):
                continue
            activation, last, user = "none", node, _only_user(node)
            norm = self.module(user)
            if user is not None and isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None:
                name = _activation_of(norm)
                if name is not None:
                    conv, activation, last = fuse_conv_bn_eval(conv, norm), name, user
            self._replace(last, FusedConv2d(copy.deepcopy(conv), activation=activation, packed=self.packed), node.args)
            if last is not node:
                self.graph.erase_node(node)

    def activations(self) -> None:
        """An activation goes into the convolution before it; what does nothing goes."""
        for node in list(self.graph.nodes):
            name = ACTIVATION_NAMES.get(type(self.module(node)))
            if name is None:
                continue
            before = self.module(node.args[0])
            fits = isinstance(before, FusedConv2d) and before.activation == "none" and _only_user(node.args[0]) is node
            if fits and name != "none":
                before.activation = name
            if fits or name == "none":
                node.replace_all_uses_with(node.args[0])
                self.graph.erase_node(node)

    def sums(self) -> None:
        """A sum of two equal shapes goes into the convolution that gives one of them."""
        for node in list(self.graph.nodes):
            if node.op != "call_function" or node.target not in SUMS or len(node.args) != 2:
                continue
            for conv, other in (node.args, node.args[::-1]):
                module = self.module(conv)
                if not isinstance(module, FusedConv2d) or module.activation != "none" or _only_user(conv) is not node:
                    continue
                if len(conv.args) == 1 and _shape(conv) == _shape(other):
                    self._replace(node, module, (conv.args[0], other))
                    self.graph.erase_node(conv)
                    break

    def finish(self) -> fx.GraphModule:
        """The graph as a module again."""
        self.graph.eliminate_dead_code()
        self.traced.delete_all_unused_submodules()
        self.graph.lint()
        self.traced.recompile()
        return self.traced

    def _replace(self, node: Any, module: FusedConv2d, args: tuple[Any, ...]) -> None:
        name = f"fused_{sum(key.startswith('fused_') for key in self.modules)}"
        self.traced.add_module(name, module)
        self.modules[name] = module
        with self.graph.inserting_before(node):
            new = self.graph.call_module(name, args)
        new.meta = node.meta
        node.replace_all_uses_with(new)
        self.graph.erase_node(node)


def _activation_of(norm: nn.BatchNorm2d) -> str | None:
    """The activation that timm's batch norms bring along, "none" for torch's; None where that is unknown."""
    if not isinstance(getattr(norm, "drop", nn.Identity()), nn.Identity):
        return None
    activation: Any = getattr(norm, "act", nn.Identity())
    return ACTIVATION_NAMES.get(type(activation))


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _shape(node: Any) -> torch.Size | None:
    return node.meta["tensor_meta"].shape if isinstance(node, fx.Node) and "tensor_meta" in node.meta else None
