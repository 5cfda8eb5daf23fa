"""`latome.settings`, the progress line and the lazy root package."""

import io
import subprocess
import sys
from pathlib import Path

import pytest

import latome
from latome.backend import torch
from latome.errors import SettingError
from latome.faces.preferences import Preferences
from latome.faces.progress import ProgressLine
from latome.training.loop import Progress


def test_defaults_and_changes():
    settings = Preferences()
    assert (settings.seed, settings.batch_size, settings.num_threads) == (0, None, torch.get_num_threads())
    settings.seed, settings.batch_size = 5.0, 10
    assert (settings.seed, settings.batch_size) == (5, 10) and "seed 5, batch_size 10" in repr(settings)
    settings.seed = settings.batch_size = None
    assert settings.seed == 0 and settings.batch_size is None
    assert isinstance(latome.settings, Preferences)


def test_threads_are_those_of_torch():
    before = torch.get_num_threads()
    try:
        Preferences().num_threads = before + 1
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("name", "value"), [
    ("seed", -1), ("seed", "one"), ("seed", 1.5), ("seed", True), ("batch_size", 0), ("batch_size", "many"),
    ("batch_size", 2.5), ("num_threads", 0), ("num_threads", 1.5)])
def test_refused(name, value):
    settings, threads = Preferences(), torch.get_num_threads()
    with pytest.raises(SettingError) as caught:
        setattr(settings, name, value)
    assert caught.value.field == name and repr(value).removeprefix("'")[:3] in caught.value.problem
    assert (settings.seed, settings.batch_size, torch.get_num_threads()) == (0, None, threads)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_progress_line_is_rewritten_in_a_terminal_only():
    now = Progress("running", 2, 8, 6, 24, 1234.56, None, 3.2)
    end = Progress("finished", 8, 8, 24, 24, 1000.0, 1100.0, 12.0)
    screen, file = Terminal(), io.StringIO()
    for stream in (screen, file):
        line = ProgressLine(stream)
        line(now)
        line(end)
    text = screen.getvalue()
    assert text.count("\r") == 2 and text.count("\n") == 1 and text.endswith("\n")
    assert "epoch 2/8" in text and "elbo 1234.6" in text and "======.................." in text
    assert "validation 1100.0" in text and file.getvalue() == ""


def test_the_root_package_is_lazy():
    code = ("import sys, latome; heavy = {'torch', 'anndata', 'pandas', 'numpy'} & set(sys.modules); "
            "assert not heavy, heavy; assert latome.__version__; assert 'model' in dir(latome)")
    root = Path(latome.__file__).resolve().parents[1]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)
    with pytest.raises(AttributeError, match="no attribute 'models'"):
        latome.models  # noqa: B018


def test_what_scripts_of_scvi_tools_set_is_kept_and_a_typo_is_an_error():
    settings = Preferences()
    settings.dl_num_workers, settings.verbosity = 4, 40
    assert (settings.dl_num_workers, settings.verbosity, Preferences().verbosity) == (4, 40, 20)
    with pytest.raises(SettingError, match="no 'sed'") as caught:
        settings.sed = 3
    assert "seed" in caught.value.hint
    with pytest.raises(AttributeError, match="sed"):
        settings.sed  # noqa: B018
    settings.progress_bar = False
    assert settings.progress_bar is False
