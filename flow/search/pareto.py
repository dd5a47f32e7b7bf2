"""Pareto order and indicators, all for minimisation.

Non-dominated sorting and crowding: Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II", IEEE
TEC 6(2), 2002. Hypervolume: exclusive volumes with slicing of the last objective, after While, Bradstreet, Barone, "A
fast way of calculating exact hypervolumes" (WFG), IEEE TEC 16(1), 2012. IGD+: Ishibuchi et al., EMO 2015. Additive
epsilon: Zitzler et al., IEEE TEC 7(2), 2003.

Points are arrays (n, m): n points of m objectives. NaN raises SearchError everywhere; infinities are treated as each
function says.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flow.search import Floats, SearchError

Indices = NDArray[np.intp]


def points_array(points: ArrayLike, what: str = "points") -> Floats:
    """``points`` as an array (n, m). Raises SearchError on another shape or NaN."""
    a = np.asarray(points, dtype=np.float64)
    if a.size == 0 and a.ndim < 2:
        a = a.reshape(0, 0)
    if a.ndim != 2:
        raise SearchError(f"{what} must be a list of points, shape (n, objectives), not {a.shape}")
    if np.isnan(a).any():
        raise SearchError(f"{what}: NaN in point {int(np.argmax(np.isnan(a).any(axis=1)))}; drop failed trials first")
    return a


def nondominated(points: ArrayLike) -> NDArray[np.bool_]:
    """(n,) True where no other point is at least as good in every objective and better in one.

    Equal points are all kept. Infinities compare as numbers.
    """
    a = points_array(points)
    if a.shape[1] == 1 and len(a):
        return np.asarray(a[:, 0] == a[:, 0].min())
    if a.shape[1] == 2 and len(a):
        return _nondominated_pairs(a)
    result = np.zeros(len(a), dtype=bool)
    # Lexicographic order: whatever dominates a point stands before it, so the first of the remaining is never
    # dominated.
    rest = np.lexsort(a.T[::-1]) if len(a) else np.zeros(0, dtype=np.intp)
    while len(rest):
        head = a[rest[0]]
        left = a[rest]
        equal = (left == head).all(axis=1)
        result[rest[equal]] = True
        rest = rest[(left < head).any(axis=1)]
    return result


def _nondominated_pairs(a: Floats) -> NDArray[np.bool_]:
    """In the order of the first value: undominated is whoever has the least second value of its equals in the first,
    and less than all before those."""
    order = np.lexsort((a[:, 1], a[:, 0]))
    x, y = a[order].T
    first = np.concatenate([[True], x[1:] != x[:-1]])
    start = np.maximum.accumulate(np.where(first, np.arange(len(a)), 0))
    before = np.concatenate([[np.inf], np.minimum.accumulate(y)[:-1]])[start]
    result = np.empty(len(a), dtype=bool)
    result[order] = (y == y[start]) & ((start == 0) | (y < before))
    return result


def fronts(values: ArrayLike, violation: ArrayLike | None = None, limit: int | None = None) -> list[Indices]:
    """Indices by rank under constrained domination: feasible points by domination, then infeasible ones by violation.

    With ``limit``, fronts after the one that brings the count to ``limit`` are left out.
    Infeasible points' values are not looked at, so they may be infinite.
    """
    a = points_array(values)
    v = np.zeros(len(a)) if violation is None else np.asarray(violation, dtype=np.float64)
    if v.shape != (len(a),) or np.isnan(v).any():
        raise SearchError(f"violation must be {len(a)} numbers, none NaN")
    limit = len(a) if limit is None else limit
    result: list[Indices] = []
    count = 0
    rest = np.flatnonzero(v <= 0)
    while len(rest) and count < limit:
        best = nondominated(a[rest])
        result.append(rest[best])
        count += int(best.sum())
        rest = rest[~best]
    bad = np.flatnonzero(v > 0)
    for level in np.unique(v[bad]):
        if count >= limit:
            break
        result.append(bad[v[bad] == level])
        count += len(result[-1])
    return result


def crowding(values: ArrayLike) -> Floats:
    """(n,) crowding distance within one front: ``inf`` at each objective's ends. Infinite values raise SearchError."""
    a = points_array(values)
    if not np.isfinite(a).all():
        raise SearchError("crowding needs finite values")
    n, m = a.shape
    distance = np.zeros(n)
    if n <= 2:
        return np.full(n, np.inf)
    for j in range(m):
        order = np.argsort(a[:, j], kind="stable")
        column = a[order, j]
        span = column[-1] - column[0]
        if span <= 0:
            continue
        distance[order[1:-1]] += (column[2:] - column[:-2]) / span
        distance[order[[0, -1]]] = np.inf
    return distance


def select(values: ArrayLike, violation: ArrayLike, count: int) -> tuple[Indices, Indices, Floats]:
    """NSGA-II's survivors.

    ``count`` indices (fewer where there are fewer points), with their ranks and crowding distances.
    """
    a = points_array(values)
    v = np.asarray(violation, dtype=np.float64)
    chosen: list[tuple[int, int, float]] = []
    for rank, front in enumerate(fronts(a, v, count)):
        feasible = bool(v[front[0]] <= 0)
        distance = crowding(a[front]) if feasible else np.zeros(len(front))
        order = np.argsort(-distance, kind="stable")[: count - len(chosen)]
        chosen += [(int(front[i]), rank, float(distance[i])) for i in order]
    index, rank_of, crowd = zip(*chosen, strict=True) if chosen else ((), (), ())
    return np.array(index, dtype=np.intp), np.array(rank_of, dtype=np.intp), np.array(crowd, dtype=np.float64)


