"""Record the public interface of RAGatouille: every method with its parameters. See README.md.

python make_signatures.py
"""

from __future__ import annotations

import inspect
from typing import Any

import ragatouille
from golden import amend, versions


def parameter(of: inspect.Parameter) -> list[str]:
    """Return name, kind and, where there is one, the default: a callable by its name, anything else as written."""
    if of.default is inspect.Parameter.empty:
        return [of.name, of.kind.name]
    default = of.default.__name__ if callable(of.default) else repr(of.default)
    return [of.name, of.kind.name, default]


def members(owner: type) -> dict[str, Any]:
    """Return what `owner` itself defines under public names, and its constructor."""
    found: dict[str, Any] = {}
    for name, member in sorted(vars(owner).items()):
        if name.startswith("_") and name != "__init__":
            continue
        function = getattr(member, "__func__", member)
        if not inspect.isfunction(function):
            found[name] = {"kind": "attribute", "value": repr(member)}
            continue
        kind = "method" if function is member else type(member).__name__
        found[name] = {
            "kind": kind,
            "parameters": [parameter(p) for p in inspect.signature(function).parameters.values()],
        }
    return found


def main() -> None:
    classes = {name: members(getattr(ragatouille, name)) for name in ("RAGPretrainedModel", "RAGTrainer")}
    amend("ragatouille_signatures.json", made_by=versions("ragatouille"), **classes)


if __name__ == "__main__":
    main()
