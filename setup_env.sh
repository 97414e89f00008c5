#!/usr/bin/env bash
# Prepares this machine for LatentSync: a Python environment, ffmpeg, and the published weights if the hub is reachable.
#
#   source setup_env.sh [OPTIONS]     also activates the environment in your shell
#   ./setup_env.sh      [OPTIONS]     only prepares it
#
#   --torch BUILD    install another build of PyTorch than pip's default: cpu, cuda (of the package index), auto (matches
#                    the driver), a version such as cu126 or rocm6.4, or the address of a package index
#   --runtime        install what the commands need and nothing else: no development tools, no weights (for the Dockerfile)
#   --wheels DIR     install from the wheels in DIR without network access (docs/installation.md describes how to fill it)
#   other options    are passed to scripts/download_weights.py: --training, --version 1.5|1.6
#
# The script works from any folder, in bash and zsh, and may be run repeatedly: existing files are kept. An active virtual
# environment is used; otherwise .venv is created beside this file.

# Sourced (or read by a shell other than bash): a separate bash does the work, so that its options and failures do not
# affect this shell, which only activates the environment afterwards.
_latentsync_source() {
    local script="${BASH_SOURCE:-$0}"
    if [ -n "${ZSH_VERSION:-}" ]; then
        eval 'script="${(%):-%x}"'
    fi
    bash "$script" "$@" </dev/null || return 1
    if [ ! -x "${VIRTUAL_ENV:-/nowhere}/bin/python" ]; then
        . "$(dirname -- "$(readlink -f -- "$script")")/.venv/bin/activate"
    fi
}

if [ -z "${BASH_VERSION:-}" ] || [ "${BASH_SOURCE:-}" != "$0" ]; then
    if _latentsync_source "$@"; then
        unset -f _latentsync_source
        return 0
    fi
    unset -f _latentsync_source
    return 1
fi

set -u -o pipefail
root="$(dirname -- "$(readlink -f -- "$0")")" || exit 1

torch_build=""
wheels=""
packages=".[dev]"
download_options=()

main() {
    local environment
    read_options "$@"
    if [ -x "${VIRTUAL_ENV:-/nowhere}/bin/python" ]; then
        environment="$VIRTUAL_ENV"
        is_new_enough "$environment/bin/python" || fail "the active environment ($environment) has a Python older than 3.10: deactivate or recreate it"
    else
        environment="$root/.venv"
        make_environment "$environment" || return 1
    fi
    install_package "$environment" || return 1
    find_ffmpeg || return 1
    cd -- "$root" || return 1
    if [ -n "$wheels" ]; then
        say "weights are not downloaded with --wheels: checkpoints/README.md lists which files to copy to which folder"
        return 0
    fi
    [ "$packages" != . ] || return 0
    "$environment/bin/python" -m scripts.download_weights ${download_options[@]+"${download_options[@]}"}
}

