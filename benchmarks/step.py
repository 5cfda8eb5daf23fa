"""Where a training step's time goes: our step in parts, and the products alone.

    python benchmarks/step.py             scVI zinb and nb, 20,000 x 2,000 simulated counts, minibatches of 128
    python benchmarks/step.py --batch-size 1024

The products of a step (output layers, forward and backward) are those that scvi-tools makes as well, by the same
library: with everything else free, its step could be outrun by the ratio of its time to theirs and no more.
"""

import argparse
import time

import numpy as np
from counts import simulated
from rounds import cores, describe_machine, markdown_table, write_results
from rows import Counts

from latome.backend import torch
from latome.data.fields import Columns
from latome.data.registry import open_data
from latome.fit import initialise, start
from latome.kernels import adam, heads, layers, narrow
from latome.modules.scvi import ScviSettings
from latome.training.options import TrainingOptions

PARTS = {                                              # in words: (module, function) that is timed
    "output layers, forward": (heads, "_product"),
    "output layers, backward": (heads, "_of_layer"),
    "likelihood and its gradient": (heads, "evaluate"),
    "hidden layers: products": (layers, "_linear"),
    "hidden layers: products, backward": (layers, "_weight_gradient"),
    "hidden layers: covariates, norm, dropout": (layers, "_block"),
    "hidden layers: the same, backward": (layers, "_block_gradient"),
    "heads of the encoder": (narrow, "_product"),
    "heads of the encoder, backward": (narrow, "_gradient"),
    "Adam": (adam, "_adam"),
}


class Clock:
    """Seconds spent in functions, which it stands in for while it is open."""

    def __init__(self):
        self.seconds = dict.fromkeys(PARTS, 0.0)

    def __enter__(self):
        self.kept = {name: getattr(*where) for name, where in PARTS.items()}
        for name, (module, function) in PARTS.items():
            setattr(module, function, self.timed(name, self.kept[name]))
        return self

    def __exit__(self, *error):
        for name, (module, function) in PARTS.items():
            setattr(module, function, self.kept[name])

    def timed(self, name, function):
        def call(*arguments, **options):
            begin = time.perf_counter()
            found = function(*arguments, **options)
            self.seconds[name] += time.perf_counter() - begin
            return found

        return call


def products_alone(m, g, h, n_heads, repeats=300):
    """Milliseconds of the products of `n_heads` output layers, forward and backward, over the same few arrays."""
    hidden, weight, pull = torch.randn(m, h), torch.randn(g, h), torch.randn(m, g)
    taken = []
    for _ in range(repeats):
        begin = time.perf_counter()
        for _ in range(n_heads):
            hidden @ weight.t(), pull @ weight, pull.t() @ hidden
        taken.append(time.perf_counter() - begin)
    return 1e3 * float(np.median(taken))


def steps(trainer, n):
    """Milliseconds of a step, mean of n."""
    begin = time.perf_counter()
    trainer.advance(steps=n)
    return 1e3 * (time.perf_counter() - begin) / n


def profile(data, likelihood, options):
    """({part: milliseconds a step}, milliseconds of a step, of its products alone)."""
    fit = initialise(ScviSettings(gene_likelihood=likelihood), data)
    trainer = start(fit, data, TrainingOptions(max_epochs=1000, batch_size=options.batch_size))
    n = max(10, 25600 // options.batch_size)
    steps(trainer, n)
    whole = float(np.median([steps(trainer, n) for _ in range(options.rounds)]))
    with Clock() as clock:
        steps(trainer, n * options.rounds)
    trainer.interrupt()
    parts = {name: 1e3 * seconds / (n * options.rounds) for name, seconds in clock.seconds.items()}
    alone = products_alone(options.batch_size, data.n_genes, fit.settings.n_hidden, 2 if likelihood == "zinb" else 1)
    return parts, whole, alone


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=20000)
    parser.add_argument("--genes", type=int, default=2000)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--name", default="step", help="of the files in results/")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = open_data(simulated(Counts(options.cells, options.genes, kept=0.0)), Columns(batch="batch"))
    found = {likelihood: profile(data, likelihood, options) for likelihood in ("zinb", "nb")}
    rows = [[name, *(f"{parts[name]:.2f}" for parts, *_ in found.values())] for name in PARTS]
    rest = [whole - sum(parts.values()) for parts, whole, _ in found.values()]
    rows.append(["the rest: the graph, minibatches, Python", *(f"{value:.2f}" for value in rest)])
    rows.append(["**whole step**", *(f"**{whole:.2f}**" for _, whole, _ in found.values())])
    rows.append(["products of the output layers alone, in a loop", *(f"{alone:.2f}" for *_, alone in found.values())])
    result = {"title": "Where a training step's time goes", "machine": describe_machine(), "options": vars(options),
              "milliseconds": {name: {"parts": parts, "step": whole, "products alone": alone}
                               for name, (parts, whole, alone) in found.items()},
              "note": f"Milliseconds a step; {data.n_cells:,} cells x {data.n_genes:,} genes, minibatches of "
                      f"{options.batch_size}, float32, {options.threads} threads. Parts are timed from outside, which "
                      "adds some microseconds to each. In a step the operands of a product come from the last-level "
                      "cache or from memory, since weights, gradients and moments do not fit into the cores' own; in "
                      "a loop over the same arrays they do."}
    write_results(options.name, result, markdown_table(["ms a step", *found], rows))


if __name__ == "__main__":
    main()
