"""A few full-batch optimiser steps from a checkpoint: gradients, tensors and losses, by scvi-tools' names."""

import re
from dataclasses import replace

import numpy as np

from latome.io import names
from latome.training.optimizer import FlatOptimizer, adam
from parity_cases.compare import NotYet
from parity_cases.scvi_arrays import full_batch, gradients_of

__all__ = ["StepArrays"]

_NOISE = 1e-6                                           # of the case's largest gradient: float32 sums round there
_NAME = re.compile(r"(grad|after)(\d+)\.(.+)")          # kind, step, their tensor


class StepArrays:
    """Answers `array(name)` for names such as "grad1.px_r", "after3.px_r" and "loss".

    Arguments
    ---------
    fit, data : a fit, which the steps change, and the data opened for it.
    case : case.json, whose "steps" and "optimiser" say what to do.
    """

    def __init__(self, fit, data, case):
        self.module = fit.module
        self.entries = names.entries_of("SCVI", fit.module)
        self.cells = full_batch(data)
        self.gradients, self.tensors, self.losses = {}, {0: self.state()}, []
        self.optimiser = _optimiser(case["optimiser"])
        self.train(_kl_weights(case["steps"]))

    def train(self, kl_weights):
        optimizer = FlatOptimizer(self.module.parameters(), adam(**self.optimiser))
        self.module.train()
        for step, weight in enumerate(kl_weights, start=1):
            optimizer.zero_grad()
            terms = self.module.terms(self.cells, draw="mean")
            loss = self.module.loss(terms, weight, self.cells["index"].shape[0])
            loss.backward()
            gradients = {name: value.clone() for name, value in gradients_of(self.module).items()}
            self.gradients[step] = names.to_peer(self.entries, gradients)
            optimizer.step()
            self.module.after_step()
            self.tensors[step] = self.state()
            self.losses.append(loss.item())
        self.module.eval()

    def state(self):
        ours = {name: value.clone() for name, value in self.module.state_dict().items()}
        return names.to_peer(self.entries, ours)

    def without_reference(self, name, expected):
        """Whether what is stored as the tensor after some steps is the checkpoint's own, though it did move."""
        found = _NAME.fullmatch(name)
        start = self.tensors[0].get(found.group(3)) if found and found.group(1) == "after" else None
        return start is not None and np.array_equal(start, expected) and not np.array_equal(self.array(name), expected)

    def array(self, name):
        """The array of that name; NotYet where latome has no such tensor."""
        if name == "loss":
            return np.array(self.losses)
        found = _NAME.fullmatch(name)
        if not found:
            raise NotYet(f"no counterpart of '{name}'")
        kind, step, tensor = found.groups()
        steps = (self.gradients if kind == "grad" else self.tensors).get(int(step), {})
        if tensor not in steps:
            raise NotYet(f"no counterpart of the tensor '{tensor}' after step {step}")
        return steps[tensor].numpy()

    def tolerance(self, name, usual, stored):
        """The `usual` tolerance, and what rounding adds to it.

        A bias in front of batch normalisation has a gradient of exactly zero. What is computed for it is rounding
        noise, which Adam turns into steps of its own: of at most lr g / (g + eps) each, on either side.
        """
        found = _NAME.fullmatch(name)
        gradients = {key: np.abs(values).max(initial=0.0) for key, values in stored.items() if key.startswith("grad")}
        if not found or not gradients:
            return usual
        kind, step, tensor = found.groups()
        noise = _NOISE * max(gradients.values())
        if kind == "grad":
            return replace(usual, noise=noise)
        ours = self.gradients[1].get(tensor)
        size = np.inf if ours is None else max(gradients.get(f"grad1.{tensor}", np.inf), float(ours.abs().max()))
        if size >= noise:
            return usual
        return replace(usual, atol=2 * int(step) * self.optimiser["lr"] * size / (size + self.optimiser["eps"]))


def _kl_weights(text):
    found = re.search(r"kl_weight\s+((?:[\d.e-]+,?\s*)+)", text)
    if not found:
        raise NotYet("case.json does not say the weights of the divergence")
    return [float(weight) for weight in re.findall(r"[\d.e-]+", found.group(1))]


def _optimiser(text):
    """{lr, eps, weight_decay} of Adam with coupled L2, from words."""
    found = {name: re.search(rf"\b{name}\s+([\d.e-]+)", text) for name in ("lr", "eps", "weight_decay")}
    if not re.match(r"Adam\b", text) or None in found.values():
        raise NotYet(f"the optimiser '{text}'")
    return {name: float(match.group(1)) for name, match in found.items()}
