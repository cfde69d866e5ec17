"""An original checkpoint with the weights of the golden values."""

import pytest


@pytest.fixture(scope="session")
def original_state_dict(golden_rule):
    """Makes an original-named checkpoint of the released sizes, filled by the rule of the golden values."""

    def make(num_layers: int = 3, num_labels: int | None = 60, prefix: str = "", heads: bool = True):
        shapes: dict[str, tuple[int, ...]] = {
            "s_input_map.0.weight": (128, 3),
            "s_input_map.0.bias": (128,),
            "s_input_map.2.weight": (128,),
            "s_input_map.2.bias": (128,),
            "s_pe.pe": (25, 128),
            "c_input_map.weight": (256, 128),
            "c_input_map.bias": (256,),
            "c_pe.pe": (7, 25, 256),
            "clip_fuse_token": (1, 1, 256),
            "v_input_map.weight": (512, 256),
            "v_input_map.bias": (512,),
            "v_pe.pe": (200, 512),
            "video_fuse_token": (1, 1, 512),
        }
        for level, d, f in (("s", 128, 128), ("c", 256, 128), ("v", 512, 256)):
            for number in range(num_layers):
                layer = f"{level}_enc.layer_stack.{number}"
                for norm in ("self_attn_norm", "pff_norm"):
                    shapes |= {f"{layer}.{norm}.weight": (d,), f"{layer}.{norm}.bias": (d,)}
                shapes |= {f"{layer}.slf_attn.{name}.weight": (512, d) for name in ("w_qs", "w_ks", "w_vs")}
                shapes |= {f"{layer}.slf_attn.fc.weight": (d, 512)}
                shapes |= {f"{layer}.pos_ffn.w_1.weight": (f, d), f"{layer}.pos_ffn.w_1.bias": (f,)}
                shapes |= {f"{layer}.pos_ffn.w_2.weight": (d, f), f"{layer}.pos_ffn.w_2.bias": (d,)}
        linear = {"s_pose_reg": (3, 128), "c_motion_cls": (2, 256), "v_motion_cls": (2, 512), "v_ft_reg": (256, 512)}
        if not heads:
            linear = {}
        if num_labels:
            linear["v_cls"] = (num_labels, 512)
        for name, shape in linear.items():
            shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
        return {prefix + name: golden_rule(name, shape) for name, shape in shapes.items()}

    return make
