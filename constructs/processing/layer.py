"""The layer: Polars, pandas and what the function imports besides, from the lake's own bucket."""

from processing.artifact import Artifact
from processing.bindings import (
    Construct,
    LambdaLayerVersion,
    Precondition,
    TerraformResourceLifecycle,
)
from processing.upload import upload
from processing.variables import Variables


class PandasLayer(Construct):
    """A layer version, uploaded under a key that holds its content's hash.

    An unchanged zip changes nothing. A changed zip makes a new object and a new version in one apply. The old ones are
    deleted after the function has left them.

    Parameters
    ----------
    scope
        The construct that it is added to.
    variables
        The module's variables.
    artifact
        The layer's zip.

    Attributes
    ----------
    version
        The ``aws_lambda_layer_version``.
    uploaded
        The zip's ``aws_s3_object``.
    """

    def __init__(self, scope: Construct, variables: Variables, artifact: Artifact) -> None:
        super().__init__(scope, "layer")
        target = f"{artifact.manifest}.target"
        fits = Precondition(
            condition=f"${{try({target}.arch, var.architecture) == var.architecture}}",
            error_message="pandas_layer_zip_path: the manifest beside the layer says that it was not built for "
            "${var.architecture}. Run `make build ARGS='--arch ${var.architecture}'`, or change the variable "
            "architecture.",
        )
        runs = Precondition(
            condition=f'${{"python${{try({target}.python, trimprefix(var.lambda_runtime, "python"))}}" == '
            "var.lambda_runtime}",
            error_message="pandas_layer_zip_path: the manifest beside the layer says that it was not built for "
            "${var.lambda_runtime}. Run `make build ARGS='--python ...'`, or change the variable lambda_runtime.",
        )
        self.uploaded = upload(
            self,
            "pandas_layer_zip",
            variables,
            key=f"artifacts/{variables.project_name}/pandas_layer-{artifact.sha256}.zip",
            source=artifact.path,
            content_type="application/zip",
            preconditions=[artifact.exists, artifact.is_whole, fits, runs],
        )
        self.version = LambdaLayerVersion(
            self,
            "pandas_layer",
            layer_name=f"{variables.project_name}-pandas-layer",
            description="Polars, pandas and what the processing function imports besides",
            s3_bucket=self.uploaded.bucket,
            s3_key=self.uploaded.key,
            source_code_hash=artifact.base64sha256,
            compatible_runtimes=[variables.runtime],
            skip_destroy=variables.keep_layer_versions,
            compatible_architectures=[variables.architecture],
            lifecycle=TerraformResourceLifecycle(create_before_destroy=True),
        )
