"""Bayesian differential expression: comparisons, pools of posterior samples, hypotheses, tables."""

from latome.analysis.differential.comparisons import REST, Comparison, comparisons_of
from latome.analysis.differential.verb import differential_expression

__all__ = ["REST", "Comparison", "comparisons_of", "differential_expression"]
