"""The models as their papers write them down: padded, eager, nothing left out.

What benchmarks compare the package with. A plain model has the parameters of ours under the same names, so that `load_state_dict` gives
it the same weights (of AS-GCN those that recognise), and for a sequence alone it gives the same result. It shares no code with the package. Batches are padded with zeros to
the longest sequence and to two bodies, and all of that is computed, as research code does.
"""

from .agcn import PlainAGCN
from .asgcn import PlainASGCN
from .hico import PlainHiCo
from .hitrs import PlainHiTRS, PlainHiTRSForPreTraining
from .mamp import PlainMAMP
from .stgcn import PlainSTGCN


def copy_weights(model, plain):
    """Gives a plain model the weights of ours; ours may have more, in parts that do not encode."""
    missing, _ = plain.load_state_dict(model.state_dict(), strict=False)
    assert not missing, missing


PLAIN_ENCODERS = {
    "agcn": PlainAGCN,
    "asgcn": PlainASGCN,
    "hico": PlainHiCo,
    "hitrs": PlainHiTRS,
    "mamp": PlainMAMP,
    "stgcn": PlainSTGCN,
}

__all__ = [
    "PLAIN_ENCODERS",
    "PlainAGCN",
    "PlainASGCN",
    "PlainHiCo",
    "PlainHiTRS",
    "PlainHiTRSForPreTraining",
    "PlainMAMP",
    "PlainSTGCN",
    "copy_weights",
]
