"""Saved models of scvi-tools are read as data: what torch and pandas write comes back, and nothing else runs."""

import io
import pickle
import posix
import struct
import zipfile

import numpy as np
import pandas as pd
import pytest

from latome.backend import torch
from latome.errors import ArchiveError
from latome.io import pickled_arrays, torch_archive, unpickle
from latome.io.pickled_tables import Table


def archive(path, pickled, members=None, compression=zipfile.ZIP_STORED):
    """A file laid out as torch lays it out, with any bytes as its pickle."""
    with zipfile.ZipFile(path, "w", compression) as target:
        target.writestr("model/data.pkl", pickled)
        for name, content in (members or {}).items():
            target.writestr(name, content)
    return path


def saved(path, value, **options):
    torch.save(value, path, **options)
    return torch_archive.read(path)


class Reduced:
    """An object whose pickle asks for `function(*arguments)`."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


# what must read --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("value", [
    torch.arange(6.0).reshape(2, 3),
    torch.arange(12).reshape(3, 4).t(),                              # strides
    torch.arange(12)[5:9],                                           # an offset into a larger storage
    torch.tensor(3.5, dtype=torch.float64),
    torch.zeros(0, 4),
    *(torch.ones(3, dtype=dtype) for dtype in (torch.float16, torch.bfloat16, torch.int32, torch.int16, torch.int8,
                                               torch.uint8, torch.bool, torch.complex64)),
])
def test_tensors_come_back(tmp_path, value):
    back = saved(tmp_path / "model.pt", value)
    assert back.dtype == value.dtype and back.shape == value.shape and torch.equal(back, value)


def test_a_parameter_and_shared_storages_come_back(tmp_path):
    weight = torch.nn.Parameter(torch.randn(3, 2))
    back = saved(tmp_path / "model.pt", {"a": weight, "b": weight.data[1:]})
    assert torch.equal(back["a"], weight.data) and torch.equal(back["b"], weight.data[1:])
    back["a"].zero_()
    assert torch.equal(back["b"], weight.data[1:])                   # each its own copy


@pytest.mark.parametrize("value", [
    np.arange(6, dtype=np.float32).reshape(2, 3), np.asfortranarray(np.arange(6).reshape(2, 3)),
    np.array(["a", None, "c"], dtype=object), np.array([], dtype=object), np.array(["ab", "c"]),
    np.array([True, False]), np.zeros((0, 3)), np.array(2.5), np.arange(3, dtype=">i4"), np.array([b"x", b"yz"]),
])
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_arrays_come_back(tmp_path, value, protocol):
    back = saved(tmp_path / "model.pt", value, pickle_protocol=protocol)
    assert back.shape == value.shape and back.dtype == value.dtype.newbyteorder("=")
    np.testing.assert_array_equal(back, value)


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_containers_and_scalars_come_back(tmp_path, protocol):
    from collections import OrderedDict, defaultdict
    value = {
        "od": OrderedDict(a=1, b=[2, (3,), {4}]), "dd": defaultdict(dict, x={"y": None}), "slice": slice(1, None, 2),
        "big": 1 << 80, "neg": -5, "text": "naïve \u2028", "bytes": b"\x00\xff", "float": -0.5, "flag": True,
        "empty": [(), [], {}, set()], "frozen": frozenset(["q"]), 3: "int key", "scalar": np.float64(2.5),
        "int64": np.int64(7), "long": "x" * 70_000, "size": torch.Size([2, 3]), "complex": 1 + 2j,
    }
    back = saved(tmp_path / "model.pt", value, pickle_protocol=protocol)
    assert back == {**value, "od": dict(value["od"]), "dd": {"x": {"y": None}}}
    assert type(back["od"]) is dict and type(back["dd"]) is dict and type(back["scalar"]) is float


def test_tables_come_back(tmp_path):
    frame = pd.DataFrame({"loss": np.array([2.0, 1.0], dtype=object), "n": [1, 2], "w": [0.5, 0.25]},
                         index=pd.Index([0, 1], name="epoch"))
    coded = pd.Categorical(["b", "a", None, "b"], categories=["a", "b"])
    back = saved(tmp_path / "model.pt", {
        "frame": frame, "plain": pd.DataFrame({"x": [1.5]}), "series": pd.Series([1, 2], name="s"), "coded": coded,
        "coded_column": pd.DataFrame({"c": coded}), "string": pd.array(["p", None], dtype="string"),
    })
    assert isinstance(back["frame"], Table) and back["frame"].index_name == "epoch"
    assert list(back["frame"].columns) == ["loss", "n", "w"]
    for name in frame:
        np.testing.assert_array_equal(back["frame"].columns[name], frame[name].to_numpy())
    assert list(back["plain"].index) == [0]
    assert list(back["series"].columns["s"]) == [1, 2]
    assert list(back["coded"]) == ["b", "a", None, "b"] == list(back["coded_column"].columns["c"])
    assert list(back["string"]) == ["p", None]


# what must be refused --------------------------------------------------------------------------------------
HOSTILE = {
    "posix.system": None,                                            # made in the test: it would leave a file
    "builtins.eval": b"\x80\x02cbuiltins\neval\nX\x05\x00\x00\x001 + 1\x85R.",
    "builtins.getattr": b"\x80\x02cbuiltins\ngetattr\ncollections\nOrderedDict\nX\x05\x00\x00\x00clear\x86R.",
    "builtins.exec through STACK_GLOBAL": b"\x80\x04\x8c\x08builtins\x8c\x04exec\x93\x8c\x01x\x85R.",
    "pickle.loads (a nested pickle)": b"\x80\x02cpickle\nloads\nU\x02N.\x85R.",
    "torch.load": b"\x80\x02ctorch\nload\nX\x01\x00\x00\x00x\x85R.",
    "torch.serialization.load": b"\x80\x02ctorch.serialization\nload\nX\x01\x00\x00\x00x\x85R.",
    "numpy.load": b"\x80\x02cnumpy\nload\nX\x01\x00\x00\x00x\x85R.",
    "numpy.fromfile": b"\x80\x02cnumpy\nfromfile\nX\x0b\x00\x00\x00/etc/passwd\x85R.",
    "operator.attrgetter": b"\x80\x02coperator\nattrgetter\nX\x01\x00\x00\x00a\x85R.",
    "copyreg._reconstructor": b"\x80\x02ccopyreg\n_reconstructor\nN\x85R.",
    "pandas.io.pickle.read_pickle": b"\x80\x02cpandas.io.pickle\nread_pickle\nX\x01\x00\x00\x00x\x85R.",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_global_off_the_list_is_refused_by_name(tmp_path, name):
    canary = tmp_path / "canary"
    pickled = HOSTILE[name] or pickle.dumps(Reduced(posix.system, f"touch {canary}"), 2)
    with pytest.raises(ArchiveError, match=name.split(" ")[0].replace(".", r"\.")):
        torch_archive.read(archive(tmp_path / "model.pt", pickled))
    assert not canary.exists()


_ARRAY = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
_F8 = (b"cnumpy\ndtype\nX\x02\x00\x00\x00f8\x89\x88\x87R(K\x03X\x01\x00\x00\x00<NNN"
       b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb")
_O8 = _F8.replace(b"f8", b"O8").replace(b"<", b"|")
_STORE = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x02tQ"


def tensor(offset=0, size=(2,), stride=(1,)):
    def numbers(values):
        return b"(" + b"".join(b"\x8a\x08" + struct.pack("<q", v) for v in values) + b"t"
    return (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + _STORE + numbers([offset])[1:-1] + numbers(size)
            + numbers(stride) + b"\x89}tR.")


MISLEADING = {
    "a call of a name that is only an argument": b"\x80\x02cnumpy\nndarray\n)R.",
    "a call of a value": b"\x80\x02X\x01\x00\x00\x00a)R.",
    "a call of what a call returned": b"\x80\x02ccollections\nOrderedDict\n)R)R.",
    "arguments that are no tuple": b"\x80\x02ccollections\nOrderedDict\n]R.",
    "a class with attributes set": b"\x80\x02cnumpy\nndarray\n}X\x01\x00\x00\x00aK\x01sb.",
    "a list with attributes set": b"\x80\x02]}b.",
    "an array of another class": b"\x80\x02" + _ARRAY.replace(b"ndarray", b"dtype") + b".",
    "an array shorter than its shape": b"\x80\x02" + _ARRAY + b"(K\x01\x8a\x06\x00\x00\x00\x00\x00\x01\x85"
                                       + _F8 + b"\x89C\x08\x00\x00\x00\x00\x00\x00\x00\x00tb.",
    "objects written as raw bytes": b"\x80\x02" + _ARRAY + b"(K\x01K\x01\x85" + _O8 + b"\x89C\x08AAAAAAAAtb.",
    "a negative shape": b"\x80\x02" + _ARRAY + b"(K\x01J\xff\xff\xff\xff\x85" + _F8 + b"\x89C\x00tb.",
    "a dtype of nothing": b"\x80\x02" + _F8.replace(b"f8", b"V0") + b".",
    "a dtype of records": b"\x80\x02cnumpy\ndtype\nX\x05\x00\x00\x00i4,i4\x89\x88\x87R.",
    "a state of records": b"\x80\x02" + _F8.replace(b"NNN", b"N(X\x01\x00\x00\x00at}") + b".",
    "bytes of a billion zeros": b"\x80\x02cbuiltins\nbytearray\n\x8a\x04\x00\xca\x9a;\x85R.",
    "a list from a number": b"\x80\x02cbuiltins\nlist\nK\x09\x85R.",
    "bytes through another codec": b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R.",
    "a dict used as a key": b"\x80\x02}}K\x01s.",
    "a deep key": b"\x80\x02}))\x86)\x86\x86K\x01s.",
    "an odd number of keys and values": b"\x80\x02}(K\x01u.",
    "the instruction INST": b"(X\x01\x00\x00\x00aios\nsystem\n.",
    "the instruction OBJ": b"(cbuiltins\ndict\no.",
    "the instruction EXT1": b"\x80\x02\x82\x01.",
    "an index of another class": b"\x80\x02cpandas.core.indexes.base\n_new_Index\ncnumpy\nndarray\n}\x86R.",
    "an unknown place in the memo": b"\x80\x02h\x07.",
    "an empty stack": b"\x80\x020.",
    "two objects": b"\x80\x02NN.",
    "an open mark": b"\x80\x02(N.",
    "no end": b"\x80\x02N",
    "nothing": b"",
    "a tensor longer than its storage": tensor(size=(3,)),
    "a tensor that starts outside": tensor(offset=2),
    "a negative offset": tensor(offset=-1),
    "a negative stride": tensor(offset=1, stride=(-1,)),
    "a stride of nothing over a billion": tensor(size=(10**9,), stride=(0,)),
    "a size that overflows": tensor(size=(2**40, 2**40), stride=(0, 0)),
    "an empty size that overflows": tensor(size=(0, 2**47, 2**47), stride=(1, 1, 1)),
    "a range index of a thousand billion": b"\x80\x02cpandas.core.indexes.base\n_new_Index\n"
                                           b"cpandas.core.indexes.range\nRangeIndex\n}(X\x04\x00\x00\x00stop"
                                           b"\x8a\x06\x00\x00\x00\x00\xff\x00u\x86R.",
    "a stride too few": tensor(size=(2, 1)),
    "a storage outside the archive": tensor().replace(b"X\x01\x00\x00\x000", b"X\x09\x00\x00\x00../../etc"),
    "a storage of another kind": tensor().replace(b"ctorch\nFloatStorage", b"ccollections\nOrderedDict"),
    "a storage longer than its bytes": tensor().replace(b"K\x02tQ", b"K\x63tQ"),
    "a set of containers": b"\x80\x02cbuiltins\nset\n](]]e\x85R.",
}


@pytest.mark.parametrize("name", MISLEADING)
def test_a_misleading_pickle_is_refused(tmp_path, name):
    with pytest.raises(ArchiveError) as caught:
        torch_archive.read(archive(tmp_path / "model.pt", MISLEADING[name], {"model/data/0": bytes(8)}))
    assert caught.value.hint


def test_the_table_of_misleading_tensors_starts_from_one_that_reads(tmp_path):
    back = torch_archive.read(archive(tmp_path / "model.pt", tensor(), {"model/data/0": bytes(8)}))
    assert torch.equal(back, torch.zeros(2))


def test_the_table_of_misleading_arrays_starts_from_one_that_reads():
    pickled = b"\x80\x02" + _ARRAY + b"(K\x01K\x01\x85" + _F8 + b"\x89C\x08\x00\x00\x00\x00\x00\x00\xf0\x3ftb."
    np.testing.assert_array_equal(unpickle.load(pickled, pickled_arrays.BUILDERS), [1.0])


def test_a_value_that_contains_itself_is_no_trap(tmp_path):
    back = torch_archive.read(archive(tmp_path / "model.pt", b"\x80\x02]q\x00h\x00a."))
    assert back[0] is back


# files -----------------------------------------------------------------------------------------------------
def test_files_that_are_no_archive(tmp_path):
    path = tmp_path / "model.pt"
    with pytest.raises(ArchiveError, match="No such file"):
        torch_archive.read(path)
    with pytest.raises(ArchiveError, match="cannot be read"):
        torch_archive.read(tmp_path)
    for content, message in [(b"", "it is empty"), (b"weights, honestly\n", "not a file that torch wrote"),
                             (b"PK\x03\x04 and then nothing", "damaged or was cut short")]:
        path.write_bytes(content)
        with pytest.raises(ArchiveError, match=message):
            torch_archive.read(path)
    torch.save({"a": torch.ones(2)}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(ArchiveError, match="before version 1.6"):
        torch_archive.read(path)


def test_archives_that_torch_did_not_write(tmp_path):
    path = tmp_path / "model.pt"
    with pytest.raises(ArchiveError, match="compressed"):
        torch_archive.read(archive(path, pickle.dumps(bytes(10_000), 2), compression=zipfile.ZIP_DEFLATED))
    with pytest.raises(ArchiveError, match=r"data/0` is missing"):
        torch_archive.read(archive(path, tensor()))
    with zipfile.ZipFile(path, "w") as target:
        target.writestr("model/other", b"")
    with pytest.raises(ArchiveError, match=r"no `data.pkl`"):
        torch_archive.read(path)
    with pytest.warns(UserWarning, match="Duplicate"):
        archive(path, b"\x80\x02N.", {"model/data.pkl": b"\x80\x02K\x01."})
    with pytest.raises(ArchiveError, match="twice"):
        torch_archive.read(path)
    with pytest.raises(ArchiveError, match="big-endian"):
        torch_archive.read(archive(path, b"\x80\x02N.", {"model/byteorder": b"big"}))


def test_members_that_overlap_are_refused(tmp_path):
    """Two entries of the directory for one stretch of bytes: the trick of archives that grow without compression."""
    path = archive(tmp_path / "model.pt", b"\x80\x02N.", {"model/data/0": bytes(4000), "model/data/1": bytes(4000)})
    raw = path.read_bytes()
    second = raw.index(b"PK\x03\x04", raw.index(b"model/data/0"))
    directory = raw.index(b"PK\x01\x02")
    short = raw[:second] + raw[directory:]                           # the directory still lists both
    end = short.rindex(b"PK\x05\x06")
    short = short[:end + 16] + struct.pack("<I", second) + short[end + 20:]
    path.write_bytes(short)
    with pytest.raises(ArchiveError, match="more bytes than the file has|damaged"):
        torch_archive.read(path)


def test_any_damage_gives_an_archive_error_or_a_value(tmp_path):
    """Truncated anywhere, or with bytes changed at random: never another exception, never a crash."""
    buffer = io.BytesIO()
    torch.save({"w": torch.arange(20.0), "names": np.array(["a", "b"], dtype=object),
                "history": pd.DataFrame({"x": [1.0, 2.0]}, index=pd.Index([0, 1], name="epoch"))}, buffer)
    whole = buffer.getvalue()
    path, random = tmp_path / "model.pt", np.random.default_rng(0)
    refused = 0
    for trial in range(300):
        raw = bytearray(whole)
        if trial < 60:
            raw = raw[:int(random.integers(0, len(raw)))]
        else:
            for _ in range(3):
                raw[int(random.integers(0, len(raw)))] = int(random.integers(0, 256))
        path.write_bytes(bytes(raw))
        try:
            torch_archive.read(path)
        except ArchiveError:
            refused += 1
    assert refused >= 100


@pytest.mark.filterwarnings("ignore::DeprecationWarning")            # of pickletools, on damaged text
def test_a_damaged_pickle_gives_an_archive_error_or_a_value():
    """The same without the archive's checksums in between."""
    pickled = pickle.dumps({"names": np.array(["a", "b"], dtype=object), "x": np.arange(4.0), "n": [1, 2, (3, 4)],
                            "history": pd.DataFrame({"x": [1.0, 2.0]})}, 2)
    builders, random = torch_archive._BUILDERS, np.random.default_rng(1)
    refused = 0
    for _ in range(1500):
        raw = bytearray(pickled)
        for _ in range(int(random.integers(1, 4))):
            raw[int(random.integers(0, len(raw)))] = int(random.integers(0, 256))
        try:
            unpickle.load(bytes(raw), builders)
        except ArchiveError:
            refused += 1
    assert refused >= 500
