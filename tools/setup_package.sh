#!/usr/bin/env bash
# Build the R package and install it into .Rlib. The tarball stays in .build, where `make test` checks it.
# shellcheck source=tools/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

stamp="$RLIB/latome-stamp"
wanted="$(R --version | head -n 1) $(content_hash DESCRIPTION NAMESPACE LICENSE NEWS.md README.md .Rbuildignore \
  R man inst src configure configure.win vignettes tests/testthat tests/testthat.R python/latome tools/setup_package.sh)"
if [ -e "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && ls "$BUILD"/latome_*.tar.gz >/dev/null 2>&1; then exit 0; fi

say "Building and installing the R package into .Rlib"
mkdir -p "$RLIB" "$BUILD"
log="$BUILD/install.log"
rm -rf "$BUILD"/latome "$BUILD"/latome_*.tar.gz
# R CMD build copies the whole folder before it reads .Rbuildignore: leave out the gigabytes of .venv by hand.
mkdir "$BUILD/latome"
tar -cf - --exclude=./.git --exclude=./.venv --exclude=./.Rlib --exclude=./.build --exclude=./results \
  --exclude=__pycache__ --exclude='./src/latome.*o' --exclude='_native.*' . | tar -xf - -C "$BUILD/latome"
if ! (cd "$BUILD" && R CMD build latome && R CMD INSTALL --no-test-load --library="$RLIB" latome_*.tar.gz) >"$log" 2>&1; then
  tail -n 30 "$log" >&2
  stop "the R package did not build (all of it in .build/install.log)." "mend the error above and run the same command again"
fi
rm -rf "$BUILD/latome"
# A package whose kernels do not compile installs without them: here that is an error, unless there is no compiler.
if ! ls "$RLIB"/latome/libs/latome.* >/dev/null 2>&1 && command -v "$(R CMD config CXX17 | awk '{print $1}')" >/dev/null; then
  grep -m 5 -E 'error|Error' "$log" >&2 || true
  stop "the kernels did not compile (all of it in .build/install.log)." "mend the error above and run the same command again"
fi
echo "$wanted" >"$stamp"
