"""Options of training: what may be said to the loop."""

from dataclasses import dataclass
from typing import Literal

from latome.errors import SettingError
from latome.protocol.settings import Settings, check_setting, setting

__all__ = ["PRESETS", "TrainingOptions", "default_epochs", "limited", "refining_epochs"]

Validated = Literal["elbo_validation", "reconstruction_loss_validation", "kl_local_validation"]
Monitor = Literal["elbo_validation", "reconstruction_loss_validation", "kl_local_validation", "elbo_train"]

#: {name: {option: value}}, options that go together; benchmarks/results/quality.md compares them
PRESETS = {
    "fast": {"max_steps": 7000, "n_steps_kl_warmup": 700, "n_epochs_kl_warmup": None, "lr": 0.015,
             "lr_schedule": "cycle", "eps": 1e-4, "early_stopping": False},
}


@dataclass(frozen=True)
class TrainingOptions(Settings):
    """Options of training; the defaults are those of the reference text."""

    max_epochs: int | None = setting(None, "Passes over the cells; by default 400, fewer beyond 20,000 cells.", ge=1)
    max_steps: int | None = setting(None, "Steps after which training ends, even within an epoch; given alone, "
                                          "it takes the place of max_epochs.", ge=1)
    batch_size: int = setting(128, "Cells in a minibatch.", ge=3)
    drop_last: bool = setting(False, "Leave out an epoch's last minibatch where it is not full.")
    limit_train_batches: float | None = setting(
        None, "Minibatches of an epoch, drawn anew each time: a number of them, or below 1 a share; by default all.",
        gt=0)
    limit_val_batches: float | None = setting(
        None, "Minibatches of a validation, always the same: a number of them, or below 1 a share; 0 for no "
        "validation, by default all.", ge=0)
    train_size: float | None = setting(None, "Share of the cells to train on; by default 0.9.", gt=0, le=1)
    validation_size: float | None = setting(None, "Share of the cells to validate on; by default the rest.", ge=0, lt=1)
    shuffle_set_split: bool = setting(True, "Split the cells at random rather than in their order.")
    early_stopping: bool = setting(False, "Stop when the monitored quantity no longer improves.")
    early_stopping_monitor: Monitor = setting("elbo_validation", "Quantity that early stopping and keep_best watch; "
                                                                 "smaller is better.")
    early_stopping_patience: int = setting(45, "Epochs without improvement before stopping.", ge=1)
    early_stopping_min_delta: float = setting(
        0.0, "Smallest change that counts as an improvement, in nats a cell.", ge=0)
    early_stopping_warmup_epochs: int = setting(0, "Epochs before early stopping and keep_best begin to watch.", ge=0)
    keep_best: bool = setting(False, "At the end, give the model the weights of the epoch in which the watched "
                                     "quantity was best.")
    check_val_every_n_epoch: int | None = setting(None, "Epochs between validations; by default 1 where something "
                                                        "watches them, else never.", ge=1)
    optimizer: Literal["Adam", "AdamW"] = setting("Adam", "Optimiser: Adam adds the L2 penalty to the gradient, AdamW "
                                                          "takes it off the weights.")
    lr: float = setting(1e-3, "Learning rate.", gt=0)
    lr_schedule: Literal["constant", "cycle"] = setting(
        "constant", "How the learning rate goes: constant; or a cycle, from a tenth of it up over the first tenth of "
        "the steps, then down to nothing along half a cosine.")
    weight_decay: float = setting(1e-6, "L2 penalty of the weights.", ge=0)
    eps: float = setting(0.01, "Term added to Adam's denominator.", gt=0)
    gradient_clip_val: float | None = setting(None, "Bound of the gradient; by default none.", gt=0)
    gradient_clip_algorithm: Literal["norm", "value"] = setting("norm", "What it bounds: the norm of the gradient, or "
                                                                        "each of its values.")
    reduce_lr_on_plateau: bool = setting(False, "Lower the learning rate when lr_scheduler_metric no longer improves.")
    lr_factor: float = setting(0.6, "Factor by which the learning rate is lowered.", gt=0, lt=1)
    lr_patience: int = setting(30, "Epochs without improvement after which one more lowers the learning rate.", ge=0)
    lr_threshold: float = setting(0.0, "Smallest change that counts as an improvement then, in nats a cell.", ge=0)
    lr_scheduler_metric: Validated = setting("elbo_validation", "Quantity that the learning rate follows; smaller is "
                                                                "better.")
    lr_min: float = setting(0.0, "Learning rate that is not lowered further.", ge=0)
    update_only_decoder: bool = setting(False, "Train the decoder alone: the encoder, and so the latent, stays.")
    n_epochs_kl_warmup: int | None = setting(400, "Epochs over which the weight of the KL divergence rises.", ge=1)
    n_steps_kl_warmup: int | None = setting(None, "Steps over which it rises; used when n_epochs_kl_warmup is not set.",
                                            ge=1)
    min_kl_weight: float = setting(0.0, "Weight of the KL divergence at the start.", ge=0)
    max_kl_weight: float = setting(1.0, "Weight of the KL divergence at the end.", ge=0)
    device: str = setting("auto", "Where to train: auto (a CUDA GPU if there is one), cpu, cuda, cuda:1, mps.")
    products: Literal["float32", "bfloat16"] = setting(
        "float32", "Type of the decoder's largest matrix products: bfloat16 keeps two to three digits of each factor "
        "and is faster on processors with AVX-512 BF16 or AMX; weights and losses stay float32.")
    threads: int | None = setting(None, "Processor threads; by default one for each physical core.", ge=1)
    checkpoint: str | None = setting(None, "Folder that receives the state of training now and then, and from which "
                                           "interrupted training goes on.")
    checkpoint_every: int = setting(10, "Epochs between checkpoints.", ge=1)

    @classmethod
    def make(cls, preset=None, **values):
        """Options from keywords; `preset` names a set of PRESETS, which holds where the keywords do not say otherwise.

        Example
        -------
        >>> TrainingOptions.make(preset="fast", max_steps=7000)
        """
        preset = check_setting("preset", preset, Literal[tuple(PRESETS)] | None, {})
        return super().make(**{**PRESETS.get(preset, {}), **values})

    def check(self):
        if self.train_size is not None and self.validation_size is not None:
            if self.train_size + self.validation_size > 1 + 1e-9:
                raise SettingError("validation_size", problem=f"train_size {self.train_size} and validation_size "
                                   f"{self.validation_size} are more than the whole.",
                                   hint="Let them add up to at most 1.")
        if self.min_kl_weight > self.max_kl_weight:
            raise SettingError("min_kl_weight", problem=f"min_kl_weight {self.min_kl_weight} exceeds max_kl_weight "
                               f"{self.max_kl_weight}.", hint="Choose a smaller start.")
        if self.lr_schedule != "constant" and self.reduce_lr_on_plateau:
            raise SettingError("lr_schedule", problem=f"lr_schedule = '{self.lr_schedule}' sets the learning rate of "
                               "each step, and reduce_lr_on_plateau would lower it.", hint="Leave one of them out.")
        for name in ("limit_train_batches", "limit_val_batches"):
            limit = getattr(self, name)
            if limit is not None and limit > 1 and limit != int(limit):
                raise SettingError(name, problem=f"`{name}` cannot be {limit}.",
                                   hint="Give a whole number of minibatches, or a share below 1.")

    @property
    def watches(self):
        """{option: the quantity of validation that it needs}."""
        found = {"early_stopping": self.early_stopping_monitor, "keep_best": self.early_stopping_monitor,
                 "reduce_lr_on_plateau": self.lr_scheduler_metric}
        return {name: quantity for name, quantity in found.items()
                if getattr(self, name) and quantity.endswith("_validation")}

    @property
    def validate_every(self):
        """Epochs between validations, or None for never."""
        if self.check_val_every_n_epoch is not None:
            return self.check_val_every_n_epoch
        return 1 if self.watches else None


def default_epochs(n_cells, most=400):
    """max(1, min(round(20000 / n * 400), most)): the heuristic of the reference text."""
    return max(1, min(round(20000 / n_cells * 400), most))


def refining_epochs(n_cells):
    """Epochs of a model that begins with the weights of a trained one: a third of the above, from 2 to 10."""
    return min(10, max(2, round(default_epochs(n_cells) / 3)))


def limited(bounds, limit):
    """The cells of an epoch's first minibatches.

    Arguments
    ---------
    bounds : [(start, stop), ...] of the minibatches.
    limit : how many of them, below 1 as a share (at least one), None for all.
    """
    if limit is None or not bounds or limit >= len(bounds):
        return bounds[-1][1] if bounds else 0
    count = int(limit) if limit >= 1 or limit == 0 else max(1, int(limit * len(bounds) + 1e-9))
    return bounds[count - 1][1] if count else 0
