"""Device, threads and random numbers are borrowed and given back."""

import numpy as np
import pytest

from latome.backend import torch
from latome.errors import SettingError
from latome.training import session
from latome.training.session import RandomStream, check_products, find_device, use_threads


def test_a_stream_goes_on_and_leaves_the_callers_alone():
    torch.manual_seed(5)
    expected = torch.rand(4)
    torch.manual_seed(5)
    stream, other = RandomStream(1), RandomStream(1)
    with stream.active():
        first = torch.rand(3)
    mine = torch.rand(2)
    with stream.active():
        second = torch.rand(3)
    assert torch.equal(torch.cat([mine, torch.rand(2)]), expected)
    with other.active():
        assert torch.equal(torch.rand(6), torch.cat([first, second]))


def test_a_stream_gives_back_after_an_error():
    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), RandomStream(1).active():
        torch.rand(3)
        raise ZeroDivisionError
    assert torch.equal(torch.get_rng_state(), before)


def test_numpy_is_not_touched():
    before = np.random.get_state()[1].copy()
    with RandomStream(1).active():
        torch.rand(3)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_threads_are_restored():
    before = torch.get_num_threads()
    with use_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    with pytest.raises(ZeroDivisionError), use_threads(before + 1):
        raise ZeroDivisionError
    assert torch.get_num_threads() == before
    with use_threads(None):
        assert torch.get_num_threads() == before


def test_a_forked_child_uses_one_thread(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr(session, "_PROCESS", -1)
    try:
        with use_threads(3):
            assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_devices():
    assert find_device("cpu") == torch.device("cpu")
    assert find_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize(("name", "problem"), [
    ("warp", "`device` cannot be 'warp'"), ("", "`device` cannot be ''"), ("cuda:99", "no device 'cuda:99'"),
    ("meta", "no device 'meta'")])
def test_devices_that_do_not_exist(name, problem):
    with pytest.raises(SettingError, match=problem) as caught:
        find_device(name)
    assert caught.value.field == "device" and "auto" in caught.value.hint


@pytest.mark.parametrize("able, refused", [({"avx512_bf16": True}, False), ({"amx_bf16": True}, False), ({}, True)])
def test_bfloat16_products_need_a_processor_for_them(monkeypatch, able, refused):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able, raising=False)
    check_products("float32", torch.device("cpu"))
    check_products("bfloat16", torch.device("cuda"))
    if not refused:
        check_products("bfloat16", torch.device("cpu"))
        return
    with pytest.raises(SettingError, match="bfloat16"):
        check_products("bfloat16", torch.device("cpu"))
