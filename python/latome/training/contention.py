"""Training beside other work on the same processor.

Where OpenMP was loaded before latome, as in R, its threads wait for each other by spinning for milliseconds. On
an idle processor that is fastest; beside other work it is ruinous: a thread spins while the one it waits for has
no core. OpenMP itself spins briefly whenever it keeps more threads than there are cores, so when training notices
that it does not get the processor, one idle team of threads is kept until it ends.
"""

import os
import threading

from latome.backend import long_spins, torch

__all__ = ["Contention"]

WINDOW = 0.25                                          # seconds between judgements
CROWDED = 0.8                                          # share of the processor below which others are at work


class Contention:
    """Watches how much of the processor training gets.

    Arguments
    ---------
    threads : of the processor, that training uses.
    watch : whether there is anything to do; by default where OpenMP spins for long.
    """

    def __init__(self, threads, watch=long_spins):
        self.threads = min(threads, os.cpu_count() or 1)
        self.watching = watch and self.threads > 1
        self.wall = self.cpu = 0.0
        self.release = None

    @property
    def crowded(self):
        """Whether training was found to share the processor."""
        return self.release is not None

    def note(self, wall, cpu):
        """Add seconds of training and the processor's seconds that it got, over all threads."""
        if not self.watching or self.crowded:
            return
        self.wall, self.cpu = self.wall + wall, self.cpu + cpu
        if self.wall >= WINDOW:
            if self.cpu < CROWDED * self.threads * self.wall:
                self._keep_idle_team()
            self.wall = self.cpu = 0.0

    def end(self):
        """Let the idle team go."""
        if self.crowded:
            self.release.set()
        self.watching = False

    def _keep_idle_team(self):
        """Park a thread whose own team of OpenMP threads sleeps until it is released."""
        ready, self.release = threading.Event(), threading.Event()

        def park(release=self.release):
            torch.ones(1 << 20).mul_(2.0)              # one parallel region makes the team
            ready.set()
            release.wait()

        threading.Thread(target=park, name="latome-idle-team", daemon=True).start()
        ready.wait()
