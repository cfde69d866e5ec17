"""Paths and names that must not be published."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skeleton_transformers.hub.privacy import find_private, remove_paths


@pytest.mark.parametrize(
    "text, clean",
    [
        ("store: /home/anna/stores/ntu60", "store: ntu60"),
        ("from `/mnt/x/encoder/`.", "from `encoder`."),
        ('{"a": "/a/b", "b": ["~/runs/x"]}', '{"a": "b", "b": ["x"]}'),
        (r'{"a": "C:\\Users\\Anna\\runs"}', '{"a": "runs"}'),
        ("D:/data/ntu60 (all)", "ntu60 (all)"),
        (r"\\server\share\ntu60", "ntu60"),
        ("file:///home/anna/x.npy", "x.npy"),
        ("store=/scratch/anna/ntu60 seed=1", "store=ntu60 seed=1"),
        ("in /tmp now", "in tmp now"),
        # no paths
        ("https://example.org/a/b.html", None),
        ("train/validation, 30 frames/s, </details>, 1/2, a and/or b", None),
        ("examples/configs/hitrs.yaml, runs/x, me/model, ../x", None),
        ("12:30, label: walk/run", None),
        ("loss: 0.1 / 0.2 (/s)", None),
        ("Liu et al., arXiv:1234/5678", None),
    ],
)
def test_absolute_paths_lose_all_but_their_last_part(text, clean):
    assert remove_paths(text) == (text if clean is None else clean)
    assert bool([found for found in find_private(text) if "/" in found or "\\" in found]) == (clean is not None)


@given(
    st.lists(st.text(alphabet="abcXYZ019_-.", min_size=1, max_size=8), min_size=2, max_size=5), st.text(max_size=20)
)
def test_no_path_survives(parts, around):
    cleaned = remove_paths(f"{around} /{'/'.join(parts)} {around}")
    assert f"/{'/'.join(parts)}" not in cleaned
    assert find_private(f'"/{"/".join(parts)}"')


def test_names_of_the_user_and_the_machine_are_found(monkeypatch):
    monkeypatch.setenv("LOGNAME", "annalena")
    monkeypatch.setattr("socket.gethostname", lambda: "gpu-07")
    assert find_private("by annalena on gpu-07") == ["annalena", "gpu-07"]
    assert find_private("by annalena on gpu-07", public=("annalena", "model")) == ["gpu-07"]
    assert find_private("annalenas gpu-071") == []
    monkeypatch.setenv("LOGNAME", "root")  # a joint of the body, and nobody's name
    monkeypatch.setattr("socket.gethostname", lambda: "localhost")
    assert "root" not in find_private("the root joint on localhost")
