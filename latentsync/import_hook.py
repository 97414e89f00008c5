"""Import hook that replaces how chosen modules are executed when they are first imported."""

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Protocol


class ExecuteModule(Protocol):
    """Run a module's own code in its namespace."""

    def __call__(self, module: ModuleType) -> None:
        """Execute the module."""


Execution = Callable[[ExecuteModule, ModuleType], None]
"""Replace a module's execution; receives the original one."""


class ExecutionHook(MetaPathFinder):
    """Find modules as usual, and execute those that are named with a function of ours.

    Args:
        executions: the function of each module, by the module's full name.
    """

    def __init__(self, executions: Mapping[str, Execution]) -> None:
        self.executions = executions

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a named module with a changed loader; None for every other module."""
        if fullname not in self.executions:
            return None
        specs = (finder.find_spec(fullname, path, target) for finder in sys.meta_path if finder is not self)
        spec = next((found for found in specs if found is not None), None)
        if spec is not None and spec.loader is not None:
            spec.loader.exec_module = _changed(self.executions[fullname], spec.loader.exec_module)
        return spec

    def install(self) -> None:
        """Put this hook before the others, unless one for the same modules is there."""
        installed = (hook.executions.keys() for hook in sys.meta_path if isinstance(hook, ExecutionHook))
        if self.executions.keys() not in installed:
            sys.meta_path.insert(0, self)


def _changed(execution: Execution, execute_module: ExecuteModule) -> ExecuteModule:
    def changed(module: ModuleType) -> None:
        execution(execute_module, module)

    return changed
