# Sourced by the shell scripts: sets $python to the active virtual environment's, else that of .venv, else python3, and
# run_module, which runs a module of this repository from any folder.
root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." >/dev/null && pwd -P)"

python=python3
for environment in "${VIRTUAL_ENV:-/nowhere}" "$root/.venv"; do
    if [ -x "$environment/bin/python" ]; then
        python="$environment/bin/python"
        break
    fi
done

export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" PYTHONSAFEPATH=1

# run_module MODULE [ARGUMENT ...]: becomes `python -m MODULE`, except that files in the caller's folder are never
# imported in place of ours. From Python 3.11 on the safe path ensures this; 3.10 has none.
run_module() {
    exec "$python" -c 'import sys
sys.path[:] = filter(None, sys.path)
sys.orig_argv[1:3] = ["-m"]
import runpy
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)' "$@"
}

# Threads that wait give their core away to what runs beside them (beside other work the face was found 3 times faster).
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-PASSIVE}"
