# Sourced by the other scripts: one virtual environment and one install, made when missing.

# install_project EXTRA: an active virtual environment is used as it is; else .venv is made.
install_project() {
    if [ -z "${VIRTUAL_ENV:-}" ]; then
        [ -x .venv/bin/python ] || "${PYTHON:-python3}" -m venv .venv
        source .venv/bin/activate
    fi
    python -m pip install --quiet --disable-pip-version-check -e ".[$1]"
}
