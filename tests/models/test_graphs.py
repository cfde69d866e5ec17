"""Graphs of the layouts, against the numbers of the released codes and against their definitions."""

import numpy as np
import pytest
import torch

from skeleton_transformers import get_layout, list_layouts
from skeleton_transformers.models.graphs import directed_graph, hop_distances, partitioned_graph


def test_distances_are_those_of_the_shortest_way():
    layout = get_layout("ntu25")
    distances = hop_distances(layout)
    assert np.isfinite(distances).all() and (distances == distances.T).all() and not distances.diagonal().any()
    assert distances[layout.index("spine_base"), layout.index("head")] == 4  # spine_mid, spine_shoulder, neck
    near = hop_distances(layout, 2)
    assert (np.isinf(near) == (distances > 2)).all() and (near[distances <= 2] == distances[distances <= 2]).all()


@pytest.mark.parametrize(
    "max_hop, rule, expected",
    [
        (1, "truncated", [25, 40, 8]),
        (1, "full", [25, 24, 24]),
        (4, "truncated", [25, 28, 20, 34, 20, 30, 30, 40, 26]),
    ],
)
def test_subsets_have_as_many_entries_as_in_the_released_codes(max_hop, rule, expected):
    graph = partitioned_graph(get_layout("ntu25"), max_hop=max_hop, hop_to_center=rule)
    assert [(subset > 0).sum() for subset in graph] == expected


def test_subsets_have_the_sums_of_the_released_code():
    sums = partitioned_graph(get_layout("ntu25")).sum(axis=(1, 2))
    assert sums == pytest.approx([8.95, 13.30, 2.75], abs=1e-5)


@pytest.mark.parametrize("name, max_hop", [("stgcn", 1), ("asgcn", 4)])
def test_graphs_equal_the_originals(name, max_hop, golden):
    expected, graph = golden[name]["A"], partitioned_graph(get_layout("ntu25"), max_hop=max_hop)
    assert graph.size == expected["numel"]
    assert graph.flatten()[:8] == pytest.approx(expected["first8"], abs=1e-6)
    assert graph.sum() == pytest.approx(expected["sum"], rel=1e-6)
    assert np.abs(graph).mean() == pytest.approx(expected["abs_mean"], abs=1e-6)


@pytest.mark.parametrize("layout", list_layouts())
@pytest.mark.parametrize("partition", ["uniform", "distance", "spatial"])
@pytest.mark.parametrize("rule", ["truncated", "full"])
def test_a_joint_averages_its_neighbours_on_every_layout(layout, partition, rule):
    layout = get_layout(layout)
    for max_hop in (1, 3):
        graph = partitioned_graph(layout, partition, max_hop, rule)
        assert graph.dtype == np.float32 and np.isfinite(graph).all() and (graph >= 0).all()
        np.testing.assert_allclose(graph.sum(axis=(0, 1)), 1, rtol=1e-5)
        assert ((graph > 0).sum(axis=0) == np.isfinite(hop_distances(layout, max_hop))).all()  # subsets do not overlap


def test_the_spatial_partition_goes_by_the_distance_to_the_centre():
    layout = get_layout("openpose18")
    inner, elbow, wrist = (layout.index(f"left_{joint}") for joint in ("shoulder", "elbow", "wrist"))
    graph = partitioned_graph(layout, hop_to_center="full")
    # The elbow receives from itself, from the wrist (farther) and from the shoulder (nearer).
    assert [np.flatnonzero(subset[:, elbow]).tolist() for subset in graph] == [[elbow], [wrist], [inner]]


@pytest.mark.parametrize("layout", list_layouts())
def test_inward_and_outward_are_each_normalised(layout):
    layout = get_layout(layout)
    itself, inward, outward = directed_graph(layout)
    assert (itself == np.eye(layout.num_joints)).all()
    assert ((inward > 0) == (outward > 0).T).all() and (inward > 0).sum() == len(layout.edges)
    for matrix in (inward, outward):
        sums = matrix.sum(axis=0)
        np.testing.assert_allclose(sums[sums > 0], 1, rtol=1e-6)
    child, parent = layout.edges[0]
    assert inward[parent, child] > 0 and outward[child, parent] > 0


def test_directed_subsets_have_as_many_entries_as_in_the_released_code():
    assert [(subset > 0).sum() for subset in directed_graph(get_layout("ntu25"))] == [25, 24, 24]


def test_layers_of_a_graph_network_are_those_that_it_says():
    # Not a graph of the package: the matrices are what the convolution multiplies by.
    from skeleton_transformers.models.graph_layers import PartitionedGraphConvolution

    torch.manual_seed(0)
    layer, graph = PartitionedGraphConvolution(3, 4, 3, 25), torch.from_numpy(partitioned_graph(get_layout("ntu25")))
    states = torch.randn(2, 3, 5, 25)
    weight, bias = layer.conv.weight[:, :, 0, 0].view(3, 4, 3), layer.conv.bias.view(3, 4)
    expected = sum(
        (torch.einsum("oc,nctv->notv", weight[k], states) + bias[k][:, None, None]) @ graph[k] for k in range(3)
    )
    torch.testing.assert_close(layer(states, graph), expected, atol=1e-5, rtol=1e-5)