read_options() {
    while [ $# -gt 0 ]; do
        case "$1" in
            --torch | --wheels)
                [ -n "${2:-}" ] || fail "$1 needs a value"
                if [ "$1" = --torch ]; then torch_build="$2"; else wheels="$2"; fi
                shift 2
                ;;
            --runtime)
                packages="."
                shift
                ;;
            *)
                download_options+=("$1")
                shift
                ;;
        esac
    done
    case "$torch_build" in
        "" | cpu | cuda | auto | cu[0-9]* | rocm[0-9]* | xpu | *://*) ;;
        *) fail "--torch $torch_build: use cpu, cuda, auto, a version such as cu126, or the address of an index" ;;
    esac
    [ "$packages" != . ] || [ ${#download_options[@]} = 0 ] || fail "${download_options[0]} downloads weights, which --runtime does not"
    [ -n "$wheels" ] || return 0
    [ -z "$torch_build" ] || fail "--torch and --wheels exclude each other: the folder holds the build of torch to install"
    [ ${#download_options[@]} = 0 ] || fail "${download_options[0]} needs the network, which --wheels does not use"
    [ -d "$wheels" ] || fail "--wheels $wheels: the folder does not exist"
    wheels="$(cd -- "$wheels" && pwd -P)" || fail "--wheels $wheels: the folder cannot be opened"
    compgen -G "$wheels/*.whl" >/dev/null || fail "--wheels $wheels: the folder has no wheels; docs/installation.md describes how to fill it"
}

say() { printf 'setup_env: %s\n' "$*"; }

fail() {
    printf 'setup_env: %s\n' "$*" >&2
    exit 1
}

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1; }

find_python() {
    local name
    for name in python3 python3.13 python3.12 python3.11 python3.10 python; do
        if command -v "$name" >/dev/null && is_new_enough "$name"; then
            command -v "$name"
            return 0
        fi
    done
    return 1
}

# A .venv that this script made is recreated if it was moved or has lost its Python. One of the user is used or refused.
make_environment() {
    local environment="$1" python
    if is_new_enough "$environment/bin/python" && grep -qsF -- "$environment" "$environment/bin/activate"; then
        return 0
    fi
    if [ -L "$environment" ] || { [ -e "$environment" ] && ! is_made_here "$environment" && [ -n "$(ls -A -- "$environment")" ]; }; then
        fail "$environment was not made by this script and cannot be used as it is: activate it first, or move it away"
    fi
    python="$(find_python)" || fail "no Python 3.10 or newer found: install one (python3 here: $(python3 --version 2>&1))"
    say "creating $environment with $("$python" --version 2>&1)"
    "$python" -c 'import ensurepip, venv' 2>/dev/null || [ -n "$wheels" ] || install_system_packages python3-venv
    "$python" -m venv --clear "$environment" || fail "could not create $environment: is the venv module (Debian: python3-venv) installed?"
    : >"$environment/.latentsync-made"
}

is_made_here() { [ -e "$1/.latentsync-made" ] || [ -e "$1/.latentsync-installed" ]; }

# The stamp lists what the installation depends on, so that a second run can skip it. Its last line is the requested
# build of torch, which is kept until another one is requested.
install_package() {
    local environment="$1" stamp wanted installed_build="" quiet=--quiet
    stamp="$environment/.latentsync-installed"
    [ ! -f "$stamp" ] || installed_build="$(sed -n 's/^torch //p' "$stamp")"
    torch_build="${torch_build:-$installed_build}"
    wanted="$(cd -- "$root" && cksum pyproject.toml constraints.txt && printf '%s\n' "$root" "$packages" && "$environment/bin/python" --version && printf 'torch %s\n' "$torch_build")" || return 1
    if [ -f "$stamp" ] && [ "$(cat -- "$stamp")" = "$wanted" ]; then
        return 0
    fi
    if [ -n "$wheels" ]; then
        # pip splits this variable at spaces, which an address does not have.
        local escaped="${wheels//%/%25}"
        export PIP_NO_INDEX=1 PIP_FIND_LINKS="file://${escaped// /%20}" PIP_CONFIG_FILE=/dev/null
    elif [ -n "$torch_build" ] && [ "$torch_build" != "$installed_build" ]; then
        install_torch "$environment" || fail "installing torch ($torch_build) failed (see above)"
    fi
    say "installing latentsync and its dependencies into $environment (takes minutes the first time)"
    [ ! -t 1 ] || quiet=--progress-bar=on
    install "$environment" "$quiet" --editable "$packages" || fail "installing the packages failed (see above)"
    mend_opencv "$environment" || fail "OpenCV cannot be imported: $("$environment/bin/python" -c 'import cv2' 2>&1 | tail -n 1)"
    printf '%s\n' "$wanted" >"$stamp"
}

install() {
    local environment="$1"
    shift
    (cd -- "$root" && "$environment/bin/python" -m pip install "$@" --constraint constraints.txt)
}

# uv knows the package index of each build of torch, and which build matches the driver. pip is not used because it
# cannot ignore its configured folders of wheels, which may contain another build, for one package only.
install_torch() {
    local environment="$1" source=()
    say "installing the $torch_build build of torch"
    case "$torch_build" in
        *://*) install "$environment" --quiet --upgrade --force-reinstall --no-deps --index-url "$torch_build" torch torchvision; return ;;
        cuda) ;;
        *) source=(--torch-backend "$torch_build") ;;
    esac
    install "$environment" --quiet uv || return 1
    (cd -- "$root" && "$environment/bin/python" -m uv pip install --python "$environment/bin/python" --constraint constraints.txt \
        --reinstall-package torch --reinstall-package torchvision ${source[@]+"${source[@]}"} torch torchvision)
}

# The standard OpenCV wheel requires the OpenGL library, which servers lack; the headless wheel replaces the same files.
mend_opencv() {
    "$1/bin/python" -c 'import cv2' 2>/dev/null && return 0
    say "the OpenGL library is missing: installing the headless OpenCV instead"
    install "$1" --quiet --force-reinstall --no-deps opencv-python-headless || return 1
    "$1/bin/python" -c 'import cv2' 2>/dev/null
}

find_ffmpeg() {
    if command -v ffmpeg >/dev/null && command -v ffprobe >/dev/null; then
        return 0
    fi
    if [ -z "$wheels" ]; then
        say "ffmpeg is missing: installing it"
        install_system_packages ffmpeg
    fi
    command -v ffmpeg >/dev/null && command -v ffprobe >/dev/null && return 0
    fail "ffmpeg and ffprobe are needed and could not be installed: use your package manager (apt-get install ffmpeg, conda install -c conda-forge ffmpeg, brew install ffmpeg) or put them on PATH"
}

# install_system_packages NAME: with apt-get (as root or through sudo), conda or brew, whichever is installed.
install_system_packages() {
    if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
        apt_install "$1" && return 0
    fi
    if [ "$1" = ffmpeg ] && [ -n "${CONDA_PREFIX:-}" ] && command -v conda >/dev/null; then
        conda install --yes --quiet --channel conda-forge "$1" && return 0
    fi
    if command -v apt-get >/dev/null && command -v sudo >/dev/null; then
        apt_install "$1" sudo && return 0
    fi
    if [ "$1" = ffmpeg ] && command -v brew >/dev/null; then
        brew install "$1" && return 0
    fi
    return 1
}

# apt_install NAME [sudo]: sudo may ask for a password only on an interactive terminal.
apt_install() {
    local as_root="${2:-}"
    if [ -n "$as_root" ]; then
        [ -t 2 ] || as_root="sudo -n"
        $as_root true 2>/dev/null || [ -t 2 ] || return 1
    fi
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$1" >/dev/null 2>&1 && return 0
    $as_root apt-get update -qq >/dev/null && $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$1" >/dev/null
}

main "$@"
