"""One tile of an 8-bit product in the vector registers of a processor with AVX-512 VNNI.

``vpdpbusd`` multiplies four pairs of bytes and adds them to a 32-bit sum, 64 products an
instruction; compilers do not find it in a loop, so that the tile is written in LLVM's language.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils as _cgutils
from numba.core import config as _config
from numba.extending import intrinsic as _intrinsic

__all__ = ["FEATURES", "ROWS", "WORD", "has_tiles", "tile"]

#: Rows and features of a tile: its 24 sums, four features' bytes and one row's fill the registers.
ROWS = 6
FEATURES = 64
#: Bytes that are multiplied together.
WORD = 4

# Typed in part only.
cgutils: Any = _cgutils
config: Any = _config
intrinsic: Any = _intrinsic

_LANES = 16
_VECTORS = FEATURES // _LANES
_INT = ir.IntType(32)
_INTS = ir.VectorType(_INT, _LANES)
_FLOATS = ir.VectorType(ir.FloatType(), _LANES)
_HALVES = ir.VectorType(ir.IntType(16), _LANES)


@cache
def has_tiles() -> bool:
    """Return whether the processor has the instruction, and the compiler aims at the processor."""
    if config.CPU_NAME or config.CPU_FEATURES or config.DISABLE_JIT:
        return False
    found = binding.get_host_cpu_features()
    return all(found.get(name, False) for name in ("avx512f", "avx512bw", "avx512vnni"))


class _Writer:
    """Writes loads, stores and arithmetic of 16 lanes, at addresses held as integers."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder

    def number(self, value: int) -> Any:
        return ir.Constant(ir.IntType(64), value)

    def along(self, address: Any, n_bytes: Any) -> Any:
        return self.builder.add(address, n_bytes)

    def load(self, address: Any, kind: Any) -> Any:
        found = self.builder.load(self.builder.inttoptr(address, kind.as_pointer()))
        found.align = 1
        return found

    def store(self, value: Any, address: Any) -> None:
        place = self.builder.inttoptr(address, value.type.as_pointer())
        self.builder.store(value, place).align = 1

    def everywhere(self, scalar: Any) -> Any:
        """Return 16 lanes of one scalar."""
        empty = ir.Constant(ir.VectorType(scalar.type, _LANES), ir.Undefined)
        first = self.builder.insert_element(empty, scalar, ir.Constant(_INT, 0))
        return self.builder.shuffle_vector(first, empty, ir.Constant(_INTS, [0] * _LANES))

    def shortened(self, floats: Any) -> Any:
        """Return bfloat16 bits, rounded to the nearest, to even from the middle."""
        bits, build = self.builder.bitcast(floats, _INTS), self.builder
        half, one, low = (ir.Constant(_INTS, [n] * _LANES) for n in (0x7FFF, 1, 16))
        odd = build.and_(build.lshr(bits, low), one)
        return build.trunc(build.lshr(build.add(build.add(bits, half), odd), low), _HALVES)


def _sums(writer: _Writer, rows: list[Any], packed: Any, n_words: Any) -> list[list[Any]]:
    """Return the sums of products of every row with every 16 features, ``[row][vector]``."""
    build = writer.builder
    multiply = cgutils.get_or_insert_function(
        build.module, ir.FunctionType(_INTS, [_INTS] * 3), "llvm.x86.avx512.vpdpbusd.512"
    )
    zero = ir.Constant(_INTS, [0] * _LANES)
    held = [[cgutils.alloca_once_value(build, zero) for _ in range(_VECTORS)] for _ in rows]
    with cgutils.for_range(build, n_words) as loop:
        start = writer.along(packed, build.mul(loop.index, writer.number(WORD * FEATURES)))
        places = [writer.along(start, writer.number(64 * v)) for v in range(_VECTORS)]
        features = [writer.load(place, _INTS) for place in places]
        for row, sums in zip(rows, held, strict=True):
            at = writer.along(row, build.mul(loop.index, writer.number(WORD)))
            word = writer.everywhere(writer.load(at, _INT))
            for total, feature in zip(sums, features, strict=True):
                made = build.call(multiply, [build.load(total), feature, word])
                build.store(made, total)
    return [[build.load(total) for total in sums] for sums in held]


def _write_tile(builder: Any, arguments: list[Any]) -> None:
    """Write the instructions of :func:`tile`."""
    writer = _Writer(builder)
    x, stride, packed, n_words, row_scale, row_sum, scale, bias, out, out_stride = arguments
    steps = [writer.number(r) for r in range(ROWS)]
    rows = [writer.along(x, builder.mul(stride, step)) for step in steps]
    sums = _sums(writer, rows, packed, n_words)
    offsets = [writer.number(4 * _LANES * v) for v in range(_VECTORS)]
    scales = [writer.load(writer.along(scale, offset), _FLOATS) for offset in offsets]
    biases = [writer.load(writer.along(bias, offset), _FLOATS) for offset in offsets]
    for r, step in enumerate(steps):
        four = writer.number(4 * r)
        minus = writer.everywhere(writer.load(writer.along(row_sum, four), _INT))
        unit = writer.everywhere(writer.load(writer.along(row_scale, four), ir.FloatType()))
        line = writer.along(out, builder.mul(out_stride, step))
        for v in range(_VECTORS):
            whole = builder.sitofp(builder.sub(sums[r][v], minus), _FLOATS)
            value = builder.fmul(builder.fmul(whole, unit), scales[v])
            value = builder.fadd(value, biases[v])
            at = writer.along(line, writer.number(2 * _LANES * v))
            writer.store(writer.shortened(value), at)


def _tile(
    typing: Any,  # noqa: ARG001
    x: Any,  # noqa: ARG001
    stride: Any,  # noqa: ARG001
    packed: Any,  # noqa: ARG001
    n_words: Any,  # noqa: ARG001
    row_scale: Any,  # noqa: ARG001
    row_sum: Any,  # noqa: ARG001
    scale: Any,  # noqa: ARG001
    bias: Any,  # noqa: ARG001
    out: Any,  # noqa: ARG001
    out_stride: Any,  # noqa: ARG001
) -> Any:
    """Put ``row_scale * scale * (x . packed - row_sum) + bias`` of a tile into ``out``.

    All arguments are addresses but for ``n_words``, the length of a row in words, and the strides,
    in bytes. ``x``: ``ROWS`` rows of int8; ``packed``: uint8 words, those of the tile's features
    side by side; ``row_scale``: float32; ``row_sum``: int32; ``scale, bias``: float32; ``out``:
    bfloat16.
    """

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        _write_tile(builder, list(arguments))
        return context.get_dummy_value()

    address, size = types.uintp, types.intp
    given = (address, size, address, size, *(address,) * 5, size)
    return types.void(*given), generate


tile: Any = intrinsic(_tile)
