"""What a pickle may build out of pandas: tables, columns and indices, as plain arrays.

The pieces are put together here and not by pandas, whose classes change between versions.
"""

from dataclasses import dataclass, field

import numpy as np

from latome.io.unpickle import Global, Malformed, Pending

__all__ = ["BUILDERS", "Table"]


@dataclass
class Table:
    """A data frame as plain columns.

    columns : {name: array (rows,)}.
    index : array (rows,), or a range.
    index_name : name of the index, or None.
    """

    columns: dict = field(default_factory=dict)
    index: object = range(0)
    index_name: object = None


@dataclass
class _Index:
    values: object                                      # array (n,) or range
    name: object = None


@dataclass
class _Blocks:
    """The inside of a pandas object: its axes (columns then rows; a Series has rows alone) and blocks of values."""

    axes: list
    blocks: list                                        # [(values, places)], values (columns, rows) or (rows,)


@dataclass
class _Dtype:
    categories: object = None


def _as_array(values):
    if isinstance(values, _Index):
        values = values.values
    if isinstance(values, range):
        return np.asarray(values)
    if not isinstance(values, np.ndarray):
        raise Malformed(f"a column is a {type(values).__name__}")
    return values


# indices ---------------------------------------------------------------------------------------------------
_INDICES = ("pandas.core.indexes.base Index", "pandas.core.indexes.range RangeIndex",
            *(f"pandas.core.indexes.numeric {kind}Index" for kind in ("Int64", "UInt64", "Float64", "Numeric")))


def _new_index(kind, state):
    if not isinstance(kind, Global) or kind.name not in _INDICES:
        raise Malformed(f"an index is of the class {kind}")
    if kind.name.endswith("RangeIndex"):
        limits = [state.get("start") or 0, state["stop"], state.get("step") or 1]
        if not all(isinstance(limit, int) for limit in limits):
            raise Malformed("a range index has limits that are not whole numbers")
        values = range(*limits)
        if len(values) > _LARGEST_RANGE:
            raise Malformed("a range index claims more rows than a saved model has")
        return _Index(values, state.get("name"))
    return _Index(_as_array(state["data"]), state.get("name"))


_LARGEST_RANGE = 1 << 24
_MISSING = Global("pandas._libs.missing NA")


# arrays of pandas' own -------------------------------------------------------------------------------------
class _PendingArray(Pending):
    """A Categorical or a string array; its state is (dtype, values, ...), in either order."""

    def finish(self, state):
        if isinstance(state, dict):                     # Categorical before pandas 1.3
            state = (state.get("_dtype"), state.get("_codes"))
        values = next((part for part in state if isinstance(part, np.ndarray)), None)
        dtype = next((part for part in state if isinstance(part, _Dtype)), _Dtype())
        if values is None:
            raise Malformed("an array of pandas has no values")
        if dtype.categories is None:
            return np.array([None if value == _MISSING else value for value in values.ravel()],
                            dtype=object).reshape(values.shape)
        categories = _as_array(dtype.categories)
        if values.dtype.kind != "i" or (values.size and not -1 <= values.min() <= values.max() < len(categories)):
            raise Malformed("the codes of a categorical column do not match its categories")
        return np.append(categories.astype(object), None)[values]


class _PendingDtype(Pending):
    def finish(self, state):
        return _Dtype(state.get("categories"))


def _backed_array(kind, *_):
    if not isinstance(kind, Global) or kind.name not in _ARRAYS:
        raise Malformed(f"a column is of the class {kind}")
    return _PendingArray()


_ARRAYS = ("pandas.core.arrays.categorical Categorical", "pandas.core.arrays.string_ StringArray",
           "pandas.core.arrays.string_ StringArrayNumpySemantics")


# tables ----------------------------------------------------------------------------------------------------
class _PendingBlocks(Pending):
    """The layout of pandas before 1.3, and of a Series: (axes, values, items, {"0.14.1": {...}})."""

    def finish(self, state):
        content = state[-1]["0.14.1"]
        return _Blocks(list(content["axes"]), [(block["values"], block["mgr_locs"]) for block in content["blocks"]])


def _blocks(*arguments):
    if not arguments:
        return _PendingBlocks()
    blocks, axes, *_ = arguments
    return _Blocks(list(axes), list(blocks))


def _block(values, places, *_):
    return (values, places)


class _PendingTable(Pending):
    def finish(self, state):
        inside = state.get("_mgr", state.get("_data"))
        if not isinstance(inside, _Blocks) or len(inside.axes) != 2:
            raise Malformed("a table has no columns and rows")
        names, rows = inside.axes
        columns = [None] * len(names.values)
        for values, places in inside.blocks:
            values = np.atleast_2d(_as_array(values))
            for place, column in zip(_places(places, len(columns)), values, strict=True):
                columns[place] = column
        if any(column is None or len(column) != len(rows.values) for column in columns):
            raise Malformed("the columns of a table do not match its rows")
        named = dict(zip((str(name) for name in _as_array(names)), columns, strict=True))
        return Table(named, rows.values, rows.name)


class _PendingSeries(Pending):
    def finish(self, state):
        inside = state.get("_mgr", state.get("_data"))
        if not isinstance(inside, _Blocks) or len(inside.axes) != 1 or len(inside.blocks) != 1:
            raise Malformed("a column has not one block of values")
        values, rows = _as_array(inside.blocks[0][0]), inside.axes[0]
        if len(values) != len(rows.values):
            raise Malformed("a column does not match its rows")
        return Table({str(state.get("_name", state.get("name"))): values}, rows.values, rows.name)


def _places(places, n_columns):
    if isinstance(places, slice):
        return range(*places.indices(n_columns))
    places = _as_array(places)
    if places.dtype.kind not in "iu" or (places.size and not 0 <= places.min() <= places.max() < n_columns):
        raise Malformed("a block of a table lies outside it")
    return places


BUILDERS = {
    "pandas.core.frame DataFrame": _PendingTable,
    "pandas.core.series Series": _PendingSeries,
    "pandas.core.internals.managers BlockManager": _blocks,
    "pandas.core.internals.managers SingleBlockManager": _blocks,
    "pandas._libs.internals _unpickle_block": _block,
    "pandas.core.indexes.base _new_Index": _new_index,
    **dict.fromkeys(_INDICES),
    _MISSING.name: None,
    **dict.fromkeys(_ARRAYS, lambda *_: _PendingArray()),
    "pandas._libs.arrays __pyx_unpickle_NDArrayBacked": _backed_array,
    "pandas.core.dtypes.dtypes CategoricalDtype": lambda *_: _PendingDtype(),
    "pandas.core.arrays.string_ StringDtype": lambda *_: _Dtype(),
}
