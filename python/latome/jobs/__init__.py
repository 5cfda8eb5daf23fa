"""Jobs: a folder that holds cells and a request, run by `latome train FOLDER` on another machine, or on many.

    from latome.jobs import Job, write_job
    write_job(adata, "job", "scvi", columns=Columns(batch="donor"))
    # torchrun --nproc-per-node 4 -m latome train job
    Job.open("job").results()
"""

from importlib import import_module

_WHERE = {"Job": "latome.jobs.folder", "write_job": "latome.jobs.folder", "compare": "latome.jobs.verbs",
          "locate": "latome.jobs.verbs", "train": "latome.jobs.verbs"}

__all__ = sorted(_WHERE)


def __getattr__(name):
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'latome.jobs' has no attribute {name!r}")
