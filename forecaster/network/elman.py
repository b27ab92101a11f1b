r"""Simple recurrent network (Elman 1990).

    h' = tanh(W h + U x + b)

A block of 16 units has a strip of 16 lanes. Packed weights, NB = H/16: Wh (NB, H, 16), Wx (NB, n_in, 16),
bias (NB, 16). The only state is h. Its gradients vanish or explode with the lag, which gru.py and lstm.py avoid.
"""

from __future__ import annotations

from typing import Any

from forecaster.kernels.activations import tanh
from forecaster.kernels.jit import inlined
from forecaster.kernels.simd import load, splat, store

STRIP = 1
H_FIRST, H_VECTORS = 0, 1
X_FIRST, X_VECTORS = 0, 1
STATES = 1
ORDER_H = ORDER_X = ORDER_B = ("h",)


@inlined
def elman_gates(A: Any, a: int, N: Any, n: int) -> None:
    """Computes one block of one event: tanh of the pre-activation A[a:a+16] overwrites it and N[n:n+16]."""
    h = tanh(load(A, a))
    store(A, a, h)
    store(N, n, h)


@inlined
def elman_gates_backward(A: Any, a: int, G: Any, g: int) -> None:
    """Computes the gradients of one block: A[a:a+16] holds tanh, overwritten by the gradient of the pre-activation.

    G[g:g+16] is the gradient of the new hidden state, overwritten by zero (all of it flows through the product).
    """
    h = load(A, a)
    dh = load(G, g)
    store(A, a, dh * (1.0 - h * h))
    store(G, g, splat(G, 0.0))
