"""What holds for all models of the object face: `latome.settings`."""

import difflib

from latome.backend import torch
from latome.errors import SettingError
from latome.protocol.settings import check_setting

__all__ = ["Preferences", "settings"]

#: attributes that scripts of scvi-tools set, and that change nothing here
WITHOUT_EFFECT = {"dl_num_workers": 0, "dl_persistent_workers": False, "logging_dir": "./", "verbosity": 20,
                  "progress_bar_style": "tqdm", "warnings_stacklevel": 2, "jax_preallocate_gpu_memory": False}


class Preferences:
    """seed of new models, batch_size of inference, num_threads of the processor, progress_bar on or off.

    Attributes that only say how scvi-tools goes about its work (dl_num_workers, verbosity ...) are kept and change
    nothing; any other name is an error.
    """

    def __init__(self):
        self._seed = 0
        self._batch_size = None
        self._progress_bar = True
        self._kept = dict(WITHOUT_EFFECT)

    def __getattr__(self, name):
        kept = self.__dict__.get("_kept", {})
        if name in kept:
            return kept[name]
        raise AttributeError(f"latome.settings has no '{name}'")

    def __setattr__(self, name, value):
        if name.startswith("_") or isinstance(getattr(type(self), name, None), property):
            object.__setattr__(self, name, value)
        elif name in WITHOUT_EFFECT:
            self._kept[name] = value
        else:
            known = ["seed", "batch_size", "num_threads", "progress_bar", *WITHOUT_EFFECT]
            close = difflib.get_close_matches(name, known, n=1)
            raise SettingError(name, problem=f"latome.settings has no '{name}'.",
                               hint=f"Did you mean '{close[0]}'?" if close else "Known: " + ", ".join(known[:4]) + ".")

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

    @property
    def progress_bar(self):
        """Whether training shows its progress."""
        return self._progress_bar

    @progress_bar.setter
    def progress_bar(self, value):
        self._progress_bar = check_setting("progress_bar", value, bool, {})

    def __repr__(self):
        return f"latome.settings: seed {self.seed}, batch_size {self.batch_size}, num_threads {self.num_threads}"


settings = Preferences()
