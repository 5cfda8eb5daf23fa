"""latome: deep probabilistic models of single-cell omics.

The root package is lazy: `import latome` loads nothing heavy; `latome.model`, `latome.data`,
`latome.settings` and the engine's verbs are loaded when first used.
"""

from importlib import import_module

__version__ = "0.1.0"

_WHERE = {
    "Fit": "latome.fit",
    "fit": "latome.fit",
    "initialise": "latome.fit",
    "settings": "latome.faces.preferences",
}
_PACKAGES = ("analysis", "bridge", "compose", "criticism", "data", "errors", "external", "io", "model", "modules",
             "training")

__all__ = ["__version__", *_WHERE, *_PACKAGES]


def __getattr__(name):
    if name in _PACKAGES:
        return import_module(f"latome.{name}")
    if name in _WHERE:
        module = import_module(_WHERE[name])
        value = getattr(module, name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'latome' has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
