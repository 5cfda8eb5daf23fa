"""Tables of marker genes: what they become, and what is refused."""

import numpy as np
import pandas as pd
import pytest

from latome.data.markers import Markers
from latome.errors import FieldError

TABLE = pd.DataFrame({"B": [1, 0, 1], "T": [0, 1, 1]}, index=["CD19", "CD3E", "CD52"])


def changed(**cells):
    table = TABLE.astype(object)
    for place, value in cells.items():
        table.loc[place, "B"] = value
    return table


@pytest.mark.parametrize("table", [TABLE, TABLE.astype(bool), TABLE.astype(float), changed()])
def test_a_table_and_its_lists(table):
    found = Markers.from_table(table)
    assert found.genes == ("CD19", "CD3E", "CD52") and found.types == ("B", "T")
    assert found.lists() == {"B": ["CD19", "CD52"], "T": ["CD3E", "CD52"]}
    again = Markers.from_lists(found.lists(), found.genes)
    assert again.types == found.types and np.array_equal(again.matrix, found.matrix)


def test_genes_that_are_not_in_the_data():
    left, missing = Markers.from_table(TABLE).among(["CD52", "CD19", "other"])
    assert left.genes == ("CD19", "CD52") and missing == ["CD3E"]
    with pytest.raises(FieldError, match="None of the 2 markers of 'B'"):
        Markers.from_table(TABLE).among(["CD3E", "other"])


@pytest.mark.parametrize(("table", "message"), [
    ({"B": ["CD19"]}, "dict"),
    (TABLE[["B"]], "1 cell type"),
    (pd.concat([TABLE, TABLE.iloc[:1]]), "'CD19' occurs more than once"),
    (TABLE.set_axis(["B", "B"], axis=1), "'B' occurs more than once"),
    (changed(CD19=2), "holds 2 for gene 'CD19'"),
    (changed(CD19=-1), "holds -1"),
    (changed(CD19=np.nan), "holds nan"),
    (changed(CD19="yes"), "no numbers"),
    (TABLE * 0, "marks no gene"),
    (TABLE.assign(NK=0, Mono=0), "2 cell types have no markers"),
])
def test_what_is_refused(table, message):
    with pytest.raises(FieldError, match=message) as caught:
        Markers.from_table(table)
    assert caught.value.field == "markers" and caught.value.hint


def test_one_type_without_markers_stands_for_all_others():
    assert Markers.from_table(TABLE.assign(other=0)).lists()["other"] == []
