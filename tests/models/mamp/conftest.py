"""Original checkpoints with the weights of the golden values."""

import pytest
import torch


BASE = {"temp_embed": (1, 30, 1, 256), "pos_embed": (1, 1, 25, 256), "joints_embed.proj.weight": (256, 3, 4, 1)}
HEADS = {
    "mlp": {
        "head.fc1.weight": (2048, 6400),
        "head.fc1.bias": (2048,),
        "head.bn.weight": (2048,),
        "head.bn.bias": (2048,),
        "head.bn.running_mean": (2048,),
        "head.bn.running_var": (2048,),
        "head.bn.num_batches_tracked": (),
        "head.fc2.weight": (60, 2048),
        "head.fc2.bias": (60,),
    },
    "linear": {
        "head.fc.0.running_mean": (256,),
        "head.fc.0.running_var": (256,),
        "head.fc.0.num_batches_tracked": (),
        "head.fc.1.weight": (60, 256),
        "head.fc.1.bias": (60,),
    },
}


def layer_shapes(stack: str, count: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    matrices = {"attn.qkv": (768, 256), "attn.proj": (256, 256), "mlp.fc1": (1024, 256), "mlp.fc2": (256, 1024)}
    for number in range(count):
        for name in ("norm1", "norm2"):
            shapes |= {f"{stack}.{number}.{name}.{kind}": (256,) for kind in ("weight", "bias")}
        for name, shape in matrices.items():
            shapes |= {f"{stack}.{number}.{name}.weight": shape, f"{stack}.{number}.{name}.bias": shape[:1]}
    return shapes


def dense_shapes(name: str, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, 256), f"{name}.bias": (outputs,)}


@pytest.fixture(scope="session")
def original_state_dict(golden_rule):
    """Makes an original-named checkpoint of the released sizes, filled by the rule of the golden values.

    `kind`: "pretraining", "encoder", "mlp" (fine-tuning) or "linear".
    """

    def value(name: str, shape: tuple[int, ...]) -> torch.Tensor:
        if name.endswith("num_batches_tracked"):
            return torch.zeros(shape, dtype=torch.int64)
        values = golden_rule(name, shape)
        if name.endswith("running_mean"):
            return 2 * values  # of the rule's 0.05
        return 1 + 2 * values.abs() if name.endswith("running_var") else values

    def make(kind: str = "pretraining", prefix: str = "") -> dict[str, torch.Tensor]:
        shapes = {**BASE, "joints_embed.proj.bias": (256,), **layer_shapes("blocks", 8)}
        shapes |= {"norm.weight": (256,), "norm.bias": (256,)}
        if kind == "pretraining":
            shapes |= {"mask_token": (1, 1, 256)}
            shapes |= {"decoder_temp_embed": (1, 30, 1, 256), "decoder_pos_embed": (1, 1, 25, 256)}
            shapes |= {**dense_shapes("decoder_embed", 256), **layer_shapes("decoder_blocks", 3)}
            shapes |= {"decoder_norm.weight": (256,), "decoder_norm.bias": (256,), **dense_shapes("decoder_pred", 12)}
        shapes |= HEADS.get(kind, {})
        return {prefix + name: value(name, shape) for name, shape in shapes.items()}

    return make
