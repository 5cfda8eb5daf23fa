"""latome against scvi-tools, in turn, row by row of the table in rows.py: one command for all figures of speed.

    python benchmarks/speed.py                       every row that has no result of so many rounds yet
    python benchmarks/speed.py --rows zinb,latent    these rows, again
    python benchmarks/speed.py --quick               every row, tiny: shows that it runs, and keeps nothing

Each row's rounds are kept in results/speed/<row>.json as soon as it is done; results/speed.md is made of what is there.
"""

import argparse
import json
import subprocess
import sys
import time
from dataclasses import asdict
from datetime import date
from pathlib import Path

from measures import MEASURES, Bench
from report import speed_table
from rounds import HERE, RESULTS, cores, describe_machine, has_peer
from rows import rows_named, smaller

SCRATCH = HERE.parent / ".build" / "speed"
ROUNDS = 7


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", help="names with commas between; by default those without a result")
    parser.add_argument("--again", action="store_true", help="all rows, those with a result too")
    parser.add_argument("--quick", action="store_true", help="two rounds of a little work")
    parser.add_argument("--rounds", type=int, help=f"by default {ROUNDS}")
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--scratch", type=Path, default=SCRATCH, help="folder of simulated files")
    parser.add_argument("--list", action="store_true", help="print the rows and end")
    return parser.parse_args()


def to_run(options, results):
    """The rows that are asked for."""
    try:
        rows = rows_named(options.rows)
    except ValueError as error:
        sys.exit(str(error))
    if options.rows or options.again or options.quick:
        return rows
    return [row for row in rows if not done(row, results, options.rounds or ROUNDS)]


def done(row, results, rounds):
    """Whether there is a result of a row, of as many rounds."""
    path = results / f"{row.name}.json"
    if not path.exists():
        return False
    sides = json.loads(path.read_text())["figures"].values()
    return all(len(side) >= min(rounds, row.most or rounds) for side in sides)


def lacking(row, machine):
    """Why a row cannot be measured here, or None."""
    if row.needs and not set(row.needs) & set(machine.get("instruction sets", "").split()):
        return f"the processor has none of {', '.join(row.needs)}"
    if row.measure in ("from_r", "conversion") and not has_r():
        return "it needs R with latome, SingleCellExperiment, SeuratObject and jsonlite"
    return None


def has_r():
    wanted = 'c("latome", "SingleCellExperiment", "SeuratObject", "jsonlite")'
    script = f"q(status = !all(vapply({wanted}, requireNamespace, NA, quietly = TRUE)))"
    try:
        return subprocess.run(["Rscript", "--no-init-file", "-e", script], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def run(row, bench, machine):
    """Measure one row. Sets: <results>/speed/<row>.json and <results>/speed.md."""
    print(f"\n== {row.name}: {row.what}", flush=True)
    begin = time.perf_counter()
    found = MEASURES[row.measure](row, bench)
    sets = machine.get("instruction sets", "").split()
    facts = {"row": row.name, "what": row.what, **found, "counts": asdict(row.counts), "options": row.options,
             "threads": bench.threads, "machine": machine, "instructions": sets, "date": date.today().isoformat(),
             "took": time.perf_counter() - begin}
    (bench.results / "speed").mkdir(parents=True, exist_ok=True)
    (bench.results / "speed" / f"{row.name}.json").write_text(json.dumps(facts, indent=1) + "\n")
    (bench.results / "speed.md").write_text(speed_table(bench.results / "speed"))
    print(f"-- {row.name}: {facts['took']:.0f} s", flush=True)


def main():
    options = arguments()
    results = options.scratch / "quick" if options.quick else RESULTS
    rows = to_run(options, results / "speed")
    if options.list:
        return print("\n".join(f"{row.name:14}{row.what}" for row in rows))
    if not has_peer():
        subprocess.run([HERE / "setup_peer.sh"], check=True)
    options.scratch.mkdir(parents=True, exist_ok=True)
    machine = describe_machine()
    bench = Bench(options.threads, options.rounds or (2 if options.quick else ROUNDS), options.scratch, results)
    failed = []
    for row in rows:
        reason = lacking(row, machine)
        if reason:
            print(f"\n== {row.name}: left out, {reason}", flush=True)
            continue
        try:
            run(smaller(row) if options.quick else row, bench, machine)
        except SystemExit as error:                    # of a worker: its message; the other rows are worth having
            print(f"-- {row.name}: FAILED\n{error}", flush=True)
            failed.append(row.name)
    if (results / "speed.md").exists():
        print("\n" + (results / "speed.md").read_text())
    if failed:
        sys.exit(f"Failed: {', '.join(failed)}.")


if __name__ == "__main__":
    main()
