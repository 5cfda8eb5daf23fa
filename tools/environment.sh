# Sourced by the other scripts of this folder: where things are, and an environment that is the same everywhere.

set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "$ROOT"

VENV="$ROOT/.venv"
RLIB="$ROOT/.Rlib"
BUILD="$ROOT/.build"

# A user's own Python or R settings must not change what is tested.
unset PYTHONPATH PYTHONHOME VIRTUAL_ENV R_PROFILE R_PROFILE_USER R_ENVIRON_USER
export R_LIBS="$RLIB" RETICULATE_PYTHON="$VENV/bin/python" PYTHONDONTWRITEBYTECODE=1
export RETICULATE_USE_MANAGED_VENV=no # reticulate >= 1.41 must not download a Python of its own
if [ "$(uname -s)" = Linux ]; then export LC_ALL=C.UTF-8; else export LC_ALL=en_US.UTF-8; fi

say() { printf '%s\n' "$*" >&2; }

# stop "what is wrong" "the one command that mends it"
stop() {
  say ""
  say "Stopped: $1"
  if [ -n "${2:-}" ]; then say "  Do this: $2"; fi
  exit 1
}

# A hash of the contents and names of files and folders; the ones that are absent are left out.
content_hash() {
  local path
  for path in "$@"; do
    if [ -e "$path" ]; then find -L "$path" -type f -not -name '*.pyc' -not -name '_native.*' -not -name 'latome.*o' -print0; fi
  done | LC_ALL=C sort -zu | xargs -0 cksum | cksum | tr ' ' '-'
}
