"""Floor 4: the one training loop and what it is made of."""

from latome.training.loop import Progress, Trainer
from latome.training.options import TrainingOptions

__all__ = ["Progress", "Trainer", "TrainingOptions"]
