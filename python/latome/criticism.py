"""Posterior predictive checks under the name people look for."""

from latome.faces.criticism import PosteriorPredictiveCheck

__all__ = ["PosteriorPredictiveCheck"]
