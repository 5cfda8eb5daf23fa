#!/usr/bin/env bash
# The second leg of the tests: Debian 13 in a root of its own (.build/debian13), which brings R 4.5, Seurat 5,
# reticulate 1.41, Python 3.13 and numpy 2.
#
#   tools/debian13.sh                build the root where it is missing, install the package there, run its tests
#   tools/debian13.sh run COMMAND    one command in the root, with the package as it was last installed there
#
# Ends with 77 where the root cannot be built; the reason is in .build/debian13.reason. All mounts are made in a
# name space of their own, which goes with the last process in it: none is left behind, whatever happens.
# LATOME_DEBIAN13=no leaves the leg out; LATOME_DEBIAN_MIRROR names another mirror.
# shellcheck source=tools/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

DEBIAN="$BUILD/debian13"
MIRROR=${LATOME_DEBIAN_MIRROR:-http://deb.debian.org/debian}
LOG="$BUILD/debian13.log"
PACKAGES="ca-certificates g++ make python3 python3-venv libpython3.13 libopenblas0-pthread r-base-core
  r-cran-matrix r-cran-cli r-cran-reticulate r-cran-rlang r-cran-generics r-cran-jsonlite r-cran-processx
  r-cran-seurat r-cran-seuratobject r-bioc-singlecellexperiment r-bioc-spatialexperiment r-bioc-hdf5array
  r-bioc-delayedarray r-bioc-scater r-cran-ggplot2 r-cran-patchwork r-cran-ggrepel r-cran-uwot r-cran-rann r-cran-irlba
  r-cran-testthat r-cran-withr r-cran-progressr r-cran-knitr r-cran-rmarkdown"

# The leg is left out, for a reason in one line.
leave_out() {
  say "Left out: $1"
  printf '%s\n' "$1" >"$BUILD/debian13.reason"
  exit 77
}

check_possible() {
  if [ "${LATOME_DEBIAN13:-yes}" = no ]; then leave_out "LATOME_DEBIAN13=no"; fi
  if [ "$(uname -s)" != Linux ]; then leave_out "a root of Debian 13 needs Linux"; fi
  if [ "$(id -u)" -ne 0 ]; then leave_out "a root of Debian 13 is made and entered by root only"; fi
  for tool in chroot unshare; do command -v "$tool" >/dev/null || leave_out "there is no $tool"; done
  unshare --mount true 2>/dev/null || leave_out "this machine does not allow mounts (unshare --mount)"
}

find_debootstrap() {
  if ! command -v debootstrap >/dev/null && command -v apt-get >/dev/null; then
    { apt-get update -qq && apt-get install -qq --yes --no-install-recommends debootstrap debian-archive-keyring; } \
      >"$LOG" 2>&1 || true
  fi
  command -v debootstrap >/dev/null || leave_out "there is no debootstrap, and apt could not install it"
}

# --- what runs in a name space of its own -------------------------------------------------------------------------

# mount_into ROOT: what a system needs, and the folders that are lent to it, read-only.
mount_into() {
  local path
  mount --make-rprivate /
  mount -t proc proc "$1/proc"
  mkdir -p "$1/dev/shm"
  mount -t tmpfs tmpfs "$1/dev/shm"
  for path in "${LENT[@]}"; do
    mkdir -p "$1$path"
    mount --bind "$path" "$1$path"
    mount -o remount,bind,ro "$1$path"
  done
}

# in_root ROOT COMMAND...: with no variables but those of the root, and the network settings of this machine.
in_root() {
  local root=$1 kept names='https?_proxy|ftp_proxy|no_proxy|PIP_[A-Z_]+|LATOME_[A-Z_]+|NOT_CRAN|OMP_NUM_THREADS'
  shift
  mapfile -t kept < <(env | grep -iE "^($names)=")
  cp -L /etc/resolv.conf "$root/etc/resolv.conf"
  chroot "$root" env -i PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin HOME=/root LC_ALL=C.UTF-8 \
    DEBIAN_FRONTEND=noninteractive PYTHONDONTWRITEBYTECODE=1 RETICULATE_PYTHON=/opt/latome/bin/python "${kept[@]}" "$@"
}

# The settings of pip on this machine, as variables, and the local folders among them, to be lent.
read_pip_settings() {
  local option variable value word
  for option in index-url extra-index-url find-links; do
    variable="PIP_$(tr 'a-z-' 'A-Z_' <<<"$option")"
    value=${!variable:-$("$VENV/bin/python" -m pip config get "global.$option" 2>/dev/null)} || continue
    export "$variable=$(tr '\n' ' ' <<<"$value")"
    for word in $value; do
      word=${word#file://}
      word=${word%/simple} # an index may keep its files beside it
      if [[ "$word" == /* && -d "$word" ]]; then LENT+=("$word"); fi
    done
  done
  unset PIP_CERT
}

# The CPU build of torch that the first leg has; else Debian's own, which is older and small. Never gigabytes of CUDA.
install_python() {
  local torch pip=/opt/latome/bin/pip pytorch=https://download.pytorch.org/whl/cpu
  torch="$(grep '^torch==' tools/requirements.txt)+cpu"
  python3 -m venv /opt/latome
  if ! "$pip" install --quiet "$torch" &&
    ! "$pip" install --quiet --retries 1 --timeout 20 --extra-index-url "$pytorch" "$torch"; then
    apt-get install -qq --yes --no-install-recommends python3-torch
    python3 -m venv --clear --system-site-packages /opt/latome
  fi
  grep -vE '^(#|torch==|ruff|pytest)' tools/requirements.txt >/tmp/requirements.txt
  "$pip" install --quiet -r /tmp/requirements.txt 'numpy>=2'
  /opt/latome/bin/python -c 'import torch, anndata, safetensors'
}

# Into a folder beside it, which gets the name when all of it is there.
build_root() {
  local part="$DEBIAN.part" certificates=/etc/ssl/certs/ca-certificates.crt
  debootstrap --variant=minbase trixie "$part" "$MIRROR"
  printf '#!/bin/sh\nexit 101\n' >"$part/usr/sbin/policy-rc.d" # no service is started
  chmod 755 "$part/usr/sbin/policy-rc.d"
  mkdir -p "$part/tools"
  cp tools/requirements.txt "$part/tools/"
  mount_into "$part"
  # shellcheck disable=SC2086
  in_root "$part" apt-get install -qq --yes --no-install-recommends $PACKAGES
  if [ -e "$certificates" ]; then cp -L "$certificates" "$part$certificates"; fi # with those of a proxy
  in_root "$part" bash -euc "$(declare -f install_python); cd /; install_python"
  in_root "$part" apt-get clean
}

# --- the two commands ---------------------------------------------------------------------------------------------

make_root() {
  local wanted why began=$SECONDS
  check_possible
  wanted="$(content_hash tools/debian13.sh tools/requirements.txt)"
  if [ "$(cat "$DEBIAN/latome-stamp" 2>/dev/null)" = "$wanted" ]; then return; fi
  find_debootstrap
  say "Building a root of Debian 13 in .build/debian13 (about 2 GB, some minutes; once)"
  rm -rf --one-file-system "$DEBIAN.part"
  if ! unshare --mount "$ROOT/tools/debian13.sh" build >"$LOG" 2>&1; then
    why=$(grep -E '^(E:|ERROR|mount:)|[Ee]rror:' "$LOG" | tail -n 1 | cut -c 1-160 || true)
    leave_out "the root of Debian 13 could not be built: $why (all of it in .build/debian13.log)"
  fi
  rm -rf --one-file-system "$DEBIAN"
  mv "$DEBIAN.part" "$DEBIAN"
  echo "$wanted" >"$DEBIAN/latome-stamp"
  say "Built in $((SECONDS - began)) s."
}

test_in_root() {
  local tarball log="$BUILD/debian13-tests.log" failed=0
  tarball=$(ls "$BUILD"/latome_*.tar.gz)
  rm -rf --one-file-system "$DEBIAN/latome"
  mkdir -p "$DEBIAN/latome"
  cp "$tarball" "$DEBIAN/latome/"
  tar -xzf "$tarball" -C "$DEBIAN/latome"
  cp -r tests/python/fixtures "$DEBIAN/latome/fixtures"
  mount_into "$DEBIAN"
  if ! in_root "$DEBIAN" R CMD INSTALL --no-test-load "/latome/${tarball##*/}" >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    return 1
  fi
  in_root "$DEBIAN" Rscript --vanilla -e '
    for (name in c("Seurat", "SeuratObject", "SingleCellExperiment")) cat(name, format(packageVersion(name)), "| ")
    print(latome::latome_status())'
  export LATOME_TEST_REQUIRE_ENGINE=1 LATOME_FIXTURES=/latome/fixtures NOT_CRAN=true
  in_root "$DEBIAN" Rscript --vanilla -e 'testthat::test_dir("/latome/latome/tests/testthat", package = "latome",
    load_package = "installed", reporter = testthat::CheckReporter$new(), stop_on_failure = TRUE)' \
    >"$log" 2>&1 || failed=1
  if [ "$failed" = 1 ]; then tail -n 80 "$log" >&2; else grep '^\[ FAIL' "$log" | tail -n 1; fi
  return "$failed"
}

LENT=()
data=${LATOME_DATA:-$ROOT/../shared/data}
mkdir -p "$BUILD"
rm -f "$BUILD/debian13.reason"
case "${1:-test}" in
  test)
    make_root
    exec unshare --mount "$ROOT/tools/debian13.sh" inside
    ;;
  run)
    make_root
    shift
    exec unshare --mount "$ROOT/tools/debian13.sh" inside "$@"
    ;;
  build)
    read_pip_settings
    build_root
    ;;
  inside)
    shift
    if [ -d "$data" ]; then
      data=$(realpath "$data")
      export LATOME_DATA="$data"
      LENT+=("$data")
    fi
    if [ $# -eq 0 ]; then
      test_in_root
    else
      mount_into "$DEBIAN"
      in_root "$DEBIAN" "$@"
    fi
    ;;
  *) stop "tools/debian13.sh knows 'run COMMAND' only." ;;
esac
