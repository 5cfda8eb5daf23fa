# Sourced: which Python makes the environment.
# It must be 3.10 or later, have venv and pip, be built with a shared library (R loads it), and, where the
# installed reticulate is older than 1.38 and so needs numpy < 2, be at most 3.12 (the last with such a numpy).

needs_old_numpy() {
  command -v Rscript >/dev/null && [ "$(Rscript --vanilla -e '
    cat(nzchar(system.file(package = "reticulate")) && packageVersion("reticulate") < "1.38")')" = TRUE ]
}

python_wanted() {
  if needs_old_numpy; then
    echo "Python 3.10 to 3.12 with venv and a shared library (reticulate < 1.38 needs numpy < 2)"
  else
    echo "Python 3.10 or later with venv and a shared library"
  fi
}

# Prints the first suitable Python of: $PYTHON, python3 on the path, Debian's, python3.12 to python3.10.
find_python() {
  local last=99 candidate
  if needs_old_numpy; then last=12; fi
  for candidate in ${PYTHON:+"$PYTHON"} python3 /usr/bin/python3 python3.12 python3.11 python3.10; do
    if command -v "$candidate" >/dev/null && "$candidate" - "$last" 2>/dev/null <<'PY'; then
import sys, sysconfig
import ensurepip, venv  # Debian puts these in a package of their own, python3-venv
shared = sysconfig.get_config_var("Py_ENABLE_SHARED") or sysconfig.get_config_var("PYTHONFRAMEWORK") or sys.platform == "win32"
sys.exit(not ((3, 10) <= sys.version_info[:2] <= (3, int(sys.argv[1])) and shared))
PY
      command -v "$candidate"
      return
    fi
  done
}
