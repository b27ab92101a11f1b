"""Activations on sixteen lanes, in the type of their argument; their derivatives take the activation's *value*.

In float32 they consist of fma and division only: the same bits on every CPU. In float64 (gradient checks) they use the
C library's tanh. Squareplus replaces softplus because it needs no exponential.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.core.extending import overload

from forecaster.kernels.pieces import PIECE
from forecaster.kernels.simd import _kernel_only, fma, libm_tanh, maximum, minimum, sqrt

tanh = _kernel_only("tanh", "Hyperbolic tangent; nan stays nan. d tanh = 1 - value^2.")
sigmoid = _kernel_only("sigmoid", "1 / (1 + exp(-x)) = (1 + tanh(x/2)) / 2. d sigmoid = value (1 - value).")
squareplus = _kernel_only("squareplus", "(x + sqrt(x^2 + 4)) / 2 > 0, a softplus (Barron 2021, arXiv:2112.11687).")

# Rational minimax approximation of degree 13/6 on [-7.9, 7.9] (Eigen, MathFunctionsImpl.h).
# Worst absolute error against tanh 2.7e-7; checked in tests/forecaster/kernels/test_activations.py.
_LIMIT = 7.90531110763549805
_A1, _A3, _A5, _A7 = 4.89352455891786e-03, 6.37261928875436e-04, 1.48572235717979e-05, 5.12229709037114e-08
_A9, _A11, _A13 = -8.60467152213735e-11, 2.00018790482477e-13, -2.76076847742355e-16
_B0, _B2, _B4, _B6 = 4.89352518554385e-03, 2.26843463243900e-03, 1.18534705686654e-04, 1.19825839466702e-06


@overload(tanh, strict=False, jit_options=PIECE)
def _overload_tanh(x: Any) -> Any:
    if x.dtype == types.float64:
        return lambda x: libm_tanh(x)

    def tanh32(x: Any) -> Any:
        c = minimum(maximum(x, -_LIMIT), _LIMIT)
        s = c * c
        p = fma(fma(fma(fma(fma(fma(s, _A13, _A11), s, _A9), s, _A7), s, _A5), s, _A3), s, _A1)
        q = fma(fma(fma(s, _B6, _B4), s, _B2), s, _B0)
        return (c * p) / q

    return tanh32


@overload(sigmoid, strict=False, jit_options=PIECE)
def _overload_sigmoid(x: Any) -> Any:
    return lambda x: fma(tanh(x * 0.5), 0.5, 0.5)


@overload(squareplus, strict=False, jit_options=PIECE)
def _overload_squareplus(x: Any) -> Any:
    return lambda x: (x + sqrt(fma(x, x, 4.0))) * 0.5
