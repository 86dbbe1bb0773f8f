"""A small diffusion transformer (DiT, arXiv 2212.09748) for pixels: noised images, time and label to a prediction.

Time and label have one embedder each, shared by all blocks; a block reads them through adaLN-Zero:

    c = time(t) + label(y)
    (shift, scale, gate) twice = linear(silu(c)), zero at first
    h <- h + gate1 attention(scale1(norm(h)))
    h <- h + gate2 mlp(scale2(norm(h)))

The last linear layer is zero at first too, so a new network gives zeros and its blocks are identities. Labels go from 0 to
`classes`; the last is the null class, of samples without a label. Nothing in the network is random: labels are dropped once a
sample where batches are made (training.py), not in each block as in diffusers' class.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FREQUENCIES = 128  # of the sines and cosines that time is known by
SLOWEST = 10_000.0  # the period of the slowest of them, over 2 pi: times go from 0 to 1000


def waves(t: Tensor, count: int) -> Tensor:
    """Cosines and sines `(B, count)` of times `(B,)`, with periods from 2 pi to 2 pi `SLOWEST`."""
    half = count // 2
    speed = torch.exp(-math.log(SLOWEST) * torch.arange(half, device=t.device, dtype=t.dtype) / half)
    angle = t[:, None] * speed
    return torch.cat((angle.cos(), angle.sin()), 1)


def grid(rows: int, columns: int, width: int) -> Tensor:
    """Waves `(rows * columns, width)` of the place of each patch: a half for its row, a half for its column."""
    row, column = torch.arange(rows).repeat_interleave(columns), torch.arange(columns).repeat(rows)
    return torch.cat((waves(row.float(), width // 2), waves(column.float(), width // 2)), 1)


def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Tokens `(B, N, D)`, scaled and shifted by `(B, D)`."""
    return x * (1 + scale[:, None]) + shift[:, None]


class Block(nn.Module):
    """Attention among the patches, then a perceptron for each, both gated by the condition."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = (nn.LayerNorm(width, elementwise_affine=False, eps=1e-6) for _ in range(2))
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.condition = nn.Linear(width, 6 * width)

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        """Tokens `(B, N, D)` and condition `(B, D)` to tokens."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.condition(c).chunk(6, 1)
        h = h + gate1[:, None] * self._attention(modulated(self.norm1(h), shift1, scale1))
        hidden = F.gelu(self.up(modulated(self.norm2(h), shift2, scale2)), approximate="tanh")
        return h + gate2[:, None] * self.down(hidden)

    def _attention(self, h: Tensor) -> Tensor:
        b, n, d = h.shape
        q, k, v = self.qkv(h).view(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, d))


class Transformer(nn.Module):
    """`(z (B, C, H, W), t (B,) from 0 to 1000, y (B,) int64) -> (B, C, H, W)`.

    Args:
        shape: `(C, H, W)` of z.
        classes: how many, without the null class.
        patch: side of a patch; it divides H and W.
        width: numbers a token, a multiple of 4 and of `heads`.
        depth: blocks.
        heads: of each attention.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int, *, patch: int, width: int, depth: int, heads: int):
        super().__init__()
        channels, height, across = shape
        self.patch, self.rows, self.columns = patch, height // patch, across // patch
        self.patches = nn.Linear(channels * patch**2, width)
        self.place = nn.Parameter(grid(self.rows, self.columns, width))
        self.time1, self.time2 = nn.Linear(2 * FREQUENCIES, width), nn.Linear(width, width)
        self.label = nn.Embedding(classes + 1, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.condition = nn.Linear(width, 2 * width)
        self.last = nn.Linear(width, channels * patch**2)
        self._initialise()

    def _initialise(self) -> None:
        """Linear layers by Xavier, labels by a deviation of .5, what gates and what comes last zero.

        DiT starts both embedders with a deviation of .02; what reads them then learns too slowly for a short training.
        """
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.label.weight, std=0.5)
        for zero in (*self._conditions(), self.last):
            nn.init.zeros_(zero.weight)

    def _conditions(self) -> list[nn.Linear]:
        """The layers that read the condition."""
        return [block.condition for block in self.blocks if isinstance(block, Block)] + [self.condition]

    def forward(self, z: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """The prediction for each image."""
        time = self.time2(F.silu(self.time1(waves(t.to(z.dtype), 2 * FREQUENCIES))))
        c = F.silu(time + self.label(y))
        h = self.patches(self._cut(z)) + self.place
        for block in self.blocks:
            h = block(h, c)
        shift, scale = self.condition(c).chunk(2, 1)
        return self._joined(self.last(modulated(self.norm(h), shift, scale)))

    def _cut(self, z: Tensor) -> Tensor:
        """Images to patches `(B, N, C * patch^2)`."""
        b, c, p = len(z), z.shape[1], self.patch
        parts = z.view(b, c, self.rows, p, self.columns, p).permute(0, 2, 4, 1, 3, 5)
        return parts.reshape(b, self.rows * self.columns, c * p * p)

    def _joined(self, h: Tensor) -> Tensor:
        """The inverse of `_cut`."""
        b, p = len(h), self.patch
        parts = h.view(b, self.rows, self.columns, -1, p, p).permute(0, 3, 1, 4, 2, 5)
        return parts.reshape(b, -1, self.rows * p, self.columns * p)
