# Sourced: which Python makes the environment.
# It must be 3.10 or later, have venv and pip and the shared library that R loads (on Debian a package of its own),
# and, where the installed reticulate is older than 1.38 and so needs numpy < 2, be at most 3.12, the last with one.

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
import os, sys, sysconfig
import ensurepip, venv  # Debian puts these in a package of their own, python3-venv
value = sysconfig.get_config_var
folders = {value("LIBDIR"), value("LIBPL")}
names = {name for name in (value("LDLIBRARY"), value("INSTSONAME")) if name and not name.endswith(".a")}
shared = value("PYTHONFRAMEWORK") or any(os.path.exists(os.path.join(d, n)) for d in folders if d for n in names)
sys.exit(not ((3, 10) <= sys.version_info[:2] <= (3, int(sys.argv[1])) and shared))
PY
      command -v "$candidate"
      return
    fi
  done
}
