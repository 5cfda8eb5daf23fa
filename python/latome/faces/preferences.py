"""What holds for all models of the object face: `latome.settings`."""

from latome.backend import torch
from latome.errors import SettingError

__all__ = ["Preferences", "settings"]


class Preferences:
    """seed of new models, batch_size of inference, num_threads of the processor."""

    def __init__(self):
        self._seed = 0
        self._batch_size = 1024
        self.progress_bar = True

    @property
    def seed(self):
        """Seed of weights, split and every random draw of models made from now on."""
        return self._seed

    @seed.setter
    def seed(self, value):
        if value is None:
            value = 0
        if isinstance(value, bool) or not float(value).is_integer() or value < 0:
            raise SettingError("seed", problem=f"`seed` cannot be {value!r}.", hint="Give a whole number, 0 or more.")
        self._seed = int(value)

    @property
    def batch_size(self):
        """Cells at a time when a model is asked about data; the answer does not depend on it."""
        return self._batch_size

    @batch_size.setter
    def batch_size(self, value):
        if isinstance(value, bool) or int(value) != value or value < 1:
            raise SettingError("batch_size", problem=f"`batch_size` cannot be {value!r}.", hint="Give 1 or more.")
        self._batch_size = int(value)

    @property
    def num_threads(self):
        """Threads of the processor that torch uses."""
        return torch.get_num_threads()

    @num_threads.setter
    def num_threads(self, value):
        if isinstance(value, bool) or int(value) != value or value < 1:
            raise SettingError("num_threads", problem=f"`num_threads` cannot be {value!r}.", hint="Give 1 or more.")
        torch.set_num_threads(int(value))

    def __repr__(self):
        return f"latome.settings: seed {self.seed}, batch_size {self.batch_size}, num_threads {self.num_threads}"


settings = Preferences()
