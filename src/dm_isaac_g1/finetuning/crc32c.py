"""CRC-32C (Castagnoli, reflected polynomial 0x82f63b78, RFC 3720 B.4) and TensorFlow's masking of it."""

from __future__ import annotations

from functools import lru_cache

_POLYNOMIAL = 0x82F63B78


def _table() -> tuple[int, ...]:
    rows = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (_POLYNOMIAL if byte & 1 else 0)
        rows.append(byte)
    return tuple(rows)


TABLE = _table()


def crc32c(data: bytes, *, mask: bool = False) -> int:
    """The checksum of `data`; with `mask`, as it stands in a TFRecord (rotated and offset, so it can be nested)."""
    crc, table = 0xFFFFFFFF, TABLE
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF if mask else crc


@lru_cache(maxsize=4096)
def masked(header: bytes) -> int:
    """Masked checksum of a record's 8 length bytes: a file has few different lengths."""
    return crc32c(header, mask=True)
