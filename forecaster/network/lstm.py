r"""Long short-term memory (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000).

    i = sigmoid(Wi h + Ui x + bi)        f = sigmoid(Wf h + Uf x + bf)
    g = tanh(Wg h + Ug x + bg)           o = sigmoid(Wo h + Uo x + bo)
    c' = f c + i g                       h' = o tanh(c')

The gates of a block of 16 units stand side by side in a strip of 80 lanes `[i | f | g | o | c]`; both products add to
the first 64, the last 16 hold the old cell state for the backward pass. Packed weights, NB = H/16: Wh (NB, H, 64),
Wx (NB, n_in, 64), bias (NB, 80; the last 16 unused and zero), all in the order i, f, g, o. A row holds h, then c.
"""

from __future__ import annotations

from typing import Any

from forecaster.kernels.activations import sigmoid, tanh
from forecaster.kernels.jit import inlined
from forecaster.kernels.simd import fma, load, splat, store

STRIP = 5
H_FIRST, H_VECTORS = 0, 4
X_FIRST, X_VECTORS = 0, 4
STATES = 2  # h, c
ORDER_H = ORDER_X = ("i", "f", "g", "o")
ORDER_B = ("i", "f", "g", "o", "")


@inlined
def lstm_gates(A: Any, a: int, S: Any, c: int, N: Any, n: int) -> None:
    """Computes activations, new hidden state and new cell state of one block of one event from its pre-activations.

    Args:
        A: strips; A[a:a+64] holds the pre-activations [i | f | g | o], overwritten by the activations;
            A[a+64:a+80] is overwritten by the old cell state.
        a: start of the strip.
        S: slab; S[c:c+16] is the block of the cell state, overwritten by the new one.
        c: start of the block of the cell state in S.
        N: new hidden state; N[n:n+16] is overwritten.
        n: start of the block in N.
    """
    i = sigmoid(load(A, a))
    f = sigmoid(load(A, a + 16))
    g = tanh(load(A, a + 32))
    o = sigmoid(load(A, a + 48))
    old = load(S, c)
    new = fma(f, old, i * g)
    store(S, c, new)
    store(N, n, o * tanh(new))
    store(A, a, i)
    store(A, a + 16, f)
    store(A, a + 32, g)
    store(A, a + 48, o)
    store(A, a + 64, old)


@inlined
def lstm_gates_backward(A: Any, a: int, G: Any, g: int, C: Any, c: int) -> None:
    """Computes the gradients of one block.

    Args:
        A: A[a:a+80] holds [i | f | g | o | old c]; overwritten by the gradients of the pre-activations,
            the last 16 lanes by zero.
        a: start of the strip.
        G: G[g:g+16] is the gradient of the new hidden state, overwritten by zero (all of it flows through the gates).
        g: start of the block in G.
        C: C[c:c+16] is the gradient of the new cell state from later steps, overwritten by that of the old one.
        c: start of the block in C.
    """
    i, f, cand, o = load(A, a), load(A, a + 16), load(A, a + 32), load(A, a + 48)
    old = load(A, a + 64)
    t = tanh(fma(f, old, i * cand))
    dh = load(G, g)
    dc = fma(dh * o, 1.0 - t * t, load(C, c))
    store(A, a, dc * cand * i * (1.0 - i))
    store(A, a + 16, dc * old * f * (1.0 - f))
    store(A, a + 32, dc * i * (1.0 - cand * cand))
    store(A, a + 48, dh * t * o * (1.0 - o))
    store(A, a + 64, splat(A, 0.0))
    store(C, c, dc * f)
    store(G, g, splat(G, 0.0))
