"""Count floating-point operations."""

from __future__ import annotations

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

__all__ = ["CountFlops"]


class CountFlops(TorchDispatchMode):
    """Inside, `total` grows by the operations of every matrix product and convolution, forward and backward.

    By PyTorch's own formulas. Its FlopCounterMode follows modules as well, which fails on a gradient of a gradient.
    Nothing is counted in inference mode, which does not take operations apart.
    """

    def __init__(self):
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=result)
        return result
