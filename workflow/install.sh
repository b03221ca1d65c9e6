#!/bin/sh
# Make .venv and install requirements.lock and the project into it. Interrupted, it is simply run again.
# INSTALL=pip uses pip and its configuration; the default, uv, takes a sixth of the time and falls back to pip.
# Bytecode is written at once: where Python may not write it later, every process would compile torch and timm again, for 13 seconds.
set -eu
stop() { echo "install: $1" >&2; exit 1; }

[ -n "${PYTHON:-}" ] || stop "no Python 3.11, 3.12 or 3.13 found; install one, or name it: make PYTHON=/path/to/python3"
python=.venv/bin/python
if ! $python -m pip --version >/dev/null 2>&1; then
    free=$(df -Pk . | awk 'NR == 2 { print int($4 / 1048576) }')
    [ "$free" -ge 8 ] || stop "the environment needs 8 GB of disk, $free GB are free here"
    echo "Making .venv with $("$PYTHON" --version): about 3 GB to download, 7 GB on disk, 1 to 5 minutes."
    rm -rf .venv
    "$PYTHON" -m venv .venv || { rm -rf .venv; stop "$PYTHON cannot make virtual environments (on Debian: apt install python3-venv)"; }
fi
rm -f .venv/.installed-*

from=""
if [ -d wheelhouse ]; then
    cmp -s wheelhouse/requirements.lock requirements.lock ||
        stop "the folder wheelhouse belongs to another requirements.lock; make it again or remove it"
    echo "Installing from the folder wheelhouse, without a network."
    from="--no-index --find-links wheelhouse"
fi
pip_install() { $python -m pip install --disable-pip-version-check --quiet $from "$@"; }

if [ "${INSTALL:-uv}" = uv ] && pip_install "$(sed -n 's/^\(uv==[^ ]*\).*/\1/p' requirements.lock)" &&
    $python -m uv pip install --quiet --compile-bytecode --python $python $from -r requirements.lock; then :; else
    echo "Installing with pip."
    pip_install -r requirements.lock || stop "installation failed; see above. A mirror or proxy is set in pip's configuration"
fi
pip_install --no-deps --no-build-isolation -e . || stop "the project itself could not be installed; see above"
