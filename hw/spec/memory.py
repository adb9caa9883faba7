"""How tensors lie in memory: words, tiles and parameter entries, for compiler, models and tests alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hw.spec import arith
from hw.spec.config import Config

__all__ = [
    "BIAS_BITS", "MULT_BITS", "PARAM_BYTES", "TABLE_ENTRIES", "TABLE_ENTRY_BYTES", "align", "channel_params",
    "norm_params", "pack_stream", "param_words", "read_channel_params", "read_norm_params", "read_table_entries",
    "stream_words", "table_entries", "table_words", "tiles",
]  # fmt: skip

PARAM_BYTES = 16  # one output channel's parameters, in the weight stream or in a norm table
BIAS_BITS, MULT_BITS = 34, 33  # of a norm parameter entry, signed
TABLE_ENTRIES, TABLE_ENTRY_BYTES = 256, 2  # of TABLE's function of a byte


def align(value: int, unit: int) -> int:
    """`value` rounded up to a multiple of `unit`."""
    return -(-value // unit) * unit


def tiles(outputs: int, config: Config) -> int:
    """Array tiles that `outputs` channels take."""
    return -(-outputs // config.cols)


def param_words(config: Config) -> int:
    """Words of one parameter entry: its 16 bytes, padded to whole words (words of 32 bytes hold one entry)."""
    return max(1, PARAM_BYTES // config.word_bytes)


def table_words(config: Config) -> int:
    """Words of a table of a byte's function."""
    return TABLE_ENTRIES * TABLE_ENTRY_BYTES // config.word_bytes


def stream_words(outputs: int, depth: int, config: Config, *, params: bool) -> int:
    """Words a [outputs, depth] matrix takes in the weight stream."""
    passes = align(depth, config.rows) // config.rows
    return tiles(outputs, config) * config.cols * (passes + (param_words(config) if params else 0))


def _entries(config: Config, count: int) -> NDArray[np.uint8]:
    return np.zeros((count, param_words(config) * config.word_bytes), np.uint8)


def _put(entries: NDArray[np.uint8], at: int, values: NDArray[np.int64], size: int) -> None:
    raw = np.ascontiguousarray(values.astype("<i8")).view(np.uint8).reshape(len(values), 8)
    entries[:, at : at + size] = raw[:, :size]


def _get(entries: NDArray[np.uint8], at: int, size: int, *, signed: bool) -> NDArray[np.int64]:
    raw = np.zeros((len(entries), 8), np.uint8)
    raw[:, :size] = entries[:, at : at + size]
    value = raw.view("<i8").reshape(-1).astype(np.int64)
    if not signed:
        return value
    bits = 64 - 8 * size
    return (value << bits) >> bits


def channel_params(
    bias: NDArray[np.int64], mult: NDArray[np.int64], shift: NDArray[np.int64], config: Config
) -> NDArray[np.uint8]:
    """MATMUL parameter entries [n, bytes]: bytes 0-3 bias (int32), 4-7 mult (uint32), 8 shift (6 bits)."""
    entries = _entries(config, len(bias))
    _put(entries, 0, np.asarray(bias), 4)
    _put(entries, 4, np.asarray(mult), 4)
    _put(entries, 8, np.asarray(shift), 1)
    return entries


def read_channel_params(
    entries: NDArray[np.uint8],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Inverse of `channel_params`."""
    return (
        _get(entries, 0, 4, signed=True),
        _get(entries, 4, 4, signed=False),
        _get(entries, 8, 1, signed=False) & 63,
    )


def norm_params(
    bias: NDArray[np.int64], mult: NDArray[np.int64], shift: NDArray[np.int64], config: Config
) -> NDArray[np.uint8]:
    """LAYER_NORM parameter entries: bytes 0-4 bias (34-bit signed, sign-extended to 40), 5-9 mult (33-bit
    signed, sign-extended to 40), 10 shift (6 bits)."""
    entries = _entries(config, len(bias))
    _put(entries, 0, np.asarray(bias), 5)
    _put(entries, 5, np.asarray(mult), 5)
    _put(entries, 10, np.asarray(shift), 1)
    return entries


def read_norm_params(
    entries: NDArray[np.uint8],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Inverse of `norm_params`, and of any other bytes what the device takes them for: bits beyond are ignored."""
    return (
        arith.wrap(_get(entries, 0, 5, signed=True), BIAS_BITS),
        arith.wrap(_get(entries, 5, 5, signed=True), MULT_BITS),
        _get(entries, 10, 1, signed=False) & 63,
    )


def table_entries(entries: NDArray[np.int64]) -> NDArray[np.uint8]:
    """TABLE's 256 entries, the result of x = -128 first: int16 each, also where the results are int8."""
    return np.ascontiguousarray(np.asarray(entries).astype("<i2")).view(np.uint8)


def read_table_entries(raw: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Inverse of `table_entries`."""
    return np.ascontiguousarray(raw).reshape(-1).view("<i2").astype(np.int64)


def pack_stream(
    weights: NDArray[np.int8], config: Config, params: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Weight-stream bytes of a [outputs, depth] int8 matrix, in the order the array consumes it.

    For each tile of `cols` outputs: the tile's `cols` parameter entries if `params` is given, then for each
    pass of `rows` inputs, `cols` words, word c holding output c's `rows` weights, input 0 in byte 0.
    Outputs and inputs are zero-padded to whole tiles.
    """
    outputs, depth = weights.shape
    rows, cols = config.rows, config.cols
    padded = np.zeros((align(outputs, cols), align(depth, rows)), np.int8)
    padded[:outputs, :depth] = weights
    grid = padded.reshape(-1, cols, padded.shape[1] // rows, rows).transpose(0, 2, 1, 3)
    body = np.ascontiguousarray(grid).view(np.uint8).reshape(len(grid), -1)
    if params is not None:
        entries = np.zeros((len(padded), params.shape[1]), np.uint8)
        entries[:outputs] = params
        body = np.concatenate([entries.reshape(len(body), -1), body], axis=1)
    return body.reshape(-1)
