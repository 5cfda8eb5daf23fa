"""What surrounds the steps: device, threads and random numbers, borrowed and given back."""

import os
from contextlib import contextmanager

from latome.backend import torch
from latome.errors import SettingError

__all__ = ["RandomStream", "check_products", "find_device", "held_still", "use_threads"]

_PROCESS = os.getpid()


def find_device(name="auto"):
    """A torch device; "auto" is a CUDA GPU if there is one, else the processor."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device({"gpu": "cuda"}.get(name, name))
    except RuntimeError:
        raise SettingError("device", problem=f"`device` cannot be {name!r}.",
                           hint="One of auto, cpu, cuda, cuda:1, mps.") from None
    here = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not here.get(device.type, False) or (device.index or 0) >= max(torch.cuda.device_count(), 1):
        raise SettingError("device", problem=f"This machine has no device '{name}' that torch can use.",
                           hint="Choose device 'auto' or 'cpu', or install a build of torch for it.")
    return device


def check_products(kind, device):
    """A SettingError where the processor has no instructions for products of this kind."""
    if kind == "float32" or device.type != "cpu":
        return
    able = getattr(torch.cpu, "get_capabilities", dict)()
    if not (able.get("avx512_bf16") or able.get("amx_bf16") or able.get("bf16")):
        raise SettingError("products", problem="This processor has no instructions for bfloat16 products, which would "
                           "be slower than float32.", hint="Leave products = 'float32'.")


@contextmanager
def use_threads(n=None):
    """Run with n threads of the processor, then restore; in a forked child always with one."""
    if os.getpid() != _PROCESS:                        # torch's pool does not survive a fork: it would hang
        torch.set_num_threads(1)
        yield
        return
    before = torch.get_num_threads()
    if n is None or n == before:
        yield
        return
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def held_still(parts):
    """Inside, the parameters of these modules take no gradient."""
    held = [p for part in parts for p in part.parameters() if p.requires_grad]
    for p in held:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in held:
            p.requires_grad_(True)


class RandomStream:
    """Random numbers of our own: the caller's generators are left as they were.

    Arguments
    ---------
    seed : whole number.
    device : torch device whose generator is used too.
    """

    def __init__(self, seed, device=None):
        self.cuda = device if device is not None and device.type == "cuda" else None
        self.state = None
        self.seed = seed

    @contextmanager
    def active(self):
        """Inside, torch draws from this stream."""
        before = self._get()
        if self.state is None:
            self.reseed(self.seed)
        else:
            self._set(self.state)
        try:
            yield
        finally:
            self.state = self._get()
            self._set(before)

    def reseed(self, seed):
        """Begin anew from `seed`; only while active."""
        torch.default_generator.manual_seed(seed)
        if self.cuda:
            with torch.cuda.device(self.cuda):          # manual_seed is of the current device
                torch.cuda.manual_seed(seed)

    def _get(self):
        return torch.get_rng_state(), torch.cuda.get_rng_state(self.cuda) if self.cuda else None

    def _set(self, state):
        torch.set_rng_state(state[0])
        if self.cuda:
            torch.cuda.set_rng_state(state[1], self.cuda)
