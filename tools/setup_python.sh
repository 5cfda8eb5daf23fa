#!/usr/bin/env bash
# The project's Python environment, .venv: the packages of tools/requirements.txt.
# shellcheck source=tools/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
# shellcheck source=tools/find_python.sh
source tools/find_python.sh

numpy="numpy>=1.26"
if needs_old_numpy; then numpy="numpy>=1.26,<2"; fi # reticulate < 1.38 cannot exchange arrays with numpy 2

stamp="$VENV/latome-stamp"
wanted="$numpy $(content_hash tools/requirements.txt tools/setup_python.sh)"
if [ -e "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && "$VENV/bin/python" -c '' 2>/dev/null; then exit 0; fi

torch=$(grep '^torch==' tools/requirements.txt)
again="make setup, when the network is back (or set PIP_INDEX_URL to an index that this machine reaches)"
pip() { "$VENV/bin/python" -m pip --disable-pip-version-check "$@"; }

# On Linux PyPI serves torch with gigabytes of CUDA libraries. Asking for "+cpu" takes the CPU build, from the
# indexes that pip knows already or from PyTorch's own; the CUDA build is the last resort, and is announced.
install_torch() {
  if [ "$(uname -s)" = Linux ]; then
    if pip install --quiet "$torch+cpu" "$numpy" 2>/dev/null; then return; fi
    if pip install --quiet --retries 1 --timeout 20 --extra-index-url https://download.pytorch.org/whl/cpu \
      "$torch+cpu" "$numpy" 2>/dev/null; then return; fi
    if report=$(pip install --quiet --dry-run --report - "$torch" 2>/dev/null) && grep -q '"name": "nvidia-' <<<"$report"; then
      if [ "${LATOME_NO_CUDA:-0}" = 1 ]; then
        stop "only the CUDA build of $torch is in reach, and LATOME_NO_CUDA=1 refuses it." \
          "PIP_EXTRA_INDEX_URL=<an index with $torch+cpu> make setup"
      fi
      say "https://download.pytorch.org/whl/cpu is out of reach: this takes the CUDA build of torch, several GB."
      say "(Ctrl-C stops it; LATOME_NO_CUDA=1 refuses it.)"
    fi
  fi
  pip install --quiet "$torch" "$numpy" ||
    stop "pip found no $torch for $("$VENV/bin/python" -V) and $numpy, or no network (see the lines above)." "$again"
}

base=$(find_python)
[ -n "$base" ] || stop "no suitable Python: $(python_wanted)." "PYTHON=<path to one> make setup"
say "Making .venv with $("$base" --version) ($torch, a download of about 200 MB)"
rm -rf "$VENV"
"$base" -m venv "$VENV" || stop "$base could not make an environment." "sudo apt-get install --yes python3-venv"
install_torch
pip install --quiet -r tools/requirements.txt "$numpy" 2> >(grep -v '^WARNING: Location' >&2) ||
  stop "pip could not install the packages of tools/requirements.txt (see the lines above)." "$again"
"$VENV/bin/python" -c 'import torch, anndata, safetensors' ||
  stop "the packages in .venv do not load (see the lines above)." "rm -rf .venv && make setup"
echo "$wanted" >"$stamp"
