"""Files on the deployer's machine, as Terraform finds them: the zips that ``make build`` wrote, and others."""

from typing import Final

from processing.bindings import Construct, Precondition, TerraformLocal

PROJECT_ROOT: Final = "${path.root}/../../.."
"""Where a stack lies below the project: ``cdktf.out/stacks/processing`` as well as ``synth/stacks/processing``."""
MODULE: Final = "${path.module}"
"""Where a module lies that was released with its zips."""


class LocalFile(Construct):
    """One file, by the variable that holds its path.

    Parameters
    ----------
    scope
        The construct that it is added to.
    variable
        The name of the Terraform variable that holds the file's path.
    advice
        What to do where there is no file, as sentences.
    root
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

    def __init__(self, scope: Construct, variable: str, *, advice: str, root: str) -> None:
        super().__init__(scope, f"{variable}_file")
        given = f"var.{variable}"
        elsewhere = f'"{root}/${{{given}}}"'
        TerraformLocal(self, variable, f"${{try(fileexists({given}), false) ? {given} : {elsewhere}}}")
        self.path = f"${{local.{variable}}}"
        # A destroy does without the files: there the hashes are of no use, and the preconditions are not asked.
        self.sha256 = f'${{try(filesha256(local.{variable}), "missing")}}'
        self.base64sha256 = f'${{try(filebase64sha256(local.{variable}), "missing")}}'
        self.exists = Precondition(
            condition=f"${{try(fileexists(local.{variable}), false)}}",
            error_message=f"{variable}: there is no file ${{{given}}}. {advice}",
        )


class Artifact(LocalFile):
    """One zip that ``make build`` wrote.

    Parameters
    ----------
    scope
        The construct that it is added to.
    variable
        The name of the Terraform variable that holds the file's path.
    member
        What the manifest calls it: ``layer`` or ``function``.
    root
        See :class:`LocalFile`.

    Attributes
    ----------
    manifest
        What the build says of its zips, as an expression that fails where there is no manifest.
    is_whole
        A precondition: the file is what the build's manifest says, where there is a manifest.
    """

    def __init__(self, scope: Construct, variable: str, member: str, *, root: str) -> None:
        advice = "Run `make build` in the project first, or give the path of the zip that it wrote."
        super().__init__(scope, variable, advice=advice, root=root)
        self.manifest = f'jsondecode(file("${{dirname(local.{variable})}}/manifest.json"))'
        found = self.sha256[2:-1]
        self.is_whole = Precondition(
            condition=f"${{try({self.manifest}.{member}.sha256, {found}) == {found}}}",
            error_message=f"{variable}: the file is not the {member} that manifest.json beside it describes. It is "
            "cut, or of another build: run `make build` again.",
        )
