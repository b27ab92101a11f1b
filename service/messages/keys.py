"""The text of a record's key."""

from __future__ import annotations


def text_of_key(key: bytes) -> str | None:
    """Returns the text of a key, or None where it is not UTF-8.

    A key of 4 or 8 bytes that begins with a zero byte is an integer, as Kafka's serialisers write it.
    """
    if len(key) in {4, 8} and key[0] == 0:
        return str(int.from_bytes(key, "big"))
    try:
        return key.decode()
    except UnicodeDecodeError:
        return None
