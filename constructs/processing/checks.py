"""What a plan warns of, though it can be applied: Terraform's checks."""

from processing.bindings import Construct, DataAwsS3Objects, TerraformStack
from processing.variables import Variables


class Checks(Construct):
    """Warnings where a lake has two projects, and where a Glue table has not the columns of the features in use.

    Another project is known by its folder of artifacts, as far as it is there when the plan is made.

    Parameters
    ----------
    scope
        The construct that it is added to.
    variables
        The module's variables.
    """

    def __init__(self, scope: Construct, variables: Variables) -> None:
        super().__init__(scope, "checks")
        folders = DataAwsS3Objects(
            self, "projects", bucket=variables.s3_bucket_name, prefix="artifacts/", delimiter="/"
        )
        project = 'trimsuffix(trimprefix(folder, "artifacts/"), "/")'
        others = f"[for folder in {folders.fqn}.common_prefixes : {project} if {project} != var.project_name]"
        self._warn(
            "one_project_in_the_lake",
            f"length({others}) == 0",
            f'project_name: the lake ${{var.s3_bucket_name}} has ${{join(", ", {others})}} too. Two projects on one '
            "lake write the same files under processed/: give each a bucket of its own, or destroy the one that is "
            "not used.",
        )
        self._warn(
            "columns_of_the_features_in_use",
            'var.glue_database_name == "" || var.features_file_path == "" || length(var.glue_columns) > 0',
            "glue_columns: the table training_rows gets the columns of the packaged features.toml, not those of "
            "${var.features_file_path}. Give the columns of yours.",
        )

    def _warn(self, name: str, condition: str, message: str) -> None:
        check = {"assert": {"condition": f"${{{condition}}}", "error_message": message}}
        TerraformStack.of(self).add_override(f"check.{name}", check)
