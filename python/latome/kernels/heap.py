"""Memory that the C library keeps between steps rather than gives back to the system."""

import ctypes
import sys

__all__ = ["AmpleHeap"]

KEPT = 1 << 28                                         # bytes that are kept
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3                # of mallopt(), malloc.h of the GNU C library
LARGEST = 1 << 25                                      # to which the library itself raises its threshold of mmap


class AmpleHeap:
    """While one is open, what is freed is kept for the next step; the last one to close gives it back.

    Otherwise every step gives megabytes back to the system and has them cleared again: a fifth of its time. Only
    the GNU C library is spoken to; elsewhere nothing happens. Use it with `with`, or close it. It belongs around all
    steps or tiles, not each. Afterwards the library's thresholds are those to which it raises them by itself once an
    array of 32 MB has been freed: the smaller ones that a process begins with cannot move again once they are set.
    """

    opened = 0                                         # of this process

    def __init__(self):
        self._libc = _gnu_libc()
        if self._libc is not None:
            AmpleHeap.opened += 1
            if AmpleHeap.opened == 1:
                self._libc.mallopt(MMAP_THRESHOLD, LARGEST)
                self._libc.mallopt(TRIM_THRESHOLD, KEPT)

    def close(self):
        """Give the memory back, if no other one is open; closing again does nothing."""
        if self._libc is None:
            return
        AmpleHeap.opened -= 1
        if AmpleHeap.opened == 0:
            self._libc.mallopt(TRIM_THRESHOLD, 2 * LARGEST)
            self._libc.malloc_trim(0)
        self._libc = None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def __del__(self):                                 # of a trainer that was left unfinished
        self.close()


def _gnu_libc():
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") and hasattr(libc, "mallopt") else None
