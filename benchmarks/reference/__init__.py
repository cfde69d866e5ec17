"""The models as their papers write them down: padded, eager, nothing left out.

What benchmarks compare the package with. A plain model has the parameters of ours under the same names, so that `load_state_dict` gives
it the same weights, and for a sequence alone it gives the same result. It shares no code with the package. Batches are padded with zeros to
the longest sequence and to two bodies, and all of that is computed, as research code does.
"""

from .hico import PlainHiCo
from .hitrs import PlainHiTRS, PlainHiTRSForPreTraining
from .mamp import PlainMAMP
from .stgcn import PlainSTGCN


PLAIN_ENCODERS = {"hico": PlainHiCo, "hitrs": PlainHiTRS, "mamp": PlainMAMP, "stgcn": PlainSTGCN}

__all__ = ["PLAIN_ENCODERS", "PlainHiCo", "PlainHiTRS", "PlainHiTRSForPreTraining", "PlainMAMP", "PlainSTGCN"]
