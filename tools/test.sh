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

# The kernels once more with fewer instructions, and without any: what another processor, or no compiler, would use.
run_other_kernels() {
  local kernels
  for kernels in avx2 portable off; do
    say "LATOME_KERNELS=$kernels"
    LATOME_KERNELS=$kernels "$VENV/bin/python" -m pytest -c python/pyproject.toml --rootdir . -p no:cacheprovider -q \
      tests/python/kernels --ignore tests/python/kernels/test_native.py || return 1
  done
}

# A package whose compiler fails must install all the same, and say so.
run_without_compiler() {
  local library="$BUILD/without" status
  rm -rf "$library" && mkdir -p "$library"
  printf 'CXX17 = /no/such/compiler\n' >"$BUILD/no-compiler.mk"
  R_MAKEVARS_USER="$BUILD/no-compiler.mk" R CMD INSTALL --no-docs --no-test-load --library="$library" \
    "$BUILD"/latome_*.tar.gz >"$BUILD/without.log" 2>&1 || { tail -n 20 "$BUILD/without.log" >&2; return 1; }
  status=$(unset PYTHONPATH; R_LIBS="$library:$RLIB" Rscript --vanilla -e 'cat(latome::latome_status()$kernels)')
  say "latome_status(): kernels: $status"
  [[ "$status" == "torch operations (there is no compiled library"* ]]
}

# Errors and warnings of R CMD check fail; so does a test that would be skipped for want of the engine.
run_check() {
  local check="$BUILD/latome.Rcheck" failed=0
  rm -rf "$check"
  (
    cd "$BUILD"
    unset PYTHONPATH # the engine that is tested is the one inside the package
    LATOME_TEST_REQUIRE_ENGINE=1 LATOME_FIXTURES="$ROOT/tests/python/fixtures" NOT_CRAN=true _R_CHECK_SYSTEM_CLOCK_=0 \
      _R_CHECK_FORCE_SUGGESTS_=false \
      R CMD check --no-manual latome_*.tar.gz
  ) || failed=1
  if [ "$failed" = 1 ] && [ -e "$check/tests" ]; then find "$check/tests" -name '*.Rout.fail' -exec tail -n 60 {} +; fi
  if grep -E '^Status:.*(ERROR|WARNING)' "$check/00check.log"; then failed=1; fi
  if [ -e "$check/tests/testthat.Rout" ]; then
    sed -n '/Skipped tests/,/^\[ FAIL/p' "$check/tests/testthat.Rout" | sed -n 's/^• /testthat: /p' >>"$skipped"
  fi
  return "$failed"
}

# The R tests once more, with the engine in a process of its own.
run_process_transport() {
  local tests="$BUILD/latome.Rcheck/tests/testthat" log="$BUILD/process.log" failed=0
  (
    cd "$tests"
    unset PYTHONPATH
    R_LIBS="$BUILD/latome.Rcheck:$RLIB" LATOME_TRANSPORT=process LATOME_TEST_REQUIRE_ENGINE=1 NOT_CRAN=true \
      LATOME_FIXTURES="$ROOT/tests/python/fixtures" Rscript --no-init-file -e '
      testthat::test_dir(".", package = "latome", load_package = "installed", stop_on_failure = TRUE,
        reporter = testthat::CheckReporter$new())'
  ) >"$log" 2>&1 || failed=1
  if [ "$failed" = 1 ]; then tail -n 60 "$log" >&2; else grep '^\[ FAIL' "$log" | tail -n 1; fi
  return "$failed"
}

# The same tests on Debian 13. A test that fails there fails; a root that cannot be built is said.
run_debian13() {
  local status=0
  tools/debian13.sh || status=$?
  if [ "$status" = 77 ]; then
    sed 's/^/Debian 13, all of it: /' "$BUILD/debian13.reason" >>"$skipped"
    return
  fi
  sed -n '/Skipped tests/,/^\[ FAIL/p' "$BUILD/debian13-tests.log" |
    sed -n 's/^• /testthat on Debian 13: /p' >>"$skipped"
  return "$status"
}

step "ruff" "$VENV/bin/ruff" check --no-cache --config python/pyproject.toml python tests/python tools benchmarks
step "generated R face is fresh" "$VENV/bin/python" tools/make_face.py --check
step "the kernels compile" tools/build_kernels.sh --force
step "pytest" run_pytest
step "pytest of the kernels, other instructions" run_other_kernels
step "parity on the committed cases" "$VENV/bin/python" tools/parity.py tests/python/fixtures
step "R CMD INSTALL without a compiler" run_without_compiler
step "R CMD check" run_check
step "R tests, the engine in a process of its own" run_process_transport
step "Seurat 5 (Debian 13)" run_debian13

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
