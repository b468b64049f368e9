# Sourced by the other scripts: one virtual environment and one install, made when missing.

# warn_of_little_space: torch's CUDA build, which pip takes on Linux by default, fills 6 GB.
warn_of_little_space() {
    local free
    free=$(df -Pk "$VIRTUAL_ENV" | awk 'NR == 2 { print int($4 / 1048576) }')
    if [ "$free" -lt 8 ]; then
        echo "$VIRTUAL_ENV: only $free GB are free there, and torch takes 6: make room, or install its smaller CPU build" \
            "first (docs/INSTALL.md)" >&2
    fi
}

# install_project EXTRA: an active virtual environment is used as it is; else .venv is made.
install_project() {
    if [ -z "${VIRTUAL_ENV:-}" ]; then
        [ -x .venv/bin/python ] || "${PYTHON:-python3}" -m venv .venv
        source .venv/bin/activate
    fi
    python -c "import torch" 2>/dev/null || warn_of_little_space
    python -m pip install --quiet --disable-pip-version-check -e ".[$1]"
}
