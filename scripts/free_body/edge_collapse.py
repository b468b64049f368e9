"""Edge collapse to an exact vertex count, for the skins of the synthetic body and hand and their coarser levels.

Works on a disc: a surface with one boundary loop. The loop is thinned along itself only, to a count of its own,
so a half figure cut by its mirror plane stays cut by that plane.
"""

from __future__ import annotations

import heapq
from math import sqrt

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MAX_VALENCE = 10
BEND_COST = 5.0
TURN_LIMITS = (0.5, 0.2, 0.0, -0.5)  # least cosine between a face's normals before and after, tried in turn


def _normal(a: list[float], b: list[float], c: list[float]) -> tuple[float, float, float]:
    ux, uy, uz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    vx, vy, vz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
    return uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx


class EdgeCollapse:
    """Collapses the relatively shortest edges first: length divided by the wanted length at its ends.

    One end of a collapsed edge stays where it is, so that the vertices that remain are a subset of those given. Edges
    that the surface bends along count as longer.

    Args:
        vertices: (V, 3); faces: (F, 3) of a disc; wanted: (V,) wanted edge length at each vertex (any common unit).

    After `run`, `arrays()` gives the mesh, and `owner` (V,) the remaining vertex each given one ended in.
    """

    def __init__(self, vertices: Array, faces: NDArray[np.int64], wanted: Array) -> None:
        self.points: list[list[float]] = vertices.tolist()
        self.faces: list[list[int]] = faces.tolist()
        self.wanted: list[float] = wanted.tolist()
        self.owner = list(range(len(vertices)))
        self.fans: list[set[int]] = [set() for _ in range(len(vertices))]
        for f, corners in enumerate(faces.tolist()):
            for v in corners:
                self.fans[v].add(f)
        self.planes = self._plane_sums(vertices, faces)
        self.rings = [self._ring(v) for v in range(len(vertices))]
        self.edge = [len(ring) != len(fan) for ring, fan in zip(self.rings, self.fans, strict=True)]
        self.alive = sum(1 for fan in self.fans if fan)
        self.alive_edge = sum(self.edge)

    def run(self, vertices: int, boundary: int) -> None:
        """Collapses until exactly `vertices` remain, `boundary` of them on the loop."""
        for limit in TURN_LIMITS:
            heap = [self._entry(u, v) for u, ring in enumerate(self.rings) for v in ring if u < v]
            heapq.heapify(heap)
            while heap and (self.alive, self.alive_edge) != (vertices, boundary):
                length, u, v = heapq.heappop(heap)
                if v not in self.rings[u] or self._entry(u, v)[0] != length:
                    continue
                along = self.edge[u] and self.edge[v]
                if along and self.alive_edge == boundary:
                    continue
                if not along and self.alive - self.alive_edge == vertices - boundary:
                    continue
                kept = self._try(u, v, limit)
                if kept is not None:
                    for w in self.rings[kept]:
                        heapq.heappush(heap, self._entry(min(kept, w), max(kept, w)))
            if (self.alive, self.alive_edge) == (vertices, boundary):
                return
        raise RuntimeError(f"the mesh sticks at {self.alive} vertices ({self.alive_edge} on its edge)")

    def arrays(self) -> tuple[Array, NDArray[np.int64], NDArray[np.int64]]:
        """Vertices (V, 3), faces (F, 3), and for each given vertex the row of the one it ended in."""
        kept = [v for v, fan in enumerate(self.fans) if fan]
        row = np.full(len(self.points), -1)
        row[kept] = np.arange(len(kept))
        faces = np.array([corners for corners in self.faces if corners], dtype=np.int64)
        owner = np.array([row[self._owner(v)] for v in range(len(self.points))])
        return np.array([self.points[v] for v in kept]), row[faces], owner

    def _owner(self, v: int) -> int:
        while self.owner[v] != v:
            v = self.owner[v]
        return v

    def _ring(self, v: int) -> set[int]:
        ring = {w for f in self.fans[v] for w in self.faces[f]}
        ring.discard(v)
        return ring

    def _entry(self, u: int, v: int) -> tuple[float, int, int]:
        a, b = self.points[u], self.points[v]
        length = sqrt((a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2 + (a[2] - b[2]) ** 2)
        bend = min(self._bend(u, v), self._bend(v, u))
        return (length + BEND_COST * bend) / (self.wanted[u] + self.wanted[v]), u, v

    @staticmethod
    def _plane_sums(vertices: Array, faces: NDArray[np.int64]) -> list[list[float]]:
        """(V, 11) lists: upper triangle of the sum of p p^T over a vertex's face planes p (4,) by area; that area."""
        normal = np.cross(vertices[faces[:, 1]] - vertices[faces[:, 0]], vertices[faces[:, 2]] - vertices[faces[:, 0]])
        area = np.linalg.norm(normal, axis=1)
        normal /= np.maximum(area, 1e-15)[:, None]
        plane = np.concatenate([normal, -(normal * vertices[faces[:, 0]]).sum(1, keepdims=True)], 1)
        rows, cols = np.triu_indices(4)
        sums = np.zeros((len(vertices), 11))
        for k in range(3):
            np.add.at(sums[:, :10], faces[:, k], plane[:, rows] * plane[:, cols] * area[:, None])
            np.add.at(sums[:, 10], faces[:, k], area)
        return sums.tolist()

    def _bend(self, gone: int, kept: int) -> float:
        """Root mean square distance of `kept` from the planes that `gone` stands for."""
        xx, xy, xz, xw, yy, yz, yw, zz, zw, ww, area = self.planes[gone]
        x, y, z = self.points[kept]
        total = (
            x * (xx * x + 2 * (xy * y + xz * z + xw)) + y * (yy * y + 2 * (yz * z + yw)) + z * (zz * z + 2 * zw) + ww
        )
        return sqrt(max(total, 0.0) / area)

    def _try(self, u: int, v: int, limit: float) -> int | None:
        """Collapses the edge if the surface stays a disc and no face turns too far: the vertex kept, else None."""
        shared = self.fans[u] & self.fans[v]
        common = self.rings[u] & self.rings[v]
        if len(common) != len(shared) or any(len(self.fans[w]) <= 3 - self.edge[w] for w in common):
            return None
        if self.edge[u] and self.edge[v] and len(shared) != 1:
            return None
        if len(self.rings[u]) + len(self.rings[v]) - 2 - len(common) > MAX_VALENCE:
            return None
        for gone, kept in self._ways(u, v):
            if self._turn(gone, self.points[kept], shared) >= limit:
                self._merge(gone, kept, shared)
                return kept
        return None

    def _ways(self, u: int, v: int) -> list[tuple[int, int]]:
        if self.edge[u] != self.edge[v]:
            return [(v, u)] if self.edge[u] else [(u, v)]
        return [(u, v), (v, u)] if self._bend(u, v) <= self._bend(v, u) else [(v, u), (u, v)]

    def _turn(self, v: int, place: list[float], shared: set[int]) -> float:
        """The least cosine by which the faces around v turn when v goes to `place`."""
        least = 1.0
        for f in self.fans[v] - shared:
            a, b, c = self.faces[f]
            before = _normal(self.points[a], self.points[b], self.points[c])
            corners = [place if w == v else self.points[w] for w in (a, b, c)]
            after = _normal(*corners)
            dot = before[0] * after[0] + before[1] * after[1] + before[2] * after[2]
            size = sqrt(sum(x * x for x in before) * sum(x * x for x in after))
            least = min(least, dot / size if size > 1e-18 else -1.0)
        return least

    def _merge(self, gone: int, kept: int, shared: set[int]) -> None:
        for f in shared:
            for w in self.faces[f]:
                self.fans[w].discard(f)
            self.faces[f] = []
        for f in self.fans[gone]:
            self.faces[f] = [kept if w == gone else w for w in self.faces[f]]
        self.fans[kept] |= self.fans[gone]
        self.fans[gone] = set()
        ring = self.rings[gone] | self.rings[kept]
        self.rings[gone] = set()
        for w in ring - {gone, kept}:
            self.rings[w].discard(gone)
            self.rings[w].add(kept)
        self.rings[kept] = ring - {gone, kept}
        self.owner[gone] = kept
        self.planes[kept] = [p + q for p, q in zip(self.planes[gone], self.planes[kept], strict=True)]
        self.alive -= 1
        if self.edge[gone]:
            self.alive_edge -= 1
