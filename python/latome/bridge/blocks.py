"""Answers in blocks of cells, which R asks for one by one: it shows how far they are, and may end between two."""

from latome.bridge.answers import answers
from latome.fit import check_seed
from latome.training.session import RandomStream, use_threads

__all__ = ["Blocks", "close", "next_block"]


class Blocks:
    """Blocks under way.

    Arguments
    ---------
    blocks : iterator of (start, stop, values of these cells), in the order of the cells.
    pack : function of (start, values) that returns a dict, what crosses of them.
    seed : of the random numbers.
    file : an `ExpressionFile` that `pack` fills, or None.
    """

    def __init__(self, blocks, pack, seed, file=None):
        self.blocks, self.pack, self.file = blocks, pack, file
        self.random = RandomStream(check_seed(seed))

    def next(self):
        """The next block, cells counted from 1; nothing at the end, when the file is there."""
        with self.random.active(), use_threads():
            found = next(self.blocks, None)
        if found is None:
            if self.file is not None:
                self.file.finish()
                self.file = None
            return {}
        start, stop, values = found
        return {"start": start + 1, "stop": stop, **self.pack(start, values)}

    def close(self):
        """End here; a file that is not complete is removed."""
        self.blocks = iter(())
        if self.file is not None:
            self.file.discard()
            self.file = None


@answers
def next_block(work):
    """The next block: {"start", "stop"}, cells counted from 1, and what there is of it."""
    return work.next()


@answers
def close(work):
    """Give up what is left of some work."""
    work.close()
    return {}
