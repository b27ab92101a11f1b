"""The only Numba options of the library, and the matrix products of its kernels.

    kernel      a function that Python calls: compiled once, cached on disk, releases the GIL
    quick_kernel   the same function, compiled in less time to more instructions
    inlined     a piece of a kernel: always part of its caller, so that the caller's literals are constants in it
    product     rows times a panel of 16*G lanes, accumulators in registers; operands see operands.py
    products    the same for any number of rows, in tiles; `narrow_products` in taller ones
    fresh_product(s)   the same, with accumulators that begin as a sum of two and may end in a relu

`error_model="numpy"`: division by zero gives inf or nan; Python's check would keep every activation scalar.
`_nrt=False`: no reference counts, some of which would remain in the loops over events; an allocation does not compile.
`fastmath` stays off: it deletes NaN checks and lets the compiler reorder sums, so that the same event would get other
bits in another batch. Every sum here is one fixed chain of `fma` over k; addition, multiplication, division, square
root and fma are rounded the same way by every CPU, hence the same bits on AVX-512, AVX2 and SSE2.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, TypeVar, cast

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core.dispatcher import Dispatcher

from forecaster.kernels.call_types import KernelDispatcher
from forecaster.kernels.operands import Rows, Strided
from forecaster.kernels.pieces import PIECE, PieceDispatcher
from forecaster.kernels.quick_code import QuickCompiler
from forecaster.kernels.simd import LANES, insert_function, typed_intrinsic

F = TypeVar("F", bound=Callable[..., Any])
_OPTIONS: Any = {"error_model": "numpy", "boundscheck": False, "_nrt": False}


def kernel(function: F) -> F:
    """Compiles a function that Python calls, and caches the result on disk."""
    return _kernel(function, "optimised", {})


@functools.lru_cache(maxsize=64)
def quick_kernel(compiled: F) -> F:
    """Returns another kernel of the same function, which is compiled sooner and runs slower; see quick_code.py."""
    return cast("F", _kernel(_plain(compiled), "quick", {"pipeline_class": QuickCompiler}))


def _kernel(function: F, code: str, options: dict[str, Any]) -> F:
    compiled: Any = njit(cache=True, nogil=True, **_OPTIONS, **options)(function)
    if isinstance(compiled, Dispatcher):  # and not where NUMBA_DISABLE_JIT is set
        compiled.__class__ = KernelDispatcher
        dispatcher: Any = compiled  # numba has no public access to its cache
        dispatcher._cache._index_key = functools.partial(_index_key, function, code)  # noqa: SLF001 - see above
    return cast("F", compiled)


def _index_key(function: Callable[..., Any], code: str, signature: Any, codegen: Any) -> tuple[Any, ...]:
    """Returns the cache key of a kernel: signature, processor, kind of code, and everything that it is compiled from.

    Numba's own key pickles the closure, and a compiled piece in it is pickled with an identity that is new in every
    process: no cached kernel would ever be found. It also covers only the file of the kernel, not what it inlines.
    """
    text = repr((function.__qualname__, code, *sorted(sources(function))))
    return signature, codegen.magic_tuple(), hashlib.sha256(text.encode()).hexdigest()


def sources(function: Any) -> set[str]:
    """Returns texts that change when anything changes that a kernel is compiled from.

    These are, starting at the kernel: the digests of the files of all functions and classes that it names, and the
    values of all other names, including those that it closes over. NamedTuples are included wherever they are named, in
    the code, as the annotation of an argument or of a field, or as the class of a value, and so are those among their
    fields.
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
        texts = [*getattr(part, "_fields", ()), *(f"{name}={_text(value)}" for name, value in named.items())]
        found.add(" ".join((part.__qualname__, *texts)))
        values = [*named.values(), *(cls for value in named.values() for cls in _classes(value))]
        parts += [v for v in values if isinstance(v, FunctionType | type) and _package(v) in packages]
    return found


def _classes(value: Any) -> Iterator[type]:
    """Yields the classes of a NamedTuple and of those within it."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        yield type(value)
        for field in value:
            yield from _classes(field)


def _annotated(part: FunctionType | type) -> Iterator[tuple[str, type]]:
    """Yields the NamedTuple classes among the annotations of arguments or fields."""
    names = part.__globals__ if isinstance(part, FunctionType) else vars(sys.modules[part.__module__])
    words = {word for text in part.__annotations__.values() for word in re.findall(r"\w+", _annotation(text))}
    for word in sorted(words & names.keys()):
        if hasattr(names[word], "_fields"):
            yield word, names[word]


def _annotation(text: Any) -> str:
    """Returns an annotation as written in the source; that of a NamedTuple's field is wrapped."""
    return str(getattr(text, "__forward_arg__", getattr(text, "__name__", text)))


