"""Work of the engine that tells its progress, done in slices of time: R shows how far it is, and may end it."""

import threading
import time

from latome.bridge.answers import answers

__all__ = ["Steps", "proceed"]


class Steps:
    """Work under way, in a thread of its own that waits between two steps while R is in charge: never both at once.

    Arguments
    ---------
    work : function of a progress function (steps done, steps in all), which it calls between steps; returns a dict.
    """

    def __init__(self, work):
        self.work, self.answer, self.error = work, None, None
        self.done, self.total, self.until, self.stop = 0, 0, 0.0, False
        self.go, self.back = threading.Semaphore(0), threading.Semaphore(0)
        self.thread = threading.Thread(target=self._run, daemon=True)

    def advance(self, seconds):
        """Work for about so long, to the end of a step. Returns the answer once it is there, else None."""
        self.until = time.perf_counter() + seconds
        if self.thread.ident is None:
            self.thread.start()
        else:
            self.go.release()
        self.back.acquire()                            # a keyboard interrupt strikes here: threads receive none
        if self.error is not None:
            raise self.error
        return self.answer

    def close(self):
        """End the work at its next step, if it has not ended, and wait for that: its random numbers are given back."""
        self.stop = True
        if self.thread.ident is not None:
            self.go.release()
            self.thread.join()

    def _run(self):
        try:
            self.answer = self.work(self._step)
        except BaseException as error:  # noqa: BLE001 (it is raised where the work was asked for)
            self.error = error
        finally:
            self.back.release()

    def _step(self, done, total):
        self.done, self.total = done, total
        if time.perf_counter() >= self.until and not self.stop:
            self.back.release()
            self.go.acquire()
        if self.stop:
            raise KeyboardInterrupt


@answers
def proceed(work, seconds):
    """Go on for about so long: {"done", "total"} steps, or the answer itself with finished = True."""
    answer = work.advance(seconds)
    if answer is None:
        return {"finished": False, "done": work.done, "total": work.total}
    return {"finished": True, **answer}
