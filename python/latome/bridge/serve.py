"""The engine in a process of its own: a request is a line on standard input, its answer a line on standard output.

    {"id", "verb", "args", "kwargs", "keep", "folder", "release", "file"}   ->   {"id", "reply", "file"}

`verb` is a function of the bridge, `keep` names an entry of its answer that stays here, to which R gets a handle;
`release` are handles that R holds no longer; `folder` is where R is, for relative paths; `file` says whether there is
a file of bytes beside the line (see `wire`). The first line goes out unasked when the engine is ready. Nothing else is
written to standard output: what is printed goes to standard error.
"""

import itertools
import json
import os
import signal
import sys
from pathlib import Path

from latome import bridge
from latome.bridge import wire
from latome.bridge.answers import answers
from latome.errors import QueryError

__all__ = ["Server", "serve"]


class Handles(dict):
    """What R holds handles to."""

    def __missing__(self, handle):
        raise QueryError("handle", problem=f"The engine holds no object {handle} (any more).",
                         hint="Make it again: open the store or the data anew.")


class Server:
    """Answers requests.

    Arguments
    ---------
    folder : where files of requests and of answers lie: `request-<id>` and `answer-<id>`.
    """

    def __init__(self, folder):
        self.folder, self.kept, self.working = Path(folder), Handles(), False
        self.numbers = itertools.count(1)

    def answer(self, line):
        """The line that answers a line."""
        number = 0
        try:
            found = json.loads(line)
            number = found["id"]
            reply = self.perform(found, self.folder / f"request-{number}" if found.get("file") else None)
        except (ValueError, KeyError, TypeError) as error:
            reply = malformed(error)
        self.working = False
        return self.packed(number, reply)

    @answers
    def perform(self, found, path):
        """Do what a request asks for; a keyboard interrupt strikes here only."""
        try:
            self.working = True
            asked = wire.read(found, path, self.kept)
            for handle in asked.get("release") or []:
                self.kept.pop(handle, None)
            go_to(asked.get("folder"))
            reply = verb_of(asked["verb"])(*(asked.get("args") or []), **(asked.get("kwargs") or {}))
            return self.without_kept(reply, asked.get("keep"))
        finally:
            self.working = False
            if path is not None:
                path.unlink(missing_ok=True)

    def without_kept(self, reply, name):
        """A reply with a handle in place of the entry that stays here."""
        kept = None if name is None else reply.pop(name, None)
        if kept is None:
            return reply
        handle = next(self.numbers)
        self.kept[handle] = kept
        return reply | {name: wire.Handle(handle)}

    def packed(self, number, reply):
        path = self.folder / f"answer-{number}"
        try:
            text, file = wire.write(reply, path)
        except (TypeError, OSError, MemoryError) as error:
            text, file = wire.write(malformed(error), path)
        return f'{{"id": {json.dumps(number)}, "file": {json.dumps(file)}, "reply": {text}}}'

    def interrupted(self, *_):
        """What a SIGINT does: between two requests nothing, since the one it was meant for has ended."""
        if self.working:
            raise KeyboardInterrupt


def malformed(error):
    """The answer to what cannot be read, or written."""
    return {"ok": False, "kind": type(error).__name__, "field": None,
            "problem": f"A value did not cross between R and the engine: {type(error).__name__}: {error}",
            "hint": "This is a defect of latome; please report it."}


def verb_of(name):
    """A function of the bridge, by name."""
    if name not in bridge.__all__:
        raise QueryError("verb", problem=f"The engine has no request '{name}'.")
    return getattr(bridge, name)


def go_to(folder):
    """Work where R works; it may be gone."""
    if folder is not None and Path(folder).is_dir():
        os.chdir(folder)


def serve(folder):
    """Answer lines until standard input ends."""
    source, sink = os.fdopen(os.dup(0), encoding="utf-8"), os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)                                      # what libraries print is no answer
    sys.stdout = sys.stderr
    server = Server(folder)
    signal.signal(signal.SIGINT, server.interrupted)
    print(json.dumps({"id": 0, "ready": True}), file=sink, flush=True)
    for line in source:
        print(server.answer(line), file=sink, flush=True)


if __name__ == "__main__":
    serve(sys.argv[1])
