"""A progress line on the terminal."""

import sys

__all__ = ["ProgressLine"]


class ProgressLine:
    """A function of a `Progress`: rewrites one line of stderr, in a terminal only."""

    def __init__(self, stream=None):
        self.stream = stream or sys.stderr

    def __call__(self, now):
        if not self.stream.isatty():
            return
        done = now.step / max(now.n_steps, 1)
        bar = ("=" * round(24 * done)).ljust(24, ".")
        loss = "" if now.elbo is None else f"  elbo {now.elbo:.1f}"
        loss += "" if now.elbo_validation is None else f"  validation {now.elbo_validation:.1f}"
        self.stream.write(f"\repoch {now.epoch}/{now.n_epochs} [{bar}]{loss}  {now.seconds:.0f}s\x1b[K")
        if now.state != "running":
            self.stream.write("\n")
        self.stream.flush()