def hypervolume(points: ArrayLike, reference: Sequence[float]) -> float:
    """The volume dominated by ``points`` and bounded by ``reference``, exact, for any number of objectives.

    Points that are not better than the reference in every objective (``+inf`` among them) contribute 0.
    Raises SearchError for NaN, ``-inf`` or a reference that is not finite.
    """
    a, r = points_array(points), np.asarray(reference, dtype=np.float64)
    if r.ndim != 1 or not len(r) or not np.isfinite(r).all():
        raise SearchError(f"hypervolume's reference must be finite numbers, one an objective, not {list(reference)}")
    if not len(a):
        return 0.0
    if a.shape[1] != len(r):
        raise SearchError(f"hypervolume: {a.shape[1]} objectives, {len(r)} numbers in the reference")
    if np.isneginf(a).any():
        raise SearchError("hypervolume is infinite: -inf among the points")
    gain = r - a[(a < r).all(axis=1)]  # from here on larger is better, reference 0
    return _volume(gain[nondominated(-gain)]) if len(gain) else 0.0


def _volume(gain: Floats) -> float:
    """Volume of the union of the boxes [0, gain[i]]."""
    n, m = gain.shape
    if n == 1:
        return float(np.prod(gain[0]))
    if m == 1:
        return float(gain.max())
    if m == 2:
        x, y = gain[np.argsort(-gain[:, 0], kind="stable")].T
        height = np.maximum.accumulate(y)
        return float(np.sum(x * np.diff(height, prepend=0.0)))
    # Thinnest first in the last objective: limited to box i, all later boxes are as thick as it, so one dimension
    # drops out.
    gain = gain[np.argsort(gain[:, -1], kind="stable")]
    total = 0.0
    for i, box in enumerate(gain):
        base = float(np.prod(box[:-1]))
        others = np.minimum(gain[i + 1 :, :-1], box[:-1])
        if len(others):
            base -= _volume(others[nondominated(-others)] if m > 3 else others)
        total += base * float(box[-1])
    return total


def contributions(points: ArrayLike, reference: Sequence[float]) -> Floats:
    """(n,) the hypervolume each point alone adds; equal points add 0 each."""
    a = points_array(points)
    if a.shape[1] == 2 and len(a) and (a < np.asarray(reference)).all() and nondominated(a).all():
        return _steps(a, reference)
    whole = hypervolume(a, reference)
    return np.array([max(0.0, whole - hypervolume(np.delete(a, i, axis=0), reference)) for i in range(len(a))])


def _steps(a: Floats, reference: Sequence[float]) -> Floats:
    """Contributions of undominated pairs within the reference: a rectangle between its neighbours each."""
    order = np.lexsort((a[:, 1], a[:, 0]))
    x, y = a[order].T
    width, height = np.append(x[1:], reference[0]) - x, np.concatenate([[reference[1]], y[:-1]]) - y
    result = np.empty(len(a))
    result[order] = width * height
    return result


def gains(points: ArrayLike, others: ArrayLike, reference: Sequence[float]) -> Floats:
    """(n,) the hypervolume that each point would add to that of ``others``, each on its own.

    A point's box is cut out of by the others' boxes within it, so only the front's part of it is computed.
    """
    a, b, r = points_array(points), points_array(others), np.asarray(reference, dtype=np.float64)
    front = r - b[nondominated(b) & (b < r).all(axis=1)] if len(b) else np.empty((0, len(r)))
    found = np.zeros(len(a))
    boxes = r - a
    covered = np.asarray((front[None] >= boxes[:, None]).all(axis=2), dtype=bool)
    useful = (boxes > 0).all(axis=1) & ~covered.any(axis=1)
    for i in np.flatnonzero(useful):
        box = boxes[i]
        inside = np.minimum(front, box)
        taken = _volume(inside[nondominated(-inside)]) if len(inside) else 0.0
        found[i] = max(0.0, float(np.prod(box)) - taken)
    return found


def _finite(points: ArrayLike, what: str) -> Floats:
    a = points_array(points, what)
    if not np.isfinite(a).all():
        raise SearchError(f"{what}: infinite values; drop failed trials first")
    return a


def igd_plus(points: ArrayLike, true_front: ArrayLike) -> float:
    """Mean over ``true_front`` of what the nearest point lacks, a Euclidean distance; ``inf`` without points."""
    a, z = _finite(points, "points"), _finite(true_front, "true front")
    if not len(z):
        raise SearchError("IGD+ needs a true front of at least one point")
    if not len(a):
        return float("inf")
    return float(np.mean([np.sqrt((np.maximum(a - t, 0.0) ** 2).sum(axis=1)).min() for t in z]))


def epsilon(points: ArrayLike, true_front: ArrayLike) -> float:
    """Additive epsilon.

    The smallest shift of ``points`` after which they weakly dominate ``true_front``; ``inf`` without points.
    """
    a, z = _finite(points, "points"), _finite(true_front, "true front")
    if not len(z):
        raise SearchError("epsilon needs a true front of at least one point")
    if not len(a):
        return float("inf")
    return float(max((a - t).max(axis=1).min() for t in z))


def chebyshev(values: ArrayLike, weights: ArrayLike) -> Floats:
    """(n,) augmented Chebyshev scalarisation of values scaled to 0..1 over the points.

    Knowles, "ParEGO", IEEE TEC 10(1), 2006.
    """
    a, w = points_array(values), np.asarray(weights, dtype=np.float64)
    low, high = a.min(axis=0), a.max(axis=0)
    scaled = (a - low) / np.where(high > low, high - low, 1.0) * w
    return np.asarray(scaled.max(axis=1) + 0.05 * scaled.sum(axis=1), dtype=np.float64)
