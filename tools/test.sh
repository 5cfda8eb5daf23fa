#!/usr/bin/env bash
# Everything that must hold, one step after the other; the first that fails stops the run.
# shellcheck source=tools/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
export PYTHONPATH="$ROOT/python"
mkdir -p "$BUILD"
skipped="$BUILD/skipped.txt"
: >"$skipped"

# step "title" command...: run it, say how long it took.
step() {
  local title=$1 began=$SECONDS
  shift
  say ""
  say "== $title"
  "$@" || stop "$title failed (see above)." ""
  say "== $title: ok, $((SECONDS - began)) s"
}

run_pytest() {
  local log="$BUILD/pytest.log" failed=0
  # a step is called in a condition, where the shell does not stop by itself: the status must be carried to the end
  "$VENV/bin/python" -m pytest -c python/pyproject.toml --rootdir . -p no:cacheprovider -q -rs tests/python 2>&1 |
    tee "$log" || failed=1
  sed -n 's/^SKIPPED /pytest: /p' "$log" >>"$skipped"
  return "$failed"
}

# Errors and warnings of R CMD check fail; so does a test that would be skipped for want of the engine.
run_check() {
  local check="$BUILD/latome.Rcheck" failed=0
  rm -rf "$check"
  (
    cd "$BUILD"
    unset PYTHONPATH # the engine that is tested is the one inside the package
    LATOME_TEST_REQUIRE_ENGINE=1 LATOME_FIXTURES="$ROOT/tests/python/fixtures" NOT_CRAN=true _R_CHECK_SYSTEM_CLOCK_=0 \
      R CMD check --no-manual latome_*.tar.gz
  ) || failed=1
  if [ "$failed" = 1 ] && [ -e "$check/tests" ]; then find "$check/tests" -name '*.Rout.fail' -exec tail -n 60 {} +; fi
  if grep -E '^Status:.*(ERROR|WARNING)' "$check/00check.log"; then failed=1; fi
  if [ -e "$check/tests/testthat.Rout" ]; then
    sed -n '/Skipped tests/,/^\[ FAIL/p' "$check/tests/testthat.Rout" | sed -n 's/^• /testthat: /p' >>"$skipped"
  fi
  return "$failed"
}

step "ruff" "$VENV/bin/ruff" check --no-cache --config python/pyproject.toml python tests/python tools benchmarks
step "generated R face is fresh" "$VENV/bin/python" tools/make_face.py --check
step "pytest" run_pytest
step "parity on the committed cases" "$VENV/bin/python" tools/parity.py tests/python/fixtures
step "R CMD check" run_check

say ""
data=${LATOME_DATA:-$ROOT/../shared/data}
if [ ! -d "$data" ]; then
  echo "tests on real data: no folder $data (set LATOME_DATA to one to run them)" >>"$skipped"
fi
if [ -s "$skipped" ]; then
  say "Skipped:"
  sed 's/^/  /' "$skipped" >&2
else
  say "Nothing was skipped."
fi
say "All passed."
