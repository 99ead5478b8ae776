"""The deployment as one construct for any CDKTF stack, and the Terraform module that it is made of."""

import difflib
import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from processing.artifact import PROJECT_ROOT
from processing.bindings import App, Construct, TerraformHclModule, TerraformStack, Token
from processing.resources import ProcessingResources
from processing.stack import TERRAFORM, PlainStack

_FOLDER: Final = Path("modules", "processing")
_FROM_STACK: Final = "../../modules/processing"
"""Where the module is below an app's output, and from one of its stacks."""

_PATHS: Final = ("features_file_path", "lambda_source_path", "pandas_layer_zip_path")


class ProcessingModule(Construct):
    """The whole deployment beside a bucket, in any stack, as often as wanted.

    It is a Terraform module: its resources are ``module.{id}.aws_...``, and nothing of it meets the stack's own names.
    Within another construct its name begins with that construct's id: ``module.{parent}_{id}``.

    Parameters
    ----------
    scope
        A stack, or a construct in one. The stack has the provider ``aws``.
    id_
        Its id in the scope.
    project_name
        Prefix of every resource's name; text or a reference.
    s3_bucket_name
        The data lake's bucket; text or a reference.
    providers
        Other providers than the stack's own, such as one for another region.
    **variables
        Any other variable of the module, by its name (modules/processing/README.md); text, a number or a reference. A
        relative path begins where the app is.

    Attributes
    ----------
    module
        The ``TerraformHclModule``.

    Raises
    ------
    TypeError
        If the module has no such variable, or a value is not of the variable's type.
    ValueError
        If another deployment of the stack has the same address.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        project_name: str,
        s3_bucket_name: str,
        providers: Sequence[Any] | None = None,
        **variables: Any,
    ) -> None:
        super().__init__(scope, id_)
        self._document = write_module(Path(App.of(self).outdir).resolve() / _FOLDER)
        known = self._document["variable"]
        given = {"project_name": project_name, "s3_bucket_name": s3_bucket_name, **variables}
        for name, value in given.items():
            _require_known("variable", name, known)
            _require_type(name, value, known[name]["type"])
        defaults = {name: known[name]["default"] for name in _PATHS if known[name]["default"]}
        given |= {name: _find_from_stack(value) for name, value in {**defaults, **given}.items() if name in _PATHS}
        self.module = TerraformHclModule(
            self,
            "module",
            source=_FROM_STACK,
            variables=given,
            providers=providers,
            skip_asset_creation_from_local_modules=True,
        )
        self._take_address()

    def output(self, name: str) -> str:
        """Refer to an output of the module.

        Parameters
        ----------
        name
            As in modules/processing/README.md.

        Returns
        -------
        str
            A reference.

        Raises
        ------
        TypeError
            If the module has no such output.
        """
        _require_known("output", name, self._document["output"])
        return str(self.module.get_string(name))

    def _take_address(self) -> None:
        """Name the module by its place in the stack, and tell Terraform where it was when only its id counted."""
        stack = TerraformStack.of(self)
        deployments = [found for found in stack.node.find_all() if isinstance(found, ProcessingModule)]
        addresses = {found.node.path: _name_address(found, stack) for found in deployments}
        for path, address in addresses.items():
            if path != self.node.path and address == addresses[self.node.path]:
                raise ValueError(f"{self.node.path}: module.{address} is the address of {path}; give it another id")
        self.module.override_logical_id(addresses[self.node.path])
        ids = Counter(found.node.id for found in deployments)
        moved = [
            {"from": f"module.{found.node.id}", "to": f"module.{addresses[found.node.path]}"}
            for found in deployments
            if ids[found.node.id] == 1 and addresses[found.node.path] != found.node.id
        ]
        stack.add_override("moved", moved or None)


@cache
def write_module(folder: Path) -> dict[str, Any]:
    """Synthesize the Terraform module: no provider, no backend, no notes of cdktf's.

    Parameters
    ----------
    folder
        Where ``main.tf.json`` is written.

    Returns
    -------
    dict of str to Any
        The document.
    """
    with tempfile.TemporaryDirectory() as scratch:
        app = App(outdir=scratch, skip_validation=True)  # it would ask for a provider
        ProcessingResources(PlainStack(app, "processing"))
        app.synth()
        document = json.loads((Path(scratch) / "stacks" / "processing" / "cdk.tf.json").read_text(encoding="utf-8"))
    del document["terraform"]["backend"]
    document["terraform"]["required_version"] = TERRAFORM
    module: dict[str, Any] = _strip_notes(document)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "main.tf.json").write_text(json.dumps(module, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return module


def _strip_notes(value: Any) -> Any:
    """Take out the ``//`` members, which Terraform ignores."""
    if isinstance(value, dict):
        return {name: _strip_notes(member) for name, member in value.items() if name != "//"}
    return [_strip_notes(member) for member in value] if isinstance(value, list) else value


def _name_address(deployment: ProcessingModule, stack: TerraformStack) -> str:
    within = deployment.node.path.removeprefix(f"{stack.node.path}/")
    return within.replace("/", "_")


def _require_known(kind: str, name: str, known: Iterable[str]) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        raise TypeError(f"the module has no {kind} {name}" + (f"; did you mean {near[0]}?" if near else ""))


def _require_type(name: str, value: object, type_: str) -> None:
    """Require that a value is of a variable's type, as far as it is known before Terraform runs."""
    if Token.is_unresolved(value):
        return
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    collections = {"map": Mapping, "list": (list, tuple)}
    whole, _, of = type_.partition("(")
    fits = (
        isinstance(value, collections[whole])  # type: ignore[arg-type]
        if whole in collections
        else isinstance(value, str | int | float)
        and (whole != "bool" or isinstance(value, bool) or value in ("true", "false"))
        and (whole != "number" or (not isinstance(value, bool) and _is_number(value)))
    )
    if not fits:
        raise TypeError(f"the module's variable {name} is a {type_}, not {value!r}")
    if of == "string)":
        for item in items:
            _require_type(name, item, "string")


def _is_number(value: object) -> bool:
    try:
        float(str(value))
    except ValueError:
        return False
    return True


def _find_from_stack(path: str) -> str:
    """Lead from the folder of a synthesized stack, where Terraform runs, to a path that begins where the app is."""
    is_relative = not Token.is_unresolved(path) and not path.startswith("/")
    return f"{PROJECT_ROOT}/{path.removeprefix('./')}" if is_relative else path
