"""METRO's progressive block: a short BERT encoder with its input and output projections.

The published block also carries BERT's word, position and token-type embeddings and its pooler; nothing reads
them, so they are not here (docs/FIDELITY.md).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from tore.modeling.attention import attend
from tore.modeling.dropout import Dropout
from tore.modeling.linear import Linear

LAYER_NORM_EPS = 1e-12
INITIAL_STD = 0.02
MAX_POSITIONS = 512


class BertLayer(nn.Module):
    """Post-norm self-attention and a GELU feed-forward network."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query = Linear(width, width)
        self.key = Linear(width, width)
        self.value = Linear(width, width)
        self.attention_output = Linear(width, width)
        self.attention_norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.intermediate = Linear(width, hidden)
        self.output = Linear(hidden, width)
        self.output_norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, J, width) -> (B, J, width)."""
        dropout = self.dropout.p if self.training else 0.0
        mixed = attend(self.query(x), self.key(x), self.value(x), heads=self.heads, dropout=dropout)
        x = self.attention_norm(self.dropout(self.attention_output(mixed)) + x)
        return self.output_norm(self.dropout(self.output(F.gelu(self.intermediate(x)))) + x)


class MetroBlock(nn.Module):
    """Linear embedding + learned position code, BERT layers, Linear output + residual Linear of the input."""

    def __init__(
        self, *, inputs: int, width: int, outputs: int, layers: int, heads: int, hidden: int, dropout: float
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"METRO block width {width} is not divisible by {heads} heads")
        self.embedding = Linear(inputs, width)
        self.positions = nn.Embedding(MAX_POSITIONS, width)
        self.dropout = Dropout(dropout)
        self.layers = nn.Sequential(*(BertLayer(width, heads, hidden, dropout) for _ in range(layers)))
        self.head = Linear(width, outputs)
        self.residual = Linear(inputs, outputs)
        self.apply(_initialise)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, J, inputs) -> output (B, J, outputs), last hidden state (B, J, width)."""
        positions = self.positions.weight[: x.shape[1]]  # (J, width)
        hidden = self.layers(self.dropout(positions + self.embedding(x)))
        return self.head(hidden) + self.residual(x), hidden


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=INITIAL_STD)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