def _named_in(part: FunctionType | type) -> Iterator[tuple[str, Any]]:
    """Yields the names and values that a function uses from its annotations, its module and its closure."""
    yield from _annotated(part)
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
    """Returns the Python function of a kernel, piece or intrinsic, any other value unchanged."""
    return getattr(value, "py_func", None) or getattr(value, "_defn", None) or value


def _package(value: Any) -> str:
    return str(getattr(value, "__module__", None)).partition(".")[0]


def _text(value: Any) -> str:
    if isinstance(value, ModuleType):
        return value.__name__  # without its path, so that compiled code can be moved with the folder
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
        piece.__class__ = PieceDispatcher
    return cast("F", piece)


# Rows that share a load of the weights, limited by the registers for accumulators. The bits do not depend on it.
TILE = 4 if llvm.get_host_cpu_features().get("avx512f", False) else 2
TALL = 3 * TILE  # the same for narrow panels


def _index(builder: Any, base: Any, *terms: tuple[Any, Any]) -> Any:
    for factor, stride in terms:
        base = builder.add(base, builder.mul(factor, stride))
    return base


def _is(kind: Any, cls: type) -> bool:
    """Returns whether a Numba type is that of operand class `cls`, with a one-dimensional array of floats."""
    if getattr(kind, "instance_class", None) is not cls:
        return False
    array = kind[0]
    return isinstance(array, types.Array) and array.ndim == 1 and isinstance(array.dtype, types.Float)


def _define_product(rows: Any, vectors: Any, relu: Any, acc: Any, start: Any, x: Any, w: Any) -> Any:
    """Returns signature and code of `fresh_product`, or of `product` where `relu` and `start` are None."""
    operands = (acc, w) if start is None else (acc, w, *start)
    literal_numbers = (rows, vectors) if start is None else (rows, vectors, relu)
    if not all(isinstance(number, types.IntegerLiteral) for number in literal_numbers):
        return None
    if not (_is(x, Strided) and all(_is(operand, Rows) for operand in operands)):
        return None
    if any(operand[0].dtype != acc[0].dtype for operand in (x, *operands)):
        return None
    n_rows, n_vectors, dtype = rows.literal_value, vectors.literal_value, acc[0].dtype
    signature = types.void(rows, vectors, acc, x, w, types.int64)
    if start is not None:
        base, rest = start
        signature = types.void(rows, vectors, relu, acc, base, rest, x, w, types.int64)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = ir.VectorType(context.get_data_type(dtype), LANES)
        i64 = ir.IntType(64)
        size = dtype.bitwidth // 8

        def taken(kind: Any, operand: Any) -> list[Any]:
            """Returns the pointer to the first number of the array, then the offsets."""
            array, *offsets = (builder.extract_value(operand, i) for i in range(len(kind.fields)))
            return [context.make_array(kind[0])(context, builder, array).data, *offsets]

        x_p, x_at, x_row, x_k = taken(x, args[-3])
        w_p, w_at, w_k = taken(w, args[-2])
        acc_p, acc_at, acc_row = taken(acc, args[2] if start is None else args[3])
        depth = args[-1]
        lanes = [ir.Constant(i64, g * LANES) for g in range(n_vectors)]

        def vector_at(base: Any, offset: Any) -> Any:
            return builder.bitcast(builder.gep(base, [offset]), vector.as_pointer())

        def load(base: Any, offset: Any) -> Any:
            value = builder.load(vector_at(base, offset))
            value.align = size
            return value

        numbers = [ir.Constant(i64, r) for r in range(n_rows)]
        acc_rows = [_index(builder, acc_at, (r, acc_row)) for r in numbers]
        x_rows = [builder.gep(x_p, [_index(builder, x_at, (r, x_row))]) for r in numbers]
        if start is None:
            begin = [load(acc_p, builder.add(row, lane)) for row in acc_rows for lane in lanes]
        else:
            (base_p, base_at, _), (rest_p, rest_at, rest_row) = taken(base, args[4]), taken(rest, args[5])
            shared = [load(base_p, builder.add(base_at, lane)) for lane in lanes]
            rest_rows = [_index(builder, rest_at, (r, rest_row)) for r in numbers]
            own = [[load(rest_p, builder.add(row, lane)) for lane in lanes] for row in rest_rows]
            begin = [builder.fadd(a, b) for row in own for a, b in zip(shared, row, strict=True)]

        before = builder.block
        body = builder.append_basic_block("product.k")
        after = builder.append_basic_block("product.end")
        zero, one = ir.Constant(i64, 0), ir.Constant(i64, 1)
        builder.cbranch(builder.icmp_signed(">", depth, zero), body, after)

        builder.position_at_end(body)
        k = builder.phi(i64)
        sums = [builder.phi(vector) for _ in begin]
        panel = [load(w_p, builder.add(_index(builder, w_at, (k, w_k)), lane)) for lane in lanes]
        name = f"llvm.fma.v{LANES}f{dtype.bitwidth}"  # builder.fma takes scalars only
        vector_fma = insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), name)
        nothing = ir.Constant(vector, ir.Undefined)
        first = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        new = []
        for r in range(n_rows):
            value = builder.load(builder.gep(x_rows[r], [builder.mul(k, x_k)]))
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
        builder.cbranch(builder.icmp_signed("<", k_next, depth), body, after)

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
def product(typingctx: Any, rows: Any, vectors: Any, acc: Any, x: Any, w: Any, depth: Any) -> Any:
    r"""Adds a product to a block of accumulators that stay in registers: `acc += X W`.

    For r < rows and every lane j < 16 * vectors, in rising order of k < depth:

        acc[r, j] = fma(x[r, k], w[k, j], acc[r, j])

    Args:
        rows, vectors: literals; 8 x 3 and 6 x 4 fill the registers of AVX-512. For any of them, each output is the same
            chain of fma, so the same bits.
        acc: `Rows` (rows, 16 * vectors), overwritten.
        x: `Strided` (rows, depth). Read transposed it gives the product that sums weight gradients.
        w: `Rows` (depth, 16 * vectors).
        depth: number of terms of each sum.
    """
    del typingctx, depth
    return _define_product(rows, vectors, None, acc, None, x, w)


