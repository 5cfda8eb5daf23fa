"""What holds for all models of the object face: `latome.settings`."""

from latome.backend import torch
from latome.protocol.settings import check_setting

__all__ = ["Preferences", "settings"]


class Preferences:
    """seed of new models, batch_size of inference, num_threads of the processor."""

    def __init__(self):
        self._seed = 0
        self._batch_size = None
        self.progress_bar = True

    @property
    def seed(self):
        """Seed of weights, split and every random draw of models made from now on."""
        return self._seed

    @seed.setter
    def seed(self, value):
        self._seed = 0 if value is None else check_setting("seed", value, int, {"ge": 0, "lt": 2**63})

    @property
    def batch_size(self):
        """Cells at a time when a model is asked about data (None: as fits); the answer does not depend on it."""
        return self._batch_size

    @batch_size.setter
    def batch_size(self, value):
        self._batch_size = check_setting("batch_size", value, int | None, {"ge": 1})

    @property
    def num_threads(self):
        """Threads of the processor that torch uses."""
        return torch.get_num_threads()

    @num_threads.setter
    def num_threads(self, value):
        torch.set_num_threads(check_setting("num_threads", value, int, {"ge": 1}))

    def __repr__(self):
        return f"latome.settings: seed {self.seed}, batch_size {self.batch_size}, num_threads {self.num_threads}"


settings = Preferences()
