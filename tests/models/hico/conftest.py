"""An original checkpoint with the weights of the golden values, and tiny models."""

import pytest
import torch


def encoder_shapes(encoder: str, prefix: str) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for branch, inputs in (("t", 150), ("s", 192)):
        name = f"{prefix}hi_encoder.{branch}_"
        shapes |= {f"{name}embedding.0.weight": (512, inputs), f"{name}embedding.0.bias": (512,)}
        shapes |= {f"{name}embedding.1.weight": (512,), f"{name}embedding.1.bias": (512,)}
        shapes |= {f"{name}embedding.3.weight": (512, 512), f"{name}embedding.3.bias": (512,)}
        shapes |= {f"{name}downsample.conv.dw_conv.weight": (512, 1, 5), f"{name}downsample.conv.dw_conv.bias": (512,)}
        shapes |= {f"{name}downsample.norm.weight": (512,), f"{name}downsample.norm.bias": (512,)}
        if encoder == "transformer":
            layer = f"{name}encoder.layers.0."
            shapes |= {f"{layer}self_attn.in_proj_weight": (1536, 512), f"{layer}self_attn.in_proj_bias": (1536,)}
            for module in ("self_attn.out_proj", "linear1", "linear2"):
                shapes |= {f"{layer}{module}.weight": (512, 512), f"{layer}{module}.bias": (512,)}
            for module in ("norm1", "norm2"):
                shapes |= {f"{layer}{module}.weight": (512,), f"{layer}{module}.bias": (512,)}
        else:
            rows = {"gru": 768, "lstm": 1024}[encoder]
            for direction in ("", "_reverse"):
                shapes |= {f"{name}encoder.weight_ih_l0{direction}": (rows, 512)}
                shapes |= {f"{name}encoder.weight_hh_l0{direction}": (rows, 256)}
                shapes |= {f"{name}encoder.bias_{kind}_l0{direction}": (rows,) for kind in ("ih", "hh")}
    return shapes


def projector_shapes(prefix: str) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for name, inputs in (("clip", 512), ("part", 512), ("td", 2048), ("sd", 2048), ("instance", 4096)):
        shapes |= {f"{prefix}{name}_proj.0.weight": (512, inputs), f"{prefix}{name}_proj.0.bias": (512,)}
        shapes |= {f"{prefix}{name}_proj.2.weight": (128, 512), f"{prefix}{name}_proj.2.bias": (128,)}
    return shapes


@pytest.fixture(scope="session")
def original_state_dict(golden_rule):
    """Makes an original-named checkpoint of the released sizes, filled by the rule of the golden values.

    `parts`: any of "query", "projectors", "key" (with its projectors), "queues", "downstream", "classifier".
    """

    def make(encoder: str = "transformer", parts=("query", "projectors"), prefix: str = "", queue_size: int = 16):
        shapes: dict[str, tuple[int, ...]] = {}
        if "query" in parts:
            shapes |= encoder_shapes(encoder, "encoder_q.")
        if "projectors" in parts:
            shapes |= projector_shapes("encoder_q.")
        if "key" in parts:
            shapes |= encoder_shapes(encoder, "encoder_k.") | projector_shapes("encoder_k.")
        if "downstream" in parts:
            shapes |= encoder_shapes(encoder, "")
        if "classifier" in parts:
            shapes |= {"fc.weight": (60, 4096), "fc.bias": (60,)}
        # The query encoder was filled by the names that it has by itself.
        names = {name: name.removeprefix("encoder_q.") for name in shapes}
        tensors = {prefix + name: golden_rule(names[name], shape) for name, shape in shapes.items()}
        if "queues" in parts:
            for letter, size in (("c", 4), ("p", 4), ("t", 1), ("s", 1), ("i", 1)):
                name = f"{letter}_queue"
                tensors[prefix + name] = golden_rule(name, (128, size * queue_size))
                tensors[f"{prefix}{name}_ptr"] = torch.tensor([3])
        return tensors

    return make
