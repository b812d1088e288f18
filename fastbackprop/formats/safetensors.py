"""The safetensors format: named tensors and a dict of strings. It cannot hold code.

A file is the length of the header (8 bytes, little-endian), the header (JSON, name -> dtype, shape
and data_offsets, and __metadata__), then the data, little-endian, C order, without gaps. See
https://github.com/huggingface/safetensors. Here because that package is more than NumPy.
"""

import errno
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastbackprop.formats import atomic

DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "u1",
    "BOOL": "?",
}
LONGEST = 500  # characters of a message
_NAMES = {np.dtype(code): name for name, code in DTYPES.items()}

# Of a header: bytes, and brackets and commas, whose number bounds that of its values. A hostile one
# costs a second and 0.2 GB; without the limits it costs a minute. 60,000 epochs of a history fit.
MAX_BYTES, MAX_VALUES = 16_000_000, 300_000


def write(
    path: str | os.PathLike[str], tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> None:
    """Write the tensors and the metadata, atomically.

    Raises OSError, also for a header beyond the limits: no file is written that cannot be read.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    arrays, end = [], 0
    for name, tensor in tensors.items():
        dtype = tensor.dtype.newbyteorder("<")
        array = np.ascontiguousarray(tensor, dtype)
        header[name] = {
            "dtype": _NAMES[dtype],
            "shape": list(tensor.shape),
            "data_offsets": [end, end + array.nbytes],
        }
        arrays.append(array.reshape(-1).view(np.uint8))
        end += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the data start at a multiple of 8 bytes
    if beyond := _beyond_limits(text):
        raise OSError(errno.EFBIG, f"the file is not written: its header {beyond}", str(path))
    atomic.write(path, [len(text).to_bytes(8, "little"), text, *arrays])


def _beyond_limits(header: bytes) -> str:
    """Which limit of a header this one exceeds; "" for none."""
    if len(header) > MAX_BYTES:
        return f"has {len(header)} bytes, more than {MAX_BYTES}"
    values = sum(map(header.count, (b"{", b"[", b",")))
    return f"has {values} values, more than {MAX_VALUES}" if values > MAX_VALUES else ""


def _meant(path: Path, start: bytes) -> str:
    """How to read a file of another format, by its first bytes or its name."""
    if start.startswith(b"PK") and path.suffix != ".npz":
        return ". A file of PyTorch is read by Network.from_torch(torch.load(path), hidden=...)"
    return ". fastbackprop.onnx.load reads ONNX" if path.suffix == ".onnx" else ""


class Tensor(NamedTuple):
    """A tensor's entry in the header; its data are bytes start ... stop of the file."""

    dtype: np.dtype
    shape: tuple[int, ...]
    start: int
    stop: int


class Contents:
    """The header of a file, checked; `read` gets a tensor's data.

    Raises OSError, and ValueError for a file that is not safetensors in every detail. Nothing is
    allocated but the header, whose length is limited, before all that it says is checked.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        with self.path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            start = file.read(8)
            length = int.from_bytes(start, "little")
            if len(start) < 8 or length > size - 8:
                raise self.error(f"it is truncated, or of another format{_meant(self.path, start)}")
            text = file.read(min(length, MAX_BYTES + 1))
        if beyond := _beyond_limits(text):
            raise self.error(f"its header {beyond}")
        header = self._parse(text)
        metadata = header.pop("__metadata__", {})
        if not isinstance(metadata, dict) or not all(isinstance(x, str) for x in metadata.values()):
            raise self.error("its __metadata__ is not a dict of strings")
        self.metadata: dict[str, str] = metadata
        self.tensors = {name: self._tensor(name, said) for name, said in header.items()}
        end = 0
        for tensor in sorted(self.tensors.values(), key=lambda tensor: (tensor.start, tensor.stop)):
            if tensor.start != end:
                raise self.error("its tensors overlap, or leave gaps")
            end = tensor.stop
        self._data = 8 + length
        if self._data + end != size:
            raise self.error(f"it has {size} bytes where its header asks for {self._data + end}")

    def error(self, message: str) -> ValueError:
        """The error that this file is not as it should be. What the file says may be long."""
        message = message if len(message) < LONGEST else f"{message[:LONGEST]}..."
        return ValueError(f"cannot read {str(self.path)!r}: {message}")

    def _parse(self, text: bytes) -> dict[str, Any]:
        def without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
            result = dict(pairs)
            if len(result) < len(pairs):
                raise ValueError("duplicate name")
            return result

        try:
            header = json.loads(text.decode(), object_pairs_hook=without_duplicates)
        except (ValueError, RecursionError) as error:
            raise self.error(f"its header is not JSON ({error})") from None
        if not isinstance(header, dict):
            raise self.error("its header is not a JSON object")
        return header

    def _tensor(self, name: str, said: Any) -> Tensor:
        if not isinstance(said, dict) or set(said) != {"dtype", "shape", "data_offsets"}:
            raise self.error(f"tensor {name!r} must have dtype, shape and data_offsets")
        code, shape, offsets = said["dtype"], said["shape"], said["data_offsets"]
        if not isinstance(code, str) or code not in DTYPES:
            raise self.error(f"tensor {name!r} has the dtype {code!r}, which is not known here")
        if not are_sizes(shape) or not are_sizes(offsets) or len(offsets) != 2:
            raise self.error(f"tensor {name!r} has no valid shape or data_offsets")
        dtype = np.dtype(DTYPES[code])
        if len(shape) > 32 or offsets[1] - offsets[0] != math.prod(shape) * dtype.itemsize:
            raise self.error(f"the offsets of tensor {name!r} do not fit its shape {shape}")
        return Tensor(dtype, tuple(shape), *offsets)

    def read(self, name: str) -> np.ndarray:
        """The tensor of this name, in the byte order of the machine."""
        dtype, shape, start, stop = self.tensors[name]
        count = (stop - start) // dtype.itemsize
        array = np.fromfile(self.path, dtype, count, offset=self._data + start)
        if len(array) < count:
            raise self.error("it was truncated while it was read")
        return array.reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def are_sizes(values: Any) -> bool:
    """Whether this is a list of integers that can be sizes or offsets."""
    return isinstance(values, list) and all(type(n) is int and 0 <= n < 2**63 for n in values)
