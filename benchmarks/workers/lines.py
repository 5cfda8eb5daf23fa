"""A worker process: one line of JSON in, one line of JSON out, until its input ends."""

import json
import os
import sys
import traceback

__all__ = ["serve"]


def serve(verbs):
    """Answer each request {"verb": name, ...arguments} with the dict that verbs[name](**arguments) returns.

    What libraries print goes to the standard error stream, so that it cannot mix with the answers.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = verbs[request.pop("verb")](**request)
        except Exception:
            answer = {"error": traceback.format_exc()}
        answers.write(json.dumps(answer) + "\n")
