"""What every benchmark needs: worker processes, rounds in turn, quartiles, the machine, the table."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np

__all__ = ["ENGINE", "HERE", "RESULTS", "Worker", "cores", "describe_machine", "has_peer", "in_turn", "markdown_table",
           "peer_python", "quartiles", "write_results"]

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
ENGINE = HERE.parent / "python"


def _peer():
    return Path(os.environ.get("LATOME_PEER_PYTHON") or HERE.parent / ".venv-peer" / "bin" / "python")


def has_peer():
    """Whether there is a Python with scvi-tools."""
    return _peer().exists()


def peer_python():
    """The peer's Python: LATOME_PEER_PYTHON, or the environment that setup_peer.sh makes."""
    path = _peer()
    if not path.exists():
        sys.exit(f"No Python with scvi-tools at {path}. Run benchmarks/setup_peer.sh or set LATOME_PEER_PYTHON.")
    return str(path)


class Worker:
    """A process that stays: imports and set-up happen once, outside what is timed."""

    def __init__(self, command, threads, environment=None):
        surroundings = {**os.environ, "PYTHONPATH": str(ENGINE), "OMP_NUM_THREADS": str(threads), **(environment or {})}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=surroundings)

    def ask(self, verb, **arguments):
        """The answer to one request; the script ends with the worker's message if it failed."""
        self.process.stdin.write(json.dumps({"verb": verb, **arguments}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        answer = json.loads(line) if line else {"error": f"the worker for '{verb}' ended without an answer"}
        if "error" in answer:
            sys.exit(answer["error"])
        return answer

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def in_turn(sides, rounds, measure):
    """{side: [measure(side, round), ...]}: in every round each side once, and the first changes each round.

    A measurement is a dict of numbers.
    """
    found = {name: [] for name in sides}
    for turn in range(rounds):
        order = list(sides) if turn % 2 == 0 else list(sides)[::-1]
        for name in order:
            found[name].append(measure(name, turn))
            words = ", ".join(f"{figure} {value:.4g}" for figure, value in found[name][-1].items())
            print(f"round {turn + 1}/{rounds} {name}: {words}", flush=True)
    return found


def quartiles(values):
    """[lower quartile, median, upper quartile]."""
    return [float(q) for q in np.quantile(values, [0.25, 0.5, 0.75])]


def markdown_table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows])


def cores():
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def describe_machine():
    """Processor, cores that this process may use, the instruction sets that matter here, memory, system."""
    system = f"{platform.system()} {platform.machine()}"
    info = {"system": system, "Python": platform.python_version(), "cores": cores()}
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return {**info, "processor": platform.processor()}
    lines = [line.partition(":") for line in cpuinfo.read_text().splitlines()]
    fields = {name.strip(): value.strip() for name, _, value in lines}
    flags = set(fields.get("flags", fields.get("Features", "")).split())
    wanted = ["avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve"]
    info["processor"] = fields.get("model name", platform.machine())
    info["family and model"] = f"{fields.get('cpu family', '?')}/{fields.get('model', '?')}"
    info["memory"] = f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    info["instruction sets"] = " ".join(flag for flag in wanted if flag in flags)
    return info


def write_results(name, result, table):
    """Sets: results/<name>.json and results/<name>.md, and prints the table."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    machine = ", ".join(f"{key}: {value}" for key, value in result["machine"].items())
    text = f"# {result['title']}\n\n{table}\n\n{result['note']}\n\nMachine: {machine}.\n"
    (RESULTS / f"{name}.md").write_text(text)
    print("\n" + text)
