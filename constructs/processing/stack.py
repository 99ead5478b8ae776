"""The module as a CDKTF stack: with a provider, and a place for Terraform's state."""

from collections.abc import Mapping
from typing import Final

from processing.artifact import PROJECT_ROOT
from processing.bindings import AwsProvider, Construct, LocalBackend, Node, S3Backend, TerraformElement, TerraformStack
from processing.resources import ProcessingResources

STACK: Final = "processing"
TERRAFORM: Final = ">= 1.10.0"
"""The first that locks a state in S3 by itself (``use_lockfile``)."""
AWS_PROVIDER: Final = {"source": "hashicorp/aws", "version": ">= 5.100.0, < 7.0.0"}


class PlainStack(TerraformStack):
    """A stack in which an element's address is its type and its construct's own id, wherever it stands in the tree.

    Without it, cdktf would build addresses from the whole path and a hash. It also says which AWS providers the stack
    works with, which are more than the one version that the bindings were made of.
    """

    def __init__(self, scope: Construct, id_: str) -> None:
        self._addresses: dict[tuple[str, str], str] = {}
        super().__init__(scope, id_)
        self.add_override("terraform.required_providers.aws", AWS_PROVIDER)

    def _allocate_logical_id(self, tf_element: Node | TerraformElement) -> str:
        node = tf_element.node if isinstance(tf_element, TerraformElement) else tf_element
        name, path = node.id, node.path
        if self._addresses.setdefault((type(tf_element).__name__, name), path) != path:
            raise ValueError(f"{path}: {type(tf_element).__name__}.{name} is an address already; give it another id")
        return name


def name_stack(environment: Mapping[str, str]) -> str:
    """Name the stack, and with it its folder and its state, by the deployment.

    Two deployments from one checkout then have nothing in common. With one name, Terraform would take the second for a
    change of the first, and replace all of it.

    Parameters
    ----------
    environment
        Usually ``os.environ``: ``PROCESSING_PROJECT_NAME``, or else ``TF_VAR_project_name``. The latter is what
        Terraform reads, but cdktf's command line keeps variables of that kind from the program that it runs.

    Returns
    -------
    str
        ``{project_name}-processing``; without a name, ``processing``.
    """
    project = environment.get("PROCESSING_PROJECT_NAME") or environment.get("TF_VAR_project_name")
    return f"{project}-{STACK}" if project else STACK


class ProcessingStack(PlainStack):
    """One deployment.

    Parameters
    ----------
    scope
        The construct that it is added to.
    id_
        Its id in the scope, which names the folder of its output.
    state
        Where Terraform keeps its state: ``bucket`` and ``region`` of an S3 backend, which locks it, and ``key``, by
        default ``{id_}.tfstate``. Without it, the state is a file in the project's folder.
    """

    def __init__(self, scope: Construct, id_: str, *, state: Mapping[str, str] | None = None) -> None:
        super().__init__(scope, id_)
        AwsProvider(self, "aws")
        if state:
            S3Backend(
                self,
                bucket=state["bucket"],
                key=state.get("key", f"{id_}.tfstate"),
                region=state["region"],
                encrypt=True,
            )
            self.add_override("terraform.backend.s3.use_lockfile", True)  # noqa: FBT003 - jsii's own signature
            # Not of other stacks: checkov cannot read a stack that states it.
            self.add_override("terraform.required_version", TERRAFORM)
        else:
            path = f"../../../terraform.{id_}.tfstate"
            LocalBackend(self, path=path)
            self._keep_to_one_project(f"${{path.root}}/{path}")
        ProcessingResources(self, root=PROJECT_ROOT)

    def _keep_to_one_project(self, state: str) -> None:
        """Refuse another ``project_name`` than that of the state: all that is there would be replaced."""
        table = '"${var.project_name}-RealtimeFeatures"'
        held = f'jsondecode(file("{state}")).outputs.realtime_features_table_name.value'
        precondition = {
            "condition": f"${{try({held}, {table}) == {table}}}",
            "error_message": f"project_name: the state holds the table ${{try({held}, {table})}}, of another project, "
            "which would be replaced. PROCESSING_PROJECT_NAME=${var.project_name} before the command gives this one a "
            "state of its own.",
        }
        self.add_override("resource.aws_dynamodb_table.realtime_features.lifecycle.precondition", [precondition])
