#!/usr/bin/env bash
# Run one command with the project's Python, R library and environment: tools/with_env.sh Rscript script.R
# shellcheck source=tools/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
export PYTHONPATH="$ROOT/python"
exec "$@"