@typed_intrinsic
def fresh_product(
    typingctx: Any, rows: Any, vectors: Any, relu: Any, out: Any, base: Any, rest: Any, x: Any, w: Any, depth: Any
) -> Any:
    """Overwrites a block by `(base + rest) + X W`, where `base` is one row for all.

    Args:
        rows, vectors, x, w, depth: as of `product`.
        relu: literal; 1: numbers not above zero (and nan) become zero; 0: no relu.
        out: `Rows` (rows, 16 * vectors), overwritten.
        base: `Rows`, of which row 0 is read. rest: `Rows` (rows, 16 * vectors).
    """
    del typingctx, depth
    return _define_product(rows, vectors, relu, out, (base, rest), x, w)


@inlined
def rows_from(matrix: Any, r: int) -> Any:
    """Returns `Rows` that start at row r."""
    return Rows(matrix.array, matrix.at + r * matrix.row, matrix.row)


@inlined
def strided_from(matrix: Any, r: int) -> Any:
    """Returns `Strided` that starts at row r."""
    return Strided(matrix.array, matrix.at + r * matrix.row, matrix.row, matrix.k_step)


@inlined
def products(rows: int, vectors: int, acc: Any, x: Any, w: Any, depth: int) -> None:
    """Computes `product` for any number of rows: in tiles of `TILE`, the rest one by one. The bits are the same."""
    whole = rows - rows % TILE
    for r in range(0, whole, TILE):
        product(TILE, vectors, rows_from(acc, r), strided_from(x, r), w, depth)
    for r in range(whole, rows):
        product(1, vectors, rows_from(acc, r), strided_from(x, r), w, depth)


@inlined
def fresh_products(
    tall: int, rows: int, vectors: int, relu: int, out: Any, base: Any, rest: Any, x: Any, w: Any, depth: int
) -> None:
    """Computes `fresh_product` for any number of rows: in tiles of `tall` (`TALL` for narrow panels), `TILE`, 1."""
    high = rows - rows % tall
    whole = rows - (rows - high) % TILE
    for r in range(0, high, tall):
        fresh_product(tall, vectors, relu, rows_from(out, r), base, rows_from(rest, r), strided_from(x, r), w, depth)
    for r in range(high, whole, TILE):
        fresh_product(TILE, vectors, relu, rows_from(out, r), base, rows_from(rest, r), strided_from(x, r), w, depth)
    for r in range(whole, rows):
        fresh_product(1, vectors, relu, rows_from(out, r), base, rows_from(rest, r), strided_from(x, r), w, depth)


@inlined
def narrow_products(rows: int, vectors: int, acc: Any, x: Any, w: Any, depth: int) -> None:
    """Computes `products` for panels of one or two vectors, in taller tiles.

    With fewer rows at a time each multiply-add would wait for the previous one.
    """
    tall = rows - rows % TALL
    for r in range(0, tall, TALL):
        product(TALL, vectors, rows_from(acc, r), strided_from(x, r), w, depth)
    products(rows - tall, vectors, rows_from(acc, tall), strided_from(x, tall), w, depth)
