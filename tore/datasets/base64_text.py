"""Base64 to bytes, several times faster than Python's own for the long texts that pictures are.

Each character's six bits come from a table, and four of them are joined by whole-array arithmetic on 32-bit words.
"""

from __future__ import annotations

import base64
import binascii

import cv2
import numpy as np

ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
FOREIGN = 255
SIX_BITS = np.full(256, FOREIGN, np.uint8)
SIX_BITS[np.frombuffer(ALPHABET, np.uint8)] = np.arange(64)


def decode_base64(text: bytes) -> bytes:
    """What `base64.b64decode` gives, which passes over foreign characters and raises binascii.Error for torn text."""
    data = decode_pure_base64(text)
    return base64.b64decode(text) if data is None else data


def decode_pure_base64(text: bytes) -> bytes | None:
    """The bytes of a text that is nothing but base64; None where it is empty, torn or holds other characters."""
    if not text or len(text) % 4:
        return None
    try:
        end = base64.b64decode(text[-4:], validate=True)  # alone in having padding
    except binascii.Error:
        return None
    if len(text) == 4:
        return end
    letters = np.frombuffer(text, np.uint8, len(text) - 4)
    sextets = cv2.LUT(letters[None], SIX_BITS)
    if sextets.max() == FOREIGN:
        return None
    words = sextets[0].view("<u4")  # a | b << 8 | c << 16 | d << 24
    pairs = words & 0x003F003F
    pairs <<= 6
    words >>= 8  # two blocks serve for all, so that they stay in the cache
    words &= 0x003F003F
    pairs |= words  # a b | c d << 16, twelve bits each
    np.left_shift(pairs, 12, out=words)
    pairs >>= 16
    words |= pairs  # a b c d in the lower 24 bits
    return cv2.cvtColor(words.view(np.uint8).reshape(1, -1, 4), cv2.COLOR_BGRA2RGB).tobytes() + end
