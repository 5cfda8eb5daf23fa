"""The C library keeps what a step frees, and gives it back at the end."""

import subprocess
import sys

import pytest

HEAP = """
from latome.backend import torch
from latome.kernels.heap import AmpleHeap

def held():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20

def freed_but_held():
    before = held()
    parts = [torch.full((5 * 2**20,), 1.0) for _ in range(6)]           # 20 MB each
    del parts
    return held() - before

plain = freed_but_held()
outer = AmpleHeap()
with AmpleHeap():
    ample = freed_but_held()
full = held()
outer.close()
outer.close()
assert AmpleHeap.opened == 0
print(plain, ample, full - held())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="speaks to the GNU C library")
def test_an_ample_heap_keeps_freed_memory_until_its_end():
    done = subprocess.run([sys.executable, "-c", HEAP], capture_output=True, text=True, check=True)
    plain, ample, given_back = map(float, done.stdout.split())
    assert plain < 30 and ample > 100 and given_back > 100             # MB, of 120
