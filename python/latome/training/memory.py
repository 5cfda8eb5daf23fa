"""The memory of a training: what goes to disk, and from which it goes on as if it had never stopped."""

from latome.training.adversary import named
from latome.training.history import plain_sums, sums_from_plain

__all__ = ["remember", "take_up"]


def remember(trainer):
    """({name: tensor}, facts) of a trainer between two steps, from which `take_up` goes on, bit for bit.

    Within an epoch all ranks must call it, and each has the same; at the end of one it may be called by any.
    """
    tensors = {f"module.{name}": value for name, value in trainer.weights().items()}
    tensors |= {f"optimizer.{name}": value for name, value in trainer.optimizer.state().items()}
    if trainer.adversary:
        tensors |= trainer.adversary.memory()
    facts = {"epoch": trainer.epoch, "first_epoch": trainer.first_epoch, "step": trainer.step, "done": trainer.done,
             "n_epochs": trainer.n_epochs, "seconds": trainer.seconds, "lr": trainer.optimizer.lr,
             "stopping": trainer.stopping.watch.memory(), "ranks": trainer.ranks.size}
    if trainer.plateau:
        facts["plateau"] = trainer.plateau.watch.memory()
    if trainer.best:
        weights, facts["best"] = trainer.best.memory()
        tensors |= {f"best.{name}": value.clone() for name, value in weights.items()}
    if trainer.done:
        facts["sums"] = trainer.ranks.each(plain_sums(trainer.sums))
        for rank, states in enumerate(trainer.ranks.each(trainer.random.state)):
            tensors |= {f"random.{rank}.{i}": state for i, state in enumerate(states) if state is not None}
    return tensors, facts


def take_up(trainer, tensors, facts):
    """Go on from what was remembered of a trainer of the same model, data, options, seed and number of ranks."""
    trainer.module.load_state_dict(named(tensors, "module."))
    trainer.optimizer.load_state(named(tensors, "optimizer."))
    trainer.optimizer.lr = facts["lr"]
    if trainer.adversary:
        trainer.adversary.restore(named(tensors, "adversary."))
    trainer.epoch, trainer.first_epoch, trainer.step = facts["epoch"], facts["first_epoch"], facts["step"]
    trainer.n_epochs, trainer.seconds, trainer.done = facts["n_epochs"], facts["seconds"], facts.get("done", 0)
    trainer.last_good = trainer.weights()
    trainer.stopping.watch.restore(facts["stopping"])
    if trainer.plateau:
        trainer.plateau.watch.restore(facts["plateau"])
    if trainer.best:
        trainer.best.restore(named(tensors, "best."), facts["best"])
    if trainer.done:
        trainer.sums = sums_from_plain(facts["sums"][trainer.ranks.rank], trainer.device)
        states = named(tensors, f"random.{trainer.ranks.rank}.")
        trainer.random.state = tuple(states.get(str(i)) for i in range(3))
