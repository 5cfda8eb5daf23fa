"""Floor 1: networks. Shapes: m cells, k latents, h hidden units, g genes, s samples in front."""

from latome.nn.blocks import FullyConnected
from latome.nn.classifiers import Classifier
from latome.nn.covariates import CovariateLinear
from latome.nn.decoders import ExpressionDecoder, LinearDecoder
from latome.nn.encoders import NormalEncoder

__all__ = ["Classifier", "CovariateLinear", "ExpressionDecoder", "FullyConnected", "LinearDecoder", "NormalEncoder"]
