"""The deployment as one construct for any CDKTF stack, and the Terraform module that it is made of."""

import difflib
import json
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from processing.artifact import PROJECT_ROOT
from processing.bindings import App, Construct, TerraformHclModule, Token
from processing.resources import ProcessingResources
from processing.stack import PlainStack

_FOLDER: Final = Path("modules", "processing")
_FROM_STACK: Final = "../../modules/processing"
"""Where the module is below an app's output, and from one of its stacks."""

_PATHS: Final = ("features_file_path", "lambda_source_path", "pandas_layer_zip_path")


class ProcessingModule(Construct):
    """The whole deployment beside a bucket, in any stack, as often as wanted.

    It is a Terraform module: its resources are ``module.{id}.aws_...``, and nothing of it meets the stack's own names.

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
        If the module has no such variable.
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
        known = write_module(Path(App.of(self).outdir).resolve() / _FOLDER)["variable"]
        for name in variables:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                raise TypeError(f"the module has no variable {name}" + (f"; did you mean {near[0]}?" if near else ""))
        defaults = {name: known[name]["default"] for name in _PATHS if known[name]["default"]}
        paths = {name: _find_from_stack(value) for name, value in {**defaults, **variables}.items() if name in _PATHS}
        given = {"project_name": project_name, "s3_bucket_name": s3_bucket_name, **variables, **paths}
        self.module = TerraformHclModule(
            self,
            "module",
            source=_FROM_STACK,
            variables=given,
            providers=providers,
            skip_asset_creation_from_local_modules=True,
        )
        self.module.override_logical_id(id_)

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
        """
        return str(self.module.get_string(name))


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
    module: dict[str, Any] = _strip_notes(document)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "main.tf.json").write_text(json.dumps(module, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return module


def _strip_notes(value: Any) -> Any:
    """Take out the ``//`` members, which Terraform ignores."""
    if isinstance(value, dict):
        return {name: _strip_notes(member) for name, member in value.items() if name != "//"}
    return [_strip_notes(member) for member in value] if isinstance(value, list) else value


def _find_from_stack(path: str) -> str:
    """Lead from the folder of a synthesized stack, where Terraform runs, to a path that begins where the app is."""
    is_relative = not Token.is_unresolved(path) and not path.startswith("/")
    return f"{PROJECT_ROOT}/{path.removeprefix('./')}" if is_relative else path
