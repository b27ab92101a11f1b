"""The only Numba options of the library, and the product that its kernels are made of.

    kernel      a function that Python calls: compiled once per size, cached on disk, releases the GIL
    inlined     a piece of a kernel: always part of its caller, so that sizes frozen there are constants here
    product     rows times a panel of 16*G lanes, accumulators in registers
    products    the same for any number of rows, in tiles; `narrow_products` in taller ones
    fresh_product(s)   the same, with accumulators that begin as a sum of two and may end in a relu

`error_model="numpy"`: division by zero gives inf or nan; Python's check would keep every activation scalar.
`_nrt=False`: no reference counts, of which some would stay in the loops over events; an allocation does not compile.
`fastmath` stays off: it deletes NaN checks and lets the compiler reorder sums, and then the same event would get
other bits in another batch. Every sum here is one fixed chain of `fma` over k; addition, multiplication, division,
square root and fma are rounded the same way by every CPU, hence the same bits on AVX-512, AVX2 and SSE2.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, TypeVar, cast

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core.dispatcher import Dispatcher

from forecaster.kernels.pieces import PIECE, Piece
from forecaster.kernels.simd import LANES, insert_function, typed_intrinsic

F = TypeVar("F", bound=Callable[..., Any])
_OPTIONS: Any = {"error_model": "numpy", "boundscheck": False, "_nrt": False}


def kernel(function: F) -> F:
    """Compiles a function that Python calls, with its result cached on disk."""
    compiled: Any = njit(cache=True, nogil=True, **_OPTIONS)(function)
    compiled._cache._index_key = functools.partial(_index_key, function)  # noqa: SLF001 - numba has no public way
    return cast("F", compiled)


def _index_key(function: Callable[..., Any], signature: Any, codegen: Any) -> tuple[Any, ...]:
    """What a cached kernel is found by: signature, processor, and whatever it is made of.

    Numba's own key pickles the closure, and a compiled piece in it is pickled with an identity that is new in every
    process: no kernel would ever be found again. It also looks at the file of the kernel only, not at what it inlines.
    """
    text = repr((function.__qualname__, *sorted(made_of(function))))
    return signature, codegen.magic_tuple(), hashlib.sha256(text.encode()).hexdigest()


def made_of(function: Any) -> set[str]:
    """Texts of which one changes when anything changes that a kernel is compiled from.

    These are, from the kernel on: the digests of the files of all functions and classes that it names, and the values
    of all other names, those that it closes over included.
    """
    found: set[str] = set()
    parts, seen = [_plain(function)], set()
    packages = {"forecaster", _package(parts[0])}
    while parts:
        part = parts.pop()
        if part in seen:
            continue
        seen.add(part)
        found.add(_file_digest(inspect.getfile(part)))
        named = dict(_named_in(part))
        found.add(f"{part.__qualname__} " + " ".join(f"{name}={_text(value)}" for name, value in named.items()))
        parts += [v for v in named.values() if isinstance(v, FunctionType | type) and _package(v) in packages]
    return found


def _named_in(part: FunctionType | type) -> Iterator[tuple[str, Any]]:
    """The values that the code of a function names but does not make: those of its module, and those it closes over."""
    if isinstance(part, type):
        return
    codes, names = [part.__code__], set[str]()
    while codes:
        code = codes.pop()
        names.update(code.co_names)
        codes += [value for value in code.co_consts if isinstance(value, CodeType)]
    for name in sorted(names & part.__globals__.keys()):
        yield name, _plain(part.__globals__[name])
    for name, cell in zip(part.__code__.co_freevars, part.__closure__ or (), strict=True):
        yield name, _plain(cell.cell_contents)


def _plain(value: Any) -> Any:
    """The Python function of a kernel, of a piece or of an intrinsic; anything else as it is."""
    return getattr(value, "py_func", None) or getattr(value, "_defn", None) or value


def _package(value: Any) -> str:
    return str(getattr(value, "__module__", None)).partition(".")[0]


def _text(value: Any) -> str:
    if isinstance(value, ModuleType):
        return value.__name__  # without its path: compiled code may be moved with the folder
    if isinstance(value, FunctionType | type):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape} {hashlib.sha256(value.tobytes()).hexdigest()}"
    return repr(value)


@functools.cache
def _file_digest(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def inlined(function: F) -> F:
    """Compiles a piece of a kernel into each of its callers."""
    piece: Any = njit(**_OPTIONS | PIECE)(function)
    if isinstance(piece, Dispatcher):  # and not where NUMBA_DISABLE_JIT is set
        piece.__class__ = Piece
    return cast("F", piece)


# Rows that share a load of the weights: as many as the registers hold accumulators for. Bits do not depend on it.
TILE = 4 if llvm.get_host_cpu_features().get("avx512f", False) else 2
TALL = 3 * TILE  # the same for narrow panels


def _index(builder: Any, base: Any, *terms: tuple[Any, Any]) -> Any:
    for factor, stride in terms:
        base = builder.add(base, builder.mul(factor, stride))
    return base


def _define_product(rows: Any, vectors: Any, relu: Any, acc: Any, start: Any, x: Any, w: Any) -> Any:
    """Signature and code of `fresh_product`, or of `product` where `relu` and `start` are None."""
    arrays = (acc, x, w) if start is None else (acc, x, w, *start)
    literals = (rows, vectors) if start is None else (rows, vectors, relu)
    if not all(isinstance(number, types.IntegerLiteral) for number in literals):
        return None
    if not all(isinstance(a, types.Array) and a.ndim == 1 and a.dtype == acc.dtype for a in arrays):
        return None
    n_rows, n_vectors = rows.literal_value, vectors.literal_value
    index = types.int64
    product_of = (x, index, index, index, w, index, index, index)
    signature = types.void(rows, vectors, acc, index, index, *product_of)
    if start is not None:
        base, rest = start
        signature = types.void(rows, vectors, relu, acc, index, index, base, index, rest, index, index, *product_of)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        first_args, args = args[:-8], args[-8:]
        acc_arg, acc_at_, acc_row_ = first_args[2:5] if start is None else first_args[3:6]
        scalar = context.get_data_type(acc.dtype)
        vector = ir.VectorType(scalar, LANES)
        i64 = ir.IntType(64)
        size = acc.dtype.bitwidth // 8
        x_arg, x_at_, x_row_, x_k_, w_arg, w_at_, w_k_, depth_ = args

        def data(kind: Any, array: Any) -> Any:
            return context.make_array(kind)(context, builder, array).data

        acc_p, x_p, w_p = data(acc, acc_arg), data(x, x_arg), data(w, w_arg)
        lanes = [ir.Constant(i64, g * LANES) for g in range(n_vectors)]

        def vector_at(base: Any, offset: Any) -> Any:
            return builder.bitcast(builder.gep(base, [offset]), vector.as_pointer())

        def load(base: Any, offset: Any) -> Any:
            value = builder.load(vector_at(base, offset))
            value.align = size
            return value

        numbers = [ir.Constant(i64, r) for r in range(n_rows)]
        acc_rows = [_index(builder, acc_at_, (r, acc_row_)) for r in numbers]
        x_rows = [builder.gep(x_p, [_index(builder, x_at_, (r, x_row_))]) for r in numbers]
        if start is None:
            begin = [load(acc_p, builder.add(row, lane)) for row in acc_rows for lane in lanes]
        else:
            base_arg, base_at_, rest_arg, rest_at_, rest_row_ = first_args[6:]
            base_p, rest_p = data(base, base_arg), data(rest, rest_arg)
            shared = [load(base_p, builder.add(base_at_, lane)) for lane in lanes]
            rest_rows = [_index(builder, rest_at_, (r, rest_row_)) for r in numbers]
            own = [[load(rest_p, builder.add(row, lane)) for lane in lanes] for row in rest_rows]
            begin = [builder.fadd(a, b) for row in own for a, b in zip(shared, row, strict=True)]

        before = builder.block
        body = builder.append_basic_block("product.k")
        after = builder.append_basic_block("product.end")
        zero, one = ir.Constant(i64, 0), ir.Constant(i64, 1)
        builder.cbranch(builder.icmp_signed(">", depth_, zero), body, after)

        builder.position_at_end(body)
        k = builder.phi(i64)
        sums = [builder.phi(vector) for _ in begin]
        panel = [load(w_p, builder.add(_index(builder, w_at_, (k, w_k_)), lane)) for lane in lanes]
        name = f"llvm.fma.v{LANES}f{acc.dtype.bitwidth}"  # builder.fma takes scalars only
        vector_fma = insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), name)
        nothing = ir.Constant(vector, ir.Undefined)
        first = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        new = []
        for r in range(n_rows):
            value = builder.load(builder.gep(x_rows[r], [builder.mul(k, x_k_)]))
            spread = builder.insert_element(nothing, value, ir.Constant(ir.IntType(32), 0))
            spread = builder.shuffle_vector(spread, nothing, first)
            row = sums[r * n_vectors : (r + 1) * n_vectors]
            new += [builder.call(vector_fma, [spread, w, s]) for w, s in zip(panel, row, strict=True)]
        k_next = builder.add(k, one)
        k.add_incoming(zero, before)
        k.add_incoming(k_next, body)
        for phi, value, updated in zip(sums, begin, new, strict=True):
            phi.add_incoming(value, before)
            phi.add_incoming(updated, body)
        builder.cbranch(builder.icmp_signed("<", k_next, depth_), body, after)

        builder.position_at_end(after)
        for i, (value, updated) in enumerate(zip(begin, new, strict=True)):
            result = builder.phi(vector)
            result.add_incoming(value, before)
            result.add_incoming(updated, body)
            sums[i] = result
        nought = ir.Constant(vector, [0.0] * LANES)
        for i, result in enumerate(sums):
            if relu is not None and relu.literal_value:
                result = builder.select(builder.fcmp_ordered(">", result, nought), result, nought)
            row, lane = acc_rows[i // n_vectors], lanes[i % n_vectors]
            store = builder.store(result, vector_at(acc_p, builder.add(row, lane)))
            store.align = size
        return context.get_dummy_value()

    return signature, codegen


@typed_intrinsic
def product(
    typingctx: Any, rows: Any, vectors: Any, acc: Any, acc_at: Any, acc_row: Any, x: Any, x_at: Any, x_row: Any,
    x_k: Any, w: Any, w_at: Any, w_k: Any, depth: Any,
) -> Any:  # fmt: skip
    r"""Adds a product to a block of accumulators that stay in registers: `acc += X W`.

    For r < rows and every lane j < 16 * vectors, in rising order of k < depth:

        acc[acc_at + r*acc_row + j] = fma(x[x_at + r*x_row + k*x_k], w[w_at + k*w_k + j], acc[...])

    `rows` and `vectors` are literals; 8 x 3 and 6 x 4 fill the registers of AVX-512. Whatever they are, each output
    is the same chain of fma, so the same bits. With `x_row=1, x_k=ld` it is the product with a transposed X, which is
    how weight gradients are summed. The three arrays are 1-D, contiguous, of one float type; bounds are not checked.
    `acc` is overwritten.
    """
    del typingctx, acc_at, acc_row, x_at, x_row, x_k, w_at, w_k, depth
    return _define_product(rows, vectors, None, acc, None, x, w)


@typed_intrinsic
def fresh_product(
    typingctx: Any, rows: Any, vectors: Any, relu: Any, out: Any, out_at: Any, out_row: Any, base: Any, base_at: Any,
    rest: Any, rest_at: Any, rest_row: Any, x: Any, x_at: Any, x_row: Any, x_k: Any, w: Any, w_at: Any, w_k: Any,
    depth: Any,
) -> Any:  # fmt: skip
    """Overwrites a block by `(base + rest) + X W`, where `base` is one row for all.

    With `relu`, a literal, 1: what is not above zero (nan too) becomes zero; 0: not. Otherwise as `product`.
    """
    del typingctx, out_at, out_row, base_at, rest_at, rest_row, x_at, x_row, x_k, w_at, w_k, depth
    return _define_product(rows, vectors, relu, out, (base, rest), x, w)


@inlined
def products(
    rows: int, vectors: int, acc: Any, acc_at: int, acc_row: int, x: Any, x_at: int, x_row: int, x_k: int,
    w: Any, w_at: int, w_k: int, depth: int,
) -> None:  # fmt: skip
    """`product` for any number of rows: in tiles of `TILE`, the rest one by one. The bits are the same."""
    whole = rows - rows % TILE
    for r in range(0, whole, TILE):
        product(TILE, vectors, acc, acc_at + r * acc_row, acc_row, x, x_at + r * x_row, x_row, x_k, w, w_at, w_k, depth)
    for r in range(whole, rows):
        product(1, vectors, acc, acc_at + r * acc_row, acc_row, x, x_at + r * x_row, x_row, x_k, w, w_at, w_k, depth)


@inlined
def fresh_products(
    tall: int, rows: int, vectors: int, relu: int, out: Any, out_at: int, out_row: int, base: Any, base_at: int,
    rest: Any, rest_at: int, rest_row: int, x: Any, x_at: int, x_row: int, x_k: int, w: Any, w_at: int, w_k: int,
    depth: int,
) -> None:  # fmt: skip
    """`fresh_product` for any number of rows: in tiles of `tall` (`TALL` for narrow panels), of `TILE`, one by one."""
    high = rows - rows % tall
    whole = rows - (rows - high) % TILE
    for r in range(0, high, tall):
        fresh_product(
            tall, vectors, relu, out, out_at + r * out_row, out_row, base, base_at,
            rest, rest_at + r * rest_row, rest_row, x, x_at + r * x_row, x_row, x_k, w, w_at, w_k, depth,
        )  # fmt: skip
    for r in range(high, whole, TILE):
        fresh_product(
            TILE, vectors, relu, out, out_at + r * out_row, out_row, base, base_at,
            rest, rest_at + r * rest_row, rest_row, x, x_at + r * x_row, x_row, x_k, w, w_at, w_k, depth,
        )  # fmt: skip
    for r in range(whole, rows):
        fresh_product(
            1, vectors, relu, out, out_at + r * out_row, out_row, base, base_at,
            rest, rest_at + r * rest_row, rest_row, x, x_at + r * x_row, x_row, x_k, w, w_at, w_k, depth,
        )  # fmt: skip


@inlined
def narrow_products(
    rows: int, vectors: int, acc: Any, acc_at: int, acc_row: int, x: Any, x_at: int, x_row: int, x_k: int,
    w: Any, w_at: int, w_k: int, depth: int,
) -> None:  # fmt: skip
    """`products` for panels of one or two vectors: more rows at a time, or each multiply-add waits for the last one."""
    tall = rows - rows % TALL
    for r in range(0, tall, TALL):
        product(TALL, vectors, acc, acc_at + r * acc_row, acc_row, x, x_at + r * x_row, x_row, x_k, w, w_at, w_k, depth)
    products(
        rows - tall, vectors, acc, acc_at + tall * acc_row, acc_row, x, x_at + tall * x_row, x_row, x_k,
        w, w_at, w_k, depth,
    )  # fmt: skip
