r"""Gated recurrent unit (Cho et al. 2014, in the form of cuDNN and PyTorch: the reset gate after the product).

    r  = sigmoid(Wr h + Ur x + br)                    H units each
    z  = sigmoid(Wz h + Uz x + bz)
    nh = Wn h + bnh
    n  = tanh(nh * r + Un x + bnx)
    h' = n + z (h - n)

The gates of a block of 16 units stand side by side in a strip of 64 lanes `[nh | r | z | nx]`; the product with h adds
to its first 48 lanes, the product with x to its last 48, so that no unused number is computed. Packed weights of a
layer, for NB = H/16 blocks: Wh (NB, H, 48) in the order n, r, z; Wx (NB, n_in, 48) in the order r, z, n; bias (NB, 64)
in the order nh, r, z, nx. The only state is h.
"""

from __future__ import annotations

from typing import Any

from forecaster.kernels.activations import sigmoid, tanh
from forecaster.kernels.jit import inlined
from forecaster.kernels.simd import fma, load, store

STRIP = 4  # sixteen-lane vectors per block
H_FIRST, H_VECTORS = 0, 3  # vectors that the product with h adds to
X_FIRST, X_VECTORS = 1, 3  # vectors that the product with x adds to
STATES = 1  # h
ORDER_H = ("n", "r", "z")
ORDER_X = ("r", "z", "n")
ORDER_B = ("nh", "r", "z", "nx")


@inlined
def gru_gates(A: Any, a: int, S: Any, h: int, N: Any, n: int) -> None:
    """Computes activations and new hidden state of one block of one event from its pre-activations.

    Args:
        A: strips; A[a:a+64] holds the pre-activations [nh | r | z | nx], overwritten by [nh | r | z | n].
        a: start of the strip.
        S: slab; S[h:h+16] is the block of the old hidden state.
        h: start of the block in S.
        N: new hidden state; N[n:n+16] is overwritten.
        n: start of the block in N.
    """
    nh = load(A, a)
    r = sigmoid(load(A, a + 16))
    z = sigmoid(load(A, a + 32))
    candidate = tanh(fma(nh, r, load(A, a + 48)))
    old = load(S, h)
    store(N, n, fma(z, old - candidate, candidate))
    store(A, a + 16, r)
    store(A, a + 32, z)
    store(A, a + 48, candidate)


@inlined
def gru_gates_backward(A: Any, a: int, S: Any, h: int, G: Any, g: int) -> None:
    """Computes the gradients of one block.

    Args:
        A: A[a:a+64] holds [nh | r | z | n], overwritten by the gradients of the pre-activations [nh | r | z | nx].
        a: start of the strip.
        S: as in `gru_gates`, the old hidden state.
        h: start of the block in S.
        G: G[g:g+16] is the gradient of the new hidden state, overwritten by its part that flows to the old one past
            the gates (dh * z); the products add the rest.
        g: start of the block in G.
    """
    nh, r, z, n = load(A, a), load(A, a + 16), load(A, a + 32), load(A, a + 48)
    dh = load(G, g)
    dz = dh * (load(S, h) - n)
    dn = (dh - dh * z) * (1.0 - n * n)
    store(A, a, dn * r)
    store(A, a + 16, dn * nh * r * (1.0 - r))
    store(A, a + 32, dz * z * (1.0 - z))
    store(A, a + 48, dn)
    store(G, g, dh * z)
