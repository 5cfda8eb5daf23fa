"""Options of training: what may be said to the loop."""

from dataclasses import dataclass
from typing import Literal

from latome.errors import SettingError
from latome.protocol.settings import Settings, setting

__all__ = ["TrainingOptions", "default_epochs"]

Monitor = Literal["elbo_validation", "reconstruction_loss_validation", "kl_local_validation", "elbo_train"]


@dataclass(frozen=True)
class TrainingOptions(Settings):
    """Options of training; the defaults are those of the reference text."""

    max_epochs: int | None = setting(None, "Passes over the cells; by default 400, fewer beyond 20,000 cells.", ge=1)
    batch_size: int = setting(128, "Cells in a minibatch.", ge=3)
    train_size: float | None = setting(None, "Share of the cells to train on; by default 0.9.", gt=0, le=1)
    validation_size: float | None = setting(None, "Share of the cells to validate on; by default the rest.", ge=0, lt=1)
    shuffle_set_split: bool = setting(True, "Split the cells at random rather than in their order.")
    early_stopping: bool = setting(False, "Stop when the monitored quantity no longer improves.")
    early_stopping_monitor: Monitor = setting("elbo_validation", "Quantity that early stopping watches; smaller is "
                                                                 "better.")
    early_stopping_patience: int = setting(45, "Epochs without improvement before stopping.", ge=1)
    early_stopping_min_delta: float = setting(
        0.0, "Smallest change that counts as an improvement, in nats a cell.", ge=0)
    early_stopping_warmup_epochs: int = setting(0, "Epochs before early stopping begins to watch.", ge=0)
    check_val_every_n_epoch: int | None = setting(None, "Epochs between validations; by default 1 with early stopping, "
                                                        "else never.", ge=1)
    lr: float = setting(1e-3, "Learning rate of Adam.", gt=0)
    weight_decay: float = setting(1e-6, "L2 penalty, added to the gradient.", ge=0)
    eps: float = setting(0.01, "Term added to Adam's denominator.", gt=0)
    n_epochs_kl_warmup: int | None = setting(400, "Epochs over which the weight of the KL divergence rises.", ge=1)
    n_steps_kl_warmup: int | None = setting(None, "Steps over which it rises; used when n_epochs_kl_warmup is not set.",
                                            ge=1)
    min_kl_weight: float = setting(0.0, "Weight of the KL divergence at the start.", ge=0)
    max_kl_weight: float = setting(1.0, "Weight of the KL divergence at the end.", ge=0)
    device: str = setting("auto", "Where to train: auto (a CUDA GPU if there is one), cpu, cuda, cuda:1, mps.")
    threads: int | None = setting(None, "Processor threads; by default one for each physical core.", ge=1)
    checkpoint: str | None = setting(None, "Folder that receives the state of training now and then, and from which "
                                           "interrupted training goes on.")
    checkpoint_every: int = setting(10, "Epochs between checkpoints.", ge=1)

    def check(self):
        if self.train_size is not None and self.validation_size is not None:
            if self.train_size + self.validation_size > 1 + 1e-9:
                raise SettingError("validation_size", problem=f"train_size {self.train_size} and validation_size "
                                   f"{self.validation_size} are more than the whole.",
                                   hint="Let them add up to at most 1.")
        if self.min_kl_weight > self.max_kl_weight:
            raise SettingError("min_kl_weight", problem=f"min_kl_weight {self.min_kl_weight} exceeds max_kl_weight "
                               f"{self.max_kl_weight}.", hint="Choose a smaller start.")

    @property
    def validate_every(self):
        """Epochs between validations, or None for never."""
        if self.check_val_every_n_epoch is not None:
            return self.check_val_every_n_epoch
        watches = self.early_stopping and self.early_stopping_monitor.endswith("_validation")
        return 1 if watches else None


def default_epochs(n_cells, most=400):
    """max(1, min(round(20000 / n * 400), most)): the heuristic of the reference text."""
    return max(1, min(round(20000 / n_cells * 400), most))
