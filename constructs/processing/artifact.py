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
    member
        What the manifest calls it: ``layer`` or ``function``.
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
    is_whole
        A precondition: the file is what the build's manifest says, where there is a manifest.
    """

    def __init__(self, scope: Construct, variable: str, member: str, *, project_root: str | None) -> None:
        super().__init__(scope, f"{variable}_artifact")
        given = f"var.{variable}"
        elsewhere = f'"{project_root}/${{{given}}}"' if project_root else given
        found = TerraformLocal(self, variable, f"${{fileexists({given}) ? {given} : {elsewhere}}}")
        self.path = f"${{local.{variable}}}"
        # A destroy does without the files: there the hashes are of no use, and the preconditions are not asked.
        self.sha256 = f'${{try(filesha256(local.{variable}), "missing")}}'
        self.base64sha256 = f'${{try(filebase64sha256(local.{variable}), "missing")}}'
        self.exists = Precondition(
            condition=f"${{fileexists(local.{variable})}}",
            error_message=f"{variable}: there is no file ${{{given}}}. Run `make build` in the project first, "
            "or give the path of the zip that it wrote.",
        )
        manifest = f'jsondecode(file("${{dirname(local.{variable})}}/manifest.json"))'
        self.is_whole = Precondition(
            condition=f"${{try({manifest}.{member}.sha256, local_sha256) == local_sha256}}".replace(
                "local_sha256", self.sha256[2:-1]
            ),
            error_message=f"{variable}: the file is not the {member} that manifest.json beside it describes. It is "
            "cut, or of another build: run `make build` again.",
        )
        self._local = found
