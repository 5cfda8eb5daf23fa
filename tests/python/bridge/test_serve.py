"""The engine in a process of its own: what goes wrong is an answer, and values survive both ways."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from latome import bridge
from latome.bridge import wire
from latome.bridge.answers import answers
from latome.bridge.serve import Server

PYTHON = Path(bridge.__file__).parents[2]


def ask(server, verb, *args, number=1, **asked):
    """The answer to a request, its handles as they stand in it."""
    line = json.dumps({"id": number, "verb": verb, "args": list(args), **asked})
    answer = json.loads(server.answer(line))
    assert answer["id"] == number
    path = server.folder / f"answer-{number}" if answer["file"] else None
    return wire.read(answer["reply"], path, KeptAsNumbers())


class KeptAsNumbers(dict):
    def __missing__(self, handle):
        return ("handle", handle)


def with_verb(monkeypatch, function):
    """A request of our own."""
    monkeypatch.setattr(bridge, "latent", answers(function))
    return "latent"


def returned(tmp_path, value):
    """A value that went through JSON and a file."""
    text, file = wire.write(value, tmp_path / "bytes")
    return wire.read(json.loads(text), tmp_path / "bytes" if file else None, {})


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64",
                                   "float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(0,), (7,), (3, 4), (2, 3, 4), (0, 5), (1, 1)])
def test_arrays_of_every_type_and_shape_survive(tmp_path, dtype, shape):
    values = np.random.default_rng(1).integers(0, 100, shape).astype(dtype)
    for given in (values, np.asfortranarray(values), values[::-1]):
        found = returned(tmp_path, {"a": given, "after": "x"})
        np.testing.assert_array_equal(found["a"], given)
        assert found["a"].shape == shape
        assert (found["a"].dtype == bool) == (dtype == "bool")
        assert found["after"] == "x"


@pytest.mark.parametrize("value", [
    None, True, 0, -5, 2.0, 0.1, 1e-300, float("inf"), "", "\u03b1 \U0001f9ec \"quoted\"\n", "x" * 10000,
    [], {}, ["one"], ["a", "", "\u00e9"], [1, 2],
    [0.5, float("-inf")], [True, False], [1, 2.5], [None, "a"], [[1, 2], [3]],
    {"$float": 1, "$$x": [{}], "plain": None}, {"$array": 1}, bytearray(b"\0\1\xff"),
])  # fmt: skip
def test_plain_values_survive_with_their_types(tmp_path, value):
    found = returned(tmp_path, {"value": value})["value"]
    assert found == value
    assert type(found) is type(value)


def test_what_r_has_no_integers_for_arrives_as_a_float(tmp_path):
    assert returned(tmp_path, [2**31, 1]) == [2.0**31, 1.0]
    assert isinstance(returned(tmp_path, 2**40), float)
    assert returned(tmp_path, [2**70]) == [2.0**70]
    assert np.isnan(returned(tmp_path, float("nan")))
    np.testing.assert_array_equal(returned(tmp_path, np.array([2**40, 3])), [2.0**40, 3])
    assert returned(tmp_path, (1, "a")) == [1, "a"]
    assert returned(tmp_path, np.float32(0.5)) == 0.5
    assert returned(tmp_path, np.array(["a", "b"], dtype=object)) == ["a", "b"]


@pytest.mark.parametrize("line", ["", "{", "[]", "null", '{"id": 3}', '{"id": 3, "verb": 5}',
                                  '{"id": 3, "verb": "status", "file": true}',
                                  '{"id": 3, "verb": "latent", "args": [{"$array": {"dtype": "x", "shape": [1]}}]}'])
def test_a_malformed_line_is_answered_in_words(tmp_path, line):
    reply = json.loads(Server(tmp_path).answer(line))["reply"]
    assert reply["ok"] is False
    assert reply["problem"]


def test_unknown_verbs_and_errors_are_values(tmp_path):
    server = Server(tmp_path)
    assert "no request 'exec'" in ask(server, "exec")["problem"]
    assert "no request 'answers'" in ask(server, "answers")["problem"]
    reply = ask(server, "read_model", str(tmp_path / "nowhere"))
    assert (reply["ok"], reply["kind"]) == (False, "ArchiveError")
    assert ask(server, "status")["ok"] is True


def test_what_cannot_cross_is_an_error(tmp_path, monkeypatch):
    reply = ask(Server(tmp_path), with_verb(monkeypatch, lambda: {"value": object()}))
    assert "object cannot cross" in reply["problem"]


def test_objects_stay_until_their_handle_is_released(tmp_path, monkeypatch):
    server = Server(tmp_path)
    make = with_verb(monkeypatch, lambda: {"data": {1, 2, 3}, "n": 3})
    reply = ask(server, make, keep="data")
    assert reply["n"] == 3
    handle = reply["data"][1]
    monkeypatch.setattr(bridge, "elbo", answers(lambda data: {"size": len(data)}))
    assert ask(server, "elbo", {"$handle": handle})["size"] == 3
    reply = ask(server, "elbo", {"$handle": 99})
    assert (reply["kind"], "no object 99" in reply["problem"]) == ("QueryError", True)
    assert ask(server, "status", release=[handle])["ok"] is True
    assert not server.kept
    assert ask(server, "elbo", {"$handle": handle})["ok"] is False


def test_a_file_of_a_request_is_read_in_order_and_removed(tmp_path, monkeypatch):
    sent = {}
    verb = with_verb(monkeypatch, lambda x, names, raw: sent.update(x=x, names=names, raw=raw) or {})
    x = np.array([[1.5, 2], [3, 4]])
    (tmp_path / "request-4").write_bytes(x.tobytes(order="F") + b"a\0\xce\xb2\0" + b"\1\2")
    ask(Server(tmp_path), verb, {"$array": {"dtype": "float64", "shape": [2, 2]}}, {"$strings": [2, 5]}, {"$bytes": 2},
        number=4, file=True)
    np.testing.assert_array_equal(sent["x"], x)
    assert sent["names"] == ["a", "\u03b2"]
    assert sent["raw"] == bytearray(b"\1\2")
    assert not (tmp_path / "request-4").exists()
    reply = ask(Server(tmp_path), verb, {"$bytes": 2}, number=5, file=False)
    assert "2 bytes too short" in reply["problem"]


def test_relative_paths_are_those_of_r(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    where = with_verb(monkeypatch, lambda: {"folder": os.getcwd()})
    assert ask(Server(tmp_path), where, folder=str(tmp_path / "there"))["folder"] == str(tmp_path / "there")
    assert ask(Server(tmp_path), where, folder=str(tmp_path / "gone"))["folder"] == str(tmp_path / "there")


def test_an_interrupt_ends_the_request_and_strikes_nothing_else(tmp_path, monkeypatch):
    server = Server(tmp_path)
    server.interrupted()                               # between two requests
    old = signal.signal(signal.SIGINT, server.interrupted)
    try:
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        reply = ask(server, with_verb(monkeypatch, lambda: time.sleep(30) or {}))
    finally:
        signal.signal(signal.SIGINT, old)
    assert (reply["ok"], reply["kind"]) == (False, "Interrupt")
    server.interrupted()


def test_the_process_answers_line_by_line_and_prints_nothing_else(tmp_path):
    start = "import sys; sys.path[0] = sys.argv[1]; from latome.bridge.serve import serve; serve(sys.argv[2])"
    lines = [{"id": 1, "verb": "status"}, {"id": 2, "verb": "gene_overlap", "args": [["a"], ["b"], 0.5]}]
    ended = subprocess.run([sys.executable, "-c", start, PYTHON, tmp_path], capture_output=True, text=True, check=True,
                           input="".join(json.dumps(line) + "\n" for line in lines) + "nonsense\n", timeout=120)
    found = [json.loads(line) for line in ended.stdout.splitlines()]
    assert found[0] == {"id": 0, "ready": True}
    assert [one["id"] for one in found[1:]] == [1, 2, 0]
    assert [one["reply"]["ok"] for one in found[1:]] == [True, False, False]
