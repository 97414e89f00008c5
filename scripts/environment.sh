# Sourced by the shell scripts: sets $python to the active virtual environment's, else that of .venv, else python3, and
# lets it find this repository from any folder.
root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." >/dev/null && pwd -P)"

python=python3
for environment in "${VIRTUAL_ENV:-/nowhere}" "$root/.venv"; do
    if [ -x "$environment/bin/python" ]; then
        python="$environment/bin/python"
        break
    fi
done

# From Python 3.11 on, the safe path keeps files that lie in the caller's folder from being imported in place of ours.
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" PYTHONSAFEPATH=1

# Threads that wait give their core away to what runs beside them (beside other work the face was found 3 times faster).
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-PASSIVE}"
