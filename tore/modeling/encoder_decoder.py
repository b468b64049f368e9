"""FastMETRO's Transformer: an encoder over [camera; image] tokens and a decoder over query tokens.

Pre-norm, ReLU, learned queries. The position code goes to the queries and keys of image tokens only, never
to the camera token and never to values; the decoder looks at the encoded image tokens without the camera token.
The same class serves as the neural shape regressor's Transformer, where joint tokens stand in for image tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tore.modeling.attention import Allowed, MultiHeadAttention
from tore.modeling.dropout import Dropout
from tore.modeling.linear import Linear


class FeedForward(nn.Module):
    """Linear, ReLU, dropout, Linear."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.linear1 = Linear(width, hidden)
        self.linear2 = Linear(hidden, width)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, width) -> (B, N, width)."""
        return self.linear2(self.dropout(self.linear1(x).relu()))


class EncoderLayer(nn.Module):
    """Self-attention and a feed-forward network, each behind a LayerNorm and around a residual."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = MultiHeadAttention(width, heads, dropout)
        self.feed_forward = FeedForward(width, hidden, dropout)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.dropout = Dropout(dropout)

    def forward(self, tokens: Tensor, code: Tensor) -> Tensor:
        """tokens (B, N, width), code (N, width) or (B, N, width) -> (B, N, width)."""
        normed = self.norm1(tokens)
        placed = normed + code
        tokens = tokens + self.dropout(self.self_attn(placed, placed, normed))
        return tokens + self.dropout(self.feed_forward(self.norm2(tokens)))


class DecoderLayer(nn.Module):
    """Self-attention of the queries, cross-attention to the memory, feed-forward network."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = MultiHeadAttention(width, heads, dropout)
        self.cross_attn = MultiHeadAttention(width, heads, dropout)
        self.feed_forward = FeedForward(width, hidden, dropout)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.norm3 = nn.LayerNorm(width)
        self.dropout = Dropout(dropout)

    def forward(self, queries: Tensor, memory: Tensor, placed_memory: Tensor, allowed: Allowed) -> Tensor:
        """queries (B, Q, width); memory with and without position code (B, N, width); allowed (Q, Q)."""
        normed = self.norm1(queries)
        queries = queries + self.dropout(self.self_attn(normed, normed, normed, allowed))
        queries = queries + self.dropout(self.cross_attn(self.norm2(queries), placed_memory, memory))
        return queries + self.dropout(self.feed_forward(self.norm3(queries)))


class EncoderDecoder(nn.Module):
    """`layers` encoder layers, `layers` decoder layers, a final LayerNorm on both sides (paper section 3.3)."""

    def __init__(self, *, width: int, heads: int, hidden: int, layers: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.width = width
        self.encoder = nn.ModuleList(EncoderLayer(width, heads, hidden, dropout) for _ in range(layers))
        self.encoder_norm = nn.LayerNorm(width)
        self.decoder = nn.ModuleList(DecoderLayer(width, heads, hidden, dropout) for _ in range(layers))
        self.decoder_norm = nn.LayerNorm(width)
        for matrix in (parameter for parameter in self.parameters() if parameter.dim() > 1):
            nn.init.xavier_uniform_(matrix)

    def forward(
        self, image: Tensor, camera: Tensor, queries: Tensor, code: Tensor, allowed: Allowed = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Encodes the image tokens with the camera token and decodes the queries.

        Args:
            image: (B, N, width) image tokens.
            camera: (B, 1, width) camera token.
            queries: (B, Q, width) learned query tokens.
            code: (N, width) position code of the image tokens, or (B, N, width) where pictures differ in it.
            allowed: (Q, Q) bool, which query may look at which, or the same as blocks; None allows all.

        Returns:
            camera feature (B, 1, width), encoded image tokens (B, N, width), decoded queries (B, Q, width).
        """
        tokens = torch.cat((camera, image), dim=1)  # (B, 1 + N, width)
        placement = torch.cat((torch.zeros_like(code[..., :1, :]), code), dim=-2)  # none for the camera token
        for encode in self.encoder:
            tokens = encode(tokens, placement)
        camera, memory = self.encoder_norm(tokens).split((1, image.shape[1]), dim=1)
        placed_memory = memory + code
        for decode in self.decoder:
            queries = decode(queries, memory, placed_memory, allowed)
        return camera, memory, self.decoder_norm(queries)
