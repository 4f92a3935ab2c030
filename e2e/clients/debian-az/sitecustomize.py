"""Gives az back a name that Debian's package of it lost.

Debian 12 has az 2.45 together with version 3.0.0 of azure-mgmt-authorization, whose groups of operations call their
configuration _config. az asks for config, so that all of `az role` ends with an AttributeError before it sends anything.
Python reads this file at its start where PYTHONPATH names its directory; only the tests of `az role` do that.
"""

import importlib.abc
import importlib.util
import sys


class AddConfig(importlib.abc.MetaPathFinder):
    """Adds the old name to each class of operations, once its module has been loaded."""

    def find_spec(self, fullname, path, target=None):
        if not (fullname.startswith("azure.mgmt.authorization.") and fullname.endswith("_operations")):
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            sys.meta_path.insert(0, self)
        if spec is None or spec.loader is None:
            return spec
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            for thing in vars(module).values():
                if isinstance(thing, type) and thing.__name__.endswith("Operations") and not hasattr(thing, "config"):
                    thing.config = property(lambda self: self._config)

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, AddConfig())
