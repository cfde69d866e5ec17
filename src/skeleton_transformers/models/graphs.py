"""Graphs of a skeleton for graph convolutions, made from its layout.

All matrices are `(subsets, joints, joints)` float32 and have the source first: `x @ matrix` gathers, for every joint w (column),
the values of the joints v (rows) that send to it. Columns are normalised, so that a joint averages what it receives.
"""

import numpy as np

from ..skeletons import SkeletonLayout


PARTITIONS = ("spatial", "distance", "uniform")
HOPS_TO_CENTER = ("truncated", "full")


def hop_distances(layout: SkeletonLayout, max_hop: int | None = None) -> np.ndarray:
    """Edges between every two joints, along the shortest way in the graph of the layout.

    Args:
        layout: its `edges` are used, in both directions.
        max_hop: joints farther apart than this count as out of reach; None for no limit.

    Returns:
        float64 `(joints, joints)`, infinite for joints out of reach.
    """
    joints = layout.num_joints
    neighbours = np.zeros((joints, joints), dtype=bool)
    for child, parent in layout.edges:
        neighbours[child, parent] = neighbours[parent, child] = True
    distances = np.full((joints, joints), np.inf)
    reached = np.eye(joints, dtype=bool)
    for hop in range(joints if max_hop is None else min(max_hop + 1, joints)):
        distances[reached & np.isinf(distances)] = hop
        reached = reached | (reached @ neighbours)
    return distances


def normalize_columns(matrix: np.ndarray) -> np.ndarray:
    """Divides every column by its sum; a column of zeros stays."""
    sums = matrix.sum(axis=0)
    return matrix / np.where(sums > 0, sums, 1)


def partitioned_graph(
    layout: SkeletonLayout, partition: str = "spatial", max_hop: int = 1, hop_to_center: str = "truncated"
) -> np.ndarray:
    """Neighbours of every joint within `max_hop` edges, in subsets that get weights of their own (ST-GCN, Sec. 3.3).

    Args:
        layout: the skeleton; its `graph_center` is the centre of gravity of the `"spatial"` partition.
        partition: `"uniform"`, all neighbours and the joint itself in one subset; `"distance"`, a subset for each number of edges;
            `"spatial"`, the joint itself, then for each number of edges first the neighbours that are as far from the centre
            as the joint or farther, then those nearer to it.
        max_hop: edges to the farthest neighbour.
        hop_to_center: how far a joint is from the centre: `"full"` counts all edges; `"truncated"` counts up to `max_hop` and takes
            all joints beyond for equally far, as the released code of ST-GCN and AS-GCN does.

    Returns:
        float32 `(subsets, joints, joints)`; the columns of all subsets together have the sum 1.
    """
    hops = hop_distances(layout, max_hop)
    matrix = normalize_columns(np.isfinite(hops).astype(np.float64))
    if partition == "uniform":
        return matrix[None].astype(np.float32)
    if partition == "distance":
        return np.stack([np.where(hops == hop, matrix, 0) for hop in range(max_hop + 1)]).astype(np.float32)
    to_center = (hops if hop_to_center == "truncated" else hop_distances(layout))[:, layout.graph_center]
    nearer = to_center[:, None] < to_center[None, :]  # (source, target)
    subsets = [np.where(hops == 0, matrix, 0)]
    for hop in range(1, max_hop + 1):
        subsets += [np.where((hops == hop) & ~nearer, matrix, 0), np.where((hops == hop) & nearer, matrix, 0)]
    return np.stack(subsets).astype(np.float32)


def directed_graph(layout: SkeletonLayout) -> np.ndarray:
    """Itself, inward and outward (2s-AGCN, Sec. 3.1): three matrices, of which each is normalised for itself.

    Args:
        layout: its `edges` are pairs of child and parent, the parent nearer to the centre.

    Returns:
        float32 `(3, joints, joints)`: a joint itself, its parents, its children.
    """
    outward = np.zeros((layout.num_joints, layout.num_joints))
    for child, parent in layout.edges:
        outward[child, parent] = 1
    return np.stack(
        [np.eye(layout.num_joints), normalize_columns(outward.T), normalize_columns(outward)], dtype=np.float32
    )


__all__ = [
    "HOPS_TO_CENTER",
    "PARTITIONS",
    "directed_graph",
    "hop_distances",
    "normalize_columns",
    "partitioned_graph",
]
