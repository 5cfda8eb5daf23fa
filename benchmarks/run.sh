#!/usr/bin/env bash
# Run the benchmarks, one after the other, on an otherwise idle machine. --quick: three short rounds of each.
# PYTHON names the Python of latome (default: .venv); the R package is taken from R_LIBS (default: .Rlib).
set -euo pipefail
root="$(cd "$(dirname "$0")/.." && pwd)"
cd "$root"
python="${PYTHON:-$root/.venv/bin/python}"
export PYTHONPATH="$root/python" R_LIBS="${R_LIBS:-$root/.Rlib}" RETICULATE_PYTHON="${RETICULATE_PYTHON:-$python}"

rounds=7 cells=20000
case "${1:-}" in
  --quick) rounds=3 cells=4000 ;;
  "") ;;
  *) echo "usage: benchmarks/run.sh [--quick]" >&2; exit 2 ;;
esac

if [ -n "${LATOME_PEER_PYTHON:-}" ] || benchmarks/setup_peer.sh; then
  "$python" benchmarks/train_speed.py --rounds "$rounds" --cells "$cells"
else
  echo "Skipped: the comparison with scvi-tools." >&2
fi
if Rscript --no-init-file -e 'q(status = !all(vapply(c("latome", "SingleCellExperiment", "SeuratObject", "jsonlite"), requireNamespace, NA, quietly = TRUE)))' >/dev/null 2>&1; then
  "$python" benchmarks/from_r.py --rounds "$rounds" --cells "$cells"
  Rscript --no-init-file benchmarks/conversion.R
else
  echo "Skipped: training from R and conversion (R with latome, SingleCellExperiment, SeuratObject and jsonlite is needed)." >&2
fi
