"""Import only the parts of diffusers, Whisper and facenet-pytorch that the commands use.

Importing diffusers' `AutoencoderKL` executes about 90 modules of other networks, the models of transformers,
scipy.stats and torch's compiler; Whisper's encoder imports numba, and facenet-pytorch's networks import torchvision.
In this repository's commands

* packages that only re-export names import a submodule when one of its names is first used;
* two modules from which others import functions are executed when such a function is first called;
* diffusers works as it does where transformers, scipy and peft, its optional dependencies, are not installed;
* decorators for torch.compile import the compiler when a decorated function is first called, or have no effect.

Other programs that import this package get these packages unchanged. The classes are the same in both cases.
`python -m benchmarks.startup` measures the effect.
"""

import ast
import importlib
import inspect
import sys
from types import ModuleType
from typing import Any

from latentsync.import_hook import ExecuteModule, Execution, ExecutionHook
from latentsync.quiet_start import is_own_command

_RE_EXPORTING = (
    "diffusers.hooks",
    "diffusers.models.autoencoders",
    "diffusers.models.transformers",
    "diffusers.models.unets",
    "diffusers.quantizers",
)
_FUNCTIONS_ONLY = ("facenet_pytorch.models.utils.detect_face", "whisper.timing")
_ABSENT = {"_transformers_available": False, "_scipy_available": False, "_peft_available": False}


def _import_names_on_demand(execute_module: ExecuteModule, package: ModuleType) -> None:
    """Import a submodule when a name that the package re-exports from it is first used.

    Any other name executes the package as a whole.
    """
    submodules = _re_exported_names(inspect.getsource(package))

    def get(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name not in submodules:
            vars(package).pop("__getattr__", None)
            execute_module(package)
            return getattr(package, name)
        value = getattr(importlib.import_module(f"{package.__name__}.{submodules[name]}"), name)
        setattr(package, name, value)
        return value

    vars(package)["__getattr__"] = get


def _re_exported_names(source: str) -> dict[str, str]:
    """Return the submodule of each name in ``from .submodule import name``."""
    imports = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom))
    return {
        alias.name: node.module
        for node in imports
        if node.level == 1 and node.module is not None
        for alias in node.names
        if alias.asname is None and alias.name != "*"
    }


def _execute_on_first_call(execute_module: ExecuteModule, module: ModuleType) -> None:
    """Execute a module from which only functions are imported when one of them is first called."""

    def get(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def call(*arguments: Any, **named_arguments: Any) -> Any:
            if vars(module).pop("__getattr__", None) is not None:
                execute_module(module)
            return getattr(module, name)(*arguments, **named_arguments)

        return call

    vars(module)["__getattr__"] = get


def _without_optional_packages(execute_module: ExecuteModule, module: ModuleType) -> None:
    """Execute the module that finds out what is installed, and declare optional packages absent."""
    import importlib.metadata

    # It reads the file list of every installed package to translate module names into those of distributions.
    original, importlib.metadata.packages_distributions = importlib.metadata.packages_distributions, dict
    try:
        execute_module(module)
    finally:
        importlib.metadata.packages_distributions = original
    vars(module).update({name: value for name, value in _ABSENT.items() if name in vars(module)})


def _without_compiler(execute_module: ExecuteModule, module: ModuleType) -> None:
    """Execute a module that has a replacement for the compiler's decorators, which then have no effect."""
    if "torch._dynamo" in sys.modules:
        execute_module(module)
        return
    sys.modules["torch._dynamo"] = None  # type: ignore[assignment]  # makes importing it an ImportError
    try:
        execute_module(module)
    finally:
        del sys.modules["torch._dynamo"]


def _with_lazy_compiler(execute_module: ExecuteModule, module: ModuleType) -> None:
    """Execute a module whose functions are excluded from compilation, without importing the compiler."""
    import torch
    from torch._compile import _disable_dynamo  # torch's own lazy variant of torch.compiler.disable

    def disable(fn: Any = None, recursive: bool = True, **_: Any) -> Any:
        return _disable_dynamo(fn, recursive)

    original, torch.compiler.disable = torch.compiler.disable, disable
    try:
        execute_module(module)
    finally:
        torch.compiler.disable = original


def install_lean_imports() -> None:
    """Install the import hook if this process runs one of our commands."""
    if not is_own_command():
        return
    executions: dict[str, Execution] = {
        "diffusers.utils.import_utils": _without_optional_packages,
        "diffusers.utils.torch_utils": _without_compiler,
        "diffusers.hooks.group_offloading": _with_lazy_compiler,
    }
    executions.update((name, _import_names_on_demand) for name in _RE_EXPORTING)
    executions.update((name, _execute_on_first_call) for name in _FUNCTIONS_ONLY)
    ExecutionHook(executions).install()
