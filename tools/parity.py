"""Compare latome with numbers that scvi-tools computed.

    python tools/parity.py FOLDER

FOLDER holds cases, or is one: a folder with `case.json` (which names every array and how close it must come),
`expected.npz` and the checkpoints. Each checkpoint is read with latome, every array is computed again, and a table
says how far apart the two are. A folder may also hold `distributions.json`, grids of log-probabilities.

What latome does not have yet is listed as "not yet", and stored numbers that cannot serve as a reference as
"no reference". The exit status is 1 if anything fails, and 2 if there is nothing to compare.
"""

import argparse
import itertools
import sys
from pathlib import Path
from zipfile import BadZipFile

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "python"))

from parity_cases.case import check_case  # noqa: E402
from parity_cases.compare import FAIL, NO_REFERENCE, NOT_YET, PASS, Row  # noqa: E402
from parity_cases.grids import check_grids  # noqa: E402


def check(folder):
    """Rows for every case at or below `folder`, in the order of their names."""
    folder = Path(folder)
    for path in sorted(folder.rglob("distributions.json")):
        try:
            yield check_grids(path)
        except (OSError, ValueError, KeyError, TypeError, BadZipFile) as error:
            yield [Row(path.stem, path.name, None, None, FAIL, f"the grids cannot be read: {error!r}")]
    for path in sorted(folder.rglob("case.json")):
        yield check_case(path.parent)


def lines(rows):
    """The table's lines; arrays of a case that could not be compared for the same reason share one."""
    def subject(row):
        return row.verdict, row.reason if row.absolute is None else row.array

    for _, group in itertools.groupby(rows, key=subject):
        row, *others = group
        array = f"{row.array} and {len(others)} more" if others else row.array
        numbers = ["" if value is None else f"{value:.2e}" for value in (row.absolute, row.relative)]
        yield f"{row.case:<20} {array:<64} {numbers[0]:>9} {numbers[1]:>9}  {row.verdict:<12} {row.reason}".rstrip()


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Compare latome with numbers that scvi-tools computed.")
    parser.add_argument("folder", type=Path, help="a folder of cases, or one case")
    folder = parser.parse_args(arguments).folder
    print(f"{'case':<20} {'array':<64} {'max abs':>9} {'max rel':>9}  {'verdict':<12}")
    verdicts = []
    for rows in check(folder):
        print(*lines(rows), sep="\n", flush=True)
        verdicts += [row.verdict for row in rows]
    if not verdicts:
        print(f"{folder} holds no case.json and no distributions.json.", file=sys.stderr)
        return 2
    counts = {verdict: verdicts.count(verdict) for verdict in (PASS, FAIL, NOT_YET, NO_REFERENCE)}
    print(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    return 1 if counts[FAIL] else 0


if __name__ == "__main__":
    sys.exit(main())
