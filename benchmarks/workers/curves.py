"""A worker that draws curves. Runs in the peer's environment, which has matplotlib."""

import matplotlib
from lines import serve

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402


def curves(panels, to, columns=2):
    """A figure of panels.

    Arguments
    ---------
    panels : [{"title", "x", "y": words on the axes, "log": axes that are logarithmic, "curves", "floor"}]: curves are
        [{"name", "x", "y", and what else pyplot.plot takes}], floor is the least y shown.
    to : path of the .png.
    """
    count = -(-len(panels) // columns)
    figure, grid = pyplot.subplots(count, columns, figsize=(5.2 * columns, 3.8 * count), squeeze=False,
                                   layout="constrained")
    for axes, panel in zip(grid.flat, panels, strict=False):
        for curve in panel["curves"]:
            style = {key: value for key, value in curve.items() if key not in ("name", "x", "y")}
            axes.plot(curve["x"], curve["y"], label=curve["name"], **style)
        axes.set(title=panel["title"], xlabel=panel["x"], ylabel=panel["y"])
        if "x" in panel.get("log", ""):
            axes.set_xscale("log")
        axes.set_ylim(bottom=panel.get("floor", 0))
        axes.legend(frameon=False, fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(to, dpi=80, pil_kwargs={"optimize": True})
    pyplot.close(figure)
    return {}


serve({"curves": curves})
