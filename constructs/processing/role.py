"""What the function may do: the calls its code makes, and nothing more."""

from typing import Final

from processing.bindings import Construct, IamRolePolicy
from processing.place import Place
from processing.policy import allow, attach, make_role
from processing.variables import Variables

KEY_ACTIONS: Final = ("kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey")
_TRACE_ACTIONS: Final = ("xray:PutTelemetryRecords", "xray:PutTraceSegments")
_NETWORK_ACTIONS: Final = (
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:UnassignPrivateIpAddresses",
)


class ProcessingRole(Construct):
    """The function's role.

    It reads ``raw/`` and ``processed/``, writes ``processed/``, puts items into one table, writes one log group, and
    sends failed events to one queue. It cannot write ``raw/``, delete anything, or see the rest of the bucket. With a
    key or subnets of the user's own, it may use these as well.

    Parameters
    ----------
    scope
        The construct that it is added to.
    variables
        The module's variables.
    place
        Where the deployment is.
    table_arn
        ARN of the table that items are put into.
    log_group_arn
        ARN of the log group that is written.
    failures_arn
        ARN of the queue that failed events go to.

    Attributes
    ----------
    role
        The ``aws_iam_role``.
    policy
        What must be there before the function is made and runs.
    """

    def __init__(
        self,
        scope: Construct,
        variables: Variables,
        place: Place,
        *,
        table_arn: str,
        log_group_arn: str,
        failures_arn: str,
    ) -> None:
        super().__init__(scope, "role")
        bucket = f"arn:{place.partition}:s3:::{variables.s3_bucket_name}"
        self.role = make_role(
            self,
            "processing_lambda_role",
            '${var.role_name == "" ? "${var.project_name}-processing-lambda-role" : var.role_name}',
            service="lambda.amazonaws.com",
            variables=variables,
        )
        statements = [
            allow("ReadLake", ["s3:GetObject"], [f"{bucket}/raw/*", f"{bucket}/processed/*"]),
            # A file above 5 MiB is uploaded in parts, and what was not completed is aborted.
            allow("WriteProcessed", ["s3:AbortMultipartUpload", "s3:PutObject"], [f"{bucket}/processed/*"]),
            allow("ListLake", ["s3:ListBucket"], [bucket], like={"s3:prefix": ["raw/*", "processed/*"]}),
            allow("PutFeatures", ["dynamodb:PutItem"], [table_arn]),
            allow("WriteLogs", ["logs:CreateLogStream", "logs:PutLogEvents"], [f"{log_group_arn}:*"]),
            allow("KeepFailedEvents", ["sqs:SendMessage"], [failures_arn]),
        ]
        features = f"{bucket}/artifacts/{variables.project_name}/features-*.toml"
        only_when = {
            'var.features_file_path != ""': allow("ReadFeaturesFile", ["s3:GetObject"], [features]),
            'var.tracing_mode == "Active"': allow("Trace", _TRACE_ACTIONS, ["*"]),
            'var.kms_key_arn != ""': allow("UseKey", KEY_ACTIONS, ["${var.kms_key_arn}"]),
            "length(var.subnet_ids) > 0": allow("UseSubnets", _NETWORK_ACTIONS, ["*"]),
        }
        self.policy: IamRolePolicy = attach(self, "processing_lambda", self.role.name, statements, only_when=only_when)
