#!/usr/bin/env bash
# Make .venv-peer, the environment of scvi-tools and of what draws figures: it never shares one with latome.
# Does nothing when it is there.
set -euo pipefail
root="$(cd "$(dirname "$0")/.." && pwd)"
peer="$root/.venv-peer"
python="${PYTHON:-python3}"

if "$peer/bin/python" -c 'import scvi, umap, matplotlib' 2>/dev/null; then
  echo "scvi-tools is there: $peer"
  exit 0
fi
"$python" -m venv "$peer" || { echo "No virtual environment could be made. On Debian: apt-get install python3-venv" >&2; exit 1; }
index=()
if [ "$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null; then
  index=(--extra-index-url https://download.pytorch.org/whl/cpu)
fi
"$peer/bin/python" -m pip install --quiet "${index[@]}" "torch==2.13.0" "scvi-tools==1.4.2" umap-learn matplotlib || {
  echo "scvi-tools could not be installed (is there a network?). LATOME_PEER_PYTHON may name another Python that has it." >&2
  exit 1
}
echo "scvi-tools is installed: $peer"
