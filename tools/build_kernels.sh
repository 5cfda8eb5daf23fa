#!/usr/bin/env bash
# Compile the kernels into the checkout, for development and tests: python/latome/kernels/_native.so, which git ignores.
#   tools/build_kernels.sh            compiles if a source is newer than the library
#   tools/build_kernels.sh --force    compiles anyway
# CXX names the compiler (g++), CXXFLAGS adds to its options. Without a compiler it says so and does nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../python/latome/kernels"

library=_native.so
if [ "${1:-}" != --force ] && [ -e "$library" ] && [ -z "$(find csrc -newer "$library" -print -quit)" ]; then exit 0; fi
compiler=${CXX:-g++}
if ! command -v "$compiler" >/dev/null; then
  rm -f "$library"
  echo "No C++ compiler ($compiler): the tests use torch's operations alone." >&2
  exit 0
fi
# written under another name first: a process that holds the old library keeps it whole
# shellcheck disable=SC2086
"$compiler" -std=c++17 -O2 -fPIC -shared -pthread -fvisibility=hidden -Wall -Wextra ${CXXFLAGS:-} \
  csrc/kernels.cpp -o "$library.new"
mv -f "$library.new" "$library"
