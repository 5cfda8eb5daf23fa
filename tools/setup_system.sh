#!/usr/bin/env bash
# R and the R packages of tools/r-packages.txt, a Python that can make environments, and a C++ compiler.
# On Debian and its relatives the missing ones are installed with apt; elsewhere the script says what is missing.
# shellcheck source=tools/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
# shellcheck source=tools/find_python.sh
source tools/find_python.sh

r_table() { grep -v '^#' tools/r-packages.txt; }

# The R packages of the table that R does not find, one a line; all of them where there is no R.
missing_r_packages() {
  if ! command -v Rscript >/dev/null; then
    r_table | awk '{print $1}'
    return
  fi
  r_table | awk '{print $1}' | Rscript --vanilla -e '
    wanted <- readLines(file("stdin"))
    writeLines(wanted[!nzchar(vapply(wanted, function(p) system.file(package = p), ""))])'
}

debian_packages() {
  local missing=" $* " name deb _
  if ! command -v Rscript >/dev/null; then printf 'r-base-core '; fi
  while read -r name deb _; do
    if [[ "$missing" == *" $name "* ]]; then printf '%s ' "$deb"; fi
  done < <(r_table)
}

apt_install() {
  local command="apt-get update && apt-get install --yes --no-install-recommends $*" sudo=""
  if [ "$(id -u)" -ne 0 ]; then
    if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
      sudo="sudo"
    else
      stop "these Debian packages are missing, and installing them needs root: $*" "sudo sh -c '$command'"
    fi
  fi
  say "Installing with apt, a few minutes at most: $*"
  mkdir -p "$BUILD"
  local log="$BUILD/apt.log"
  $sudo apt-get update -qq >"$log" 2>&1 || say "apt-get update reported errors; trying the installation all the same."
  # shellcheck disable=SC2048,SC2086
  if ! $sudo env DEBIAN_FRONTEND=noninteractive \
    apt-get install -qq --yes --no-install-recommends $* >>"$log" 2>&1; then
    tail -n 15 "$log" >&2
    stop "apt could not install them (all it said is in .build/apt.log). Is there a network?" "${sudo:+sudo }sh -c '$command'"
  fi
}

no_python() { [ ! -x "$VENV/bin/python" ] && [ -z "$(find_python)" ]; }

mapfile -t missing < <(missing_r_packages)
packages=""
if [ "${#missing[@]}" -gt 0 ]; then packages=$(debian_packages "${missing[@]}"); fi
if no_python; then packages="$packages python3 python3-venv"; fi
# The kernels also work without being compiled, but a test run without them would test half of it.
if ! command -v g++ >/dev/null && command -v apt-get >/dev/null; then packages="$packages g++"; fi
if [ -z "${packages// /}" ]; then exit 0; fi

if ! command -v apt-get >/dev/null; then
  command -v Rscript >/dev/null || stop "there is no R on this machine." "install R >= 4.2 from https://cloud.r-project.org"
  if [ "${#missing[@]}" -gt 0 ]; then
    list=$(printf '"%s", ' "${missing[@]}")
    stop "these R packages are missing: ${missing[*]}" \
      "Rscript -e 'install.packages(\"BiocManager\"); BiocManager::install(c(${list%, }))'"
  fi
  stop "there is no suitable Python: $(python_wanted)." "install one from https://www.python.org, or set PYTHON=<path to one>"
fi
# shellcheck disable=SC2086
apt_install $packages
if no_python; then apt_install "libpython$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')"; fi

mapfile -t missing < <(missing_r_packages)
if [ "${#missing[@]}" -gt 0 ]; then stop "R still does not find: ${missing[*]}" "Rscript -e '.libPaths()' shows where it looks"; fi
