"""A worker that draws: UMAPs of latents. Runs in the peer's environment, which has umap and matplotlib."""

import matplotlib
import numpy as np
import umap
from lines import serve

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402

CELLS = 12000      # more are drawn from at random: a larger figure shows no more


def colours(k):
    """k colours, told apart."""
    palette = [*pyplot.get_cmap("tab10").colors, *pyplot.get_cmap("Dark2").colors, *pyplot.get_cmap("Set2").colors]
    return np.array([palette[i % len(palette)] for i in range(k)])


def paint(axes, places, values, title):
    """One panel: cells in random order, so that none of the values hides the others."""
    names, codes = np.unique(np.asarray(values), return_inverse=True)
    order, shades = np.random.default_rng(0).permutation(len(codes)), colours(len(names))
    axes.scatter(*places[order].T, c=shades[codes[order]], s=1.2, linewidths=0)
    axes.set(title=title, xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    return [pyplot.Line2D([], [], marker="o", linestyle="", markersize=5, color=shade, label=name)
            for name, shade in zip(names, shades, strict=True)]


def umaps(latents, colourings, to):
    """A row of panels for each colouring, a column for each latent.

    Arguments
    ---------
    latents : {title: path of an (n, k) array}.
    colourings : {name: [value of each cell]}.
    to : path of the .png.
    """
    arrays = {title: np.load(path).astype(np.float32) for title, path in latents.items()}
    n = len(next(iter(arrays.values())))
    rows = np.sort(np.random.default_rng(0).permutation(n)[:CELLS])
    places = {title: umap.UMAP(random_state=0, n_jobs=1).fit_transform(z[rows]) for title, z in arrays.items()}
    figure, grid = pyplot.subplots(len(colourings), len(arrays), figsize=(5 * len(arrays), 4.2 * len(colourings)),
                                   squeeze=False, layout="constrained")
    for line, (name, values) in zip(grid, colourings.items(), strict=True):
        for axes, (title, place) in zip(line, places.items(), strict=True):
            handles = paint(axes, place, np.asarray(values)[rows], f"{title}, by {name}")
        line[-1].legend(handles=handles, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8)
    figure.savefig(to, dpi=75, pil_kwargs={"optimize": True})
    pyplot.close(figure)
    return {"versions": {"umap-learn": umap.__version__, "matplotlib": matplotlib.__version__}}


serve({"umaps": umaps})
