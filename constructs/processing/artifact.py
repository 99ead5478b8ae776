"""A zip that ``make build`` wrote, as Terraform finds it."""

from typing import Final

from processing.bindings import Construct, Precondition, TerraformLocal

PROJECT_ROOT: Final = "${path.root}/../../.."
"""Where a stack lies below the project: ``cdktf.out/stacks/processing`` as well as ``synth/stacks/processing``."""


class Artifact(Construct):
    """One zip, by the variable that holds its path.

    Parameters
    ----------
    scope
        The construct that it is added to.
    variable
        The name of the Terraform variable that holds the file's path.
    project_root
        Where a relative path begins that does not lead to a file from Terraform's working directory. CDKTF runs
        Terraform three folders below the project; a module's user runs it where the paths begin.

    Attributes
    ----------
    path
        The file's path.
    sha256, base64sha256
        Of its content.
    exists
        A precondition that says what to do where there is no file.
    """

    def __init__(self, scope: Construct, variable: str, *, project_root: str | None) -> None:
        super().__init__(scope, f"{variable}_artifact")
        given = f"var.{variable}"
        elsewhere = f'"{project_root}/${{{given}}}"' if project_root else given
        found = TerraformLocal(self, variable, f"${{fileexists({given}) ? {given} : {elsewhere}}}")
        self.path = f"${{local.{variable}}}"
        self.sha256 = f"${{filesha256(local.{variable})}}"
        self.base64sha256 = f"${{filebase64sha256(local.{variable})}}"
        self.exists = Precondition(
            condition=f"${{fileexists(local.{variable})}}",
            error_message=f"{variable}: there is no file ${{{given}}}. Run `make build` in the project first, "
            "or give the path of the zip that it wrote.",
        )
        self._local = found
