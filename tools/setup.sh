#!/usr/bin/env bash
# All the set-up that `make demo` and `make test` need; each part looks first and does only what is missing.
here=$(dirname "${BASH_SOURCE[0]}")
"$here/setup_system.sh" && "$here/setup_python.sh" && "$here/setup_package.sh"
