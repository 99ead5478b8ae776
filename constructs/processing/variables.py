"""The module's inputs: names, types, defaults, and what Terraform says of a value that will not do."""

import json
from typing import Any, Final

from processing.bindings import Construct, TerraformVariable, TerraformVariableValidationConfig, Token

_LOG_RETENTIONS: Final = (
    "1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653"
)
_HOURS: Final = "a whole number of hours from"
_ZIP: Final = (".+[.]zip", "the path of a .zip file that `make build` wrote")

_TAG: Final = r"^[\\p{L}\\p{Z}\\p{N}_.:/=+@-]*$"
_RESERVED: Final = (
    "_HANDLER", "_X_AMZN_TRACE_ID", "AWS_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_DEFAULT_REGION", "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE", "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_LAMBDA_RUNTIME_API", "AWS_REGION", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT",
)  # fmt: skip
"""Names of the environment that Lambda sets itself and refuses to take: the developer guide, "Using Lambda environment
variables"."""

Check = tuple[str, str]
"""What a variable's value must fulfil, as a Terraform expression, and what to say where it does not."""


class Variables(Construct):
    """Every input of the module, as Terraform variables.

    Each is an attribute of its variable's name, and a reference to its value: text, number, bool, list or map.
    """

    def __init__(self, scope: Construct, id_: str = "variables") -> None:
        super().__init__(scope, id_)
        self._declare_contract()
        self._declare_operation()
        self._declare_security()
        self._declare_reading()

    def _declare_contract(self) -> None:
        self.project_name = self._text(
            "project_name",
            "Prefix of every resource's name.",
            check=_matches(
                "project_name",
                "[a-zA-Z0-9][a-zA-Z0-9_-]{0,39}",
                "1 to 40 letters, digits, hyphens or underscores, and begin with a letter or a digit: it begins the "
                "names of the table, the function and the roles",
            ),
        )
        self.s3_bucket_name = self._text(
            "s3_bucket_name",
            "The data lake's bucket. It exists before the deployment, which never owns it.",
            check=_matches(
                "s3_bucket_name",
                "[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]",
                "the name of an existing bucket, 3 to 63 lower-case letters, digits, hyphens or dots: no ARN, no "
                "s3:// URL",
            ),
        )
        self.lambda_timeout = self._whole_number(
            "lambda_timeout", "The function's timeout, seconds.", 300, 1, 900, "a whole number of seconds from"
        )
        self.lambda_memory_size = self._whole_number(
            "lambda_memory_size",
            "The function's memory, MB; its share of CPU grows with it.",
            1024,
            256,
            10240,
            "a whole number of MB from",
        )
        self.processing_schedule_expression = self._text(
            "processing_schedule_expression",
            "When the function runs, in EventBridge Scheduler's terms, UTC.",
            "rate(6 hours)",
            check=_matches(
                "processing_schedule_expression",
                r"(rate\\([1-9][0-9]* (minute|hour|day)s?\\)|cron\\([0-9A-Z*?/,#-]+( [0-9A-Z*?/,#-]+){5}\\))",
                "a rate or a cron expression of six fields, such as rate(6 hours) or cron(0 */6 * * ? *)",
            ),
        )
        self.time_window_hours = self._whole_number(
            "time_window_hours",
            "The span one run answers for, hours. With allowed_lateness_hours at least the time between two runs, or "
            "training hours are missed.",
            6,
            1,
            168,
            _HOURS,
        )
        self.pandas_layer_zip_path = self._text(
            "pandas_layer_zip_path",
            "The layer that `make build` wrote.",
            "./lambda_artifacts/pandas_layer.zip",
            check=_matches("pandas_layer_zip_path", *_ZIP),
        )
        self.lambda_source_path = self._text(
            "lambda_source_path",
            "The function's package that `make build` wrote.",
            "./lambda_artifacts/processing_lambda.zip",
            check=_matches("lambda_source_path", *_ZIP),
        )
        self._declare(
            "tags",
            "map(string)",
            "Tags of every resource that takes tags.",
            {},
            (
                'alltrue([for name in keys(var.tags) : !startswith(lower(name), "aws:")])',
                "tags must not begin with aws:, which AWS keeps for itself.",
            ),
            ("length(var.tags) <= 50", "tags must be 50 at most, which is what AWS takes."),
            (
                "alltrue([for name, value in var.tags : length(name) <= 128 && length(value) <= 256])",
                "tags must have names of at most 128 characters and values of at most 256.",
            ),
            (
                f'alltrue([for text in concat(keys(var.tags), values(var.tags)) : can(regex("{_TAG}", text))])',
                "tags must be of letters, digits, spaces and _ . : / = + - @ only.",
            ),
        )
        self.tags = Token.as_string_map("${var.tags}")

    def _declare_operation(self) -> None:
        self.architecture = self._text(
            "architecture",
            "The function's processor: x86_64 or arm64. The layer must be built for it (make build ARGS='--arch ...').",
            "x86_64",
            check=(
                'contains(["x86_64", "arm64"], var.architecture)',
                "architecture must be x86_64 or arm64, the one the layer was built for.",
            ),
        )
        self.allowed_lateness_hours = self._whole_number(
            "allowed_lateness_hours",
            "How late a reading may arrive and still count in features, hours.",
            24,
            0,
            168,
            _HOURS,
        )
        self.future_tolerance_minutes = self._whole_number(
            "future_tolerance_minutes",
            "How far after the end of its hour of arrival a reading's time may lie, minutes.",
            15,
            0,
            60,
            "a whole number of minutes from",
        )
        self.raw_retention_hours = self._whole_number(
            "raw_retention_hours",
            "How long the bucket keeps raw objects, hours, if a lifecycle rule expires them; 0: they are kept.",
            0,
            0,
            999_999,
            _HOURS,
        )
        self.max_machines = self._whole_number(
            "max_machines",
            "A run that finds more machines stops before it writes items: ids that somebody makes up cost money.",
            100_000,
            1,
            99_999_999,
            "a whole number of machines from",
        )
        self.features_file_path = self._text(
            "features_file_path",
            "A features.toml of your own, which is uploaded beside the layer; empty: the packaged one.",
            "",
            check=_matches("features_file_path", "(.+[.]toml)?", "the path of a .toml file, or empty"),
        )
        self._declare(
            "environment_variables",
            "map(string)",
            "More variables of the function's environment; they cannot replace its own.",
            {},
            (
                'alltrue([for name in keys(var.environment_variables) : can(regex("^[a-zA-Z][a-zA-Z0-9_]+$", name))])',
                "environment_variables must have names of two or more letters, digits or underscores, a letter first.",
            ),
            (
                f"length(setintersection(keys(var.environment_variables), {json.dumps(_RESERVED)})) == 0",
                f"environment_variables must not be those that Lambda sets itself: {', '.join(_RESERVED)}.",
            ),
        )
        self.runtime = self._text(
            "lambda_runtime",
            "Lambda's runtime. The layer must be built for it (make build ARGS='--python ...').",
            "python3.11",
            check=(
                'contains(["python3.11", "python3.12", "python3.13"], var.lambda_runtime)',
                "lambda_runtime must be python3.11, python3.12 or python3.13, the one the layer was built for.",
            ),
        )
        self.ephemeral_storage_size = self._whole_number(
            "ephemeral_storage_size",
            "The function's /tmp, MB; it writes nothing there.",
            512,
            512,
            10240,
            "a whole number of MB from",
        )
        self.tracing_mode = self._text(
            "tracing_mode",
            "X-Ray: Active traces the function's invocations, PassThrough only those that are traced already.",
            "PassThrough",
            check=(
                'contains(["Active", "PassThrough"], var.tracing_mode)',
                "tracing_mode must be Active or PassThrough.",
            ),
        )
        self.keep_layer_versions = self._declare(
            "keep_layer_versions",
            "bool",
            "Whether old versions of the layer stay, for other functions that use them.",
            default=False,
        ).boolean_value
        self.schedule_timezone = self._text(
            "schedule_timezone",
            "The time zone of a cron expression, such as Europe/Lisbon.",
            "UTC",
            check=_matches(
                "schedule_timezone", "[A-Za-z0-9_+/-]{1,50}", "the name of a time zone, such as Europe/Lisbon"
            ),
        )
        self.schedule_enabled = self._declare(
            "schedule_enabled", "bool", "Whether the schedule runs; false pauses it.", default=True
        ).boolean_value
        self.reserved_concurrency = self._whole_number(
            "reserved_concurrency",
            "Invocations at a time kept for the function; -1: none are, it shares the account's.",
            -1,
            -1,
            1000,
            "-1, or a whole number of invocations up to",
        )
        self.scale_out = self._declare(
            "scale_out",
            "bool",
            "Whether the schedule starts a state machine, which takes a run in stages by many invocations.",
            default=False,
        ).boolean_value
        self.max_concurrency = self._whole_number(
            "max_concurrency",
            "Stages of a scaled run that are taken side by side.",
            40,
            1,
            1000,
            "a whole number of invocations from",
        )
        self.part_megabytes = self._whole_number(
            "part_megabytes",
            "Raw bytes that one stage of a scaled run reads, MB; a partition with more is cut.",
            256,
            1,
            4096,
            "a whole number of megabytes from",
        )
        self.shard_machines = self._whole_number(
            "shard_machines",
            "Machines that one stage of a scaled run computes the rows of.",
            10_000,
            1,
            1_000_000,
            "a whole number of machines from",
        )
        self.log_level = self._text(
            "log_level",
            "The function's log level.",
            "INFO",
            check=(
                'contains(["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], var.log_level)',
                "log_level must be one of DEBUG, INFO, WARNING, ERROR and CRITICAL.",
            ),
        )
        self.log_retention_days = self._declare(
            "log_retention_days",
            "number",
            "How long the function's logs are kept, days.",
            365,
            (
                f"contains([{_LOG_RETENTIONS}], var.log_retention_days)",
                f"log_retention_days must be a number of days that CloudWatch Logs knows: {_LOG_RETENTIONS}.",
            ),
        ).number_value
        self.alarm_topic_arn = self._text(
            "alarm_topic_arn",
            "SNS topic that is told of alarms; empty: none is.",
            "",
            check=_matches("alarm_topic_arn", _arn_or_empty("sns"), "the ARN of an SNS topic, or empty"),
        )
        self.rejected_share_percent = self._whole_number(
            "rejected_share_percent",
            "The alarm rejected-lines goes off where a run rejects more than this share of its lines, per cent.",
            10,
            0,
            100,
            "a whole number of per cent from",
        )
        self.missing_features_hours = self._whole_number(
            "missing_features_hours",
            "After how many hours without written features the alarm goes off; 0: twice the time between two runs.",
            0,
            0,
            168,
            _HOURS,
        )

    def _declare_security(self) -> None:
        self.role_name = self._text(
            "role_name",
            "The function's role; empty: {project_name}-processing-lambda-role. Roles belong to no region: a second "
            "deployment of the project in another region needs another name, with -schedule for the schedule's role.",
            "",
            check=_matches(
                "role_name", "[a-zA-Z0-9+=,.@_-]{0,50}", "the name of a role, at most 50 characters, or empty"
            ),
        )
        self.server_side_encryption = self._text(
            "server_side_encryption",
            "How S3 is asked to encrypt what is written: AES256, aws:kms (with kms_key_arn, if there is one) or "
            "aws:kms:dsse; empty: as the bucket does by default. For a bucket whose policy wants it said.",
            "",
            check=(
                'contains(["", "AES256", "aws:kms", "aws:kms:dsse"], var.server_side_encryption)',
                "server_side_encryption must be AES256, aws:kms, aws:kms:dsse, or empty.",
            ),
        )
        self.permissions_boundary_arn = self._text(
            "permissions_boundary_arn",
            "The policy that bounds both roles; empty: no boundary.",
            "",
            check=_matches(
                "permissions_boundary_arn",
                "(arn:[^:]+:iam::([0-9]{12}|aws):policy/.+)?",
                "the ARN of a policy, or empty",
            ),
        )
        self.deletion_protection = self._declare(
            "deletion_protection",
            "bool",
            "Whether DynamoDB refuses to delete the table; apply false before a destroy.",
            default=True,
        ).boolean_value
        self.kms_key_arn = self._text(
            "kms_key_arn",
            "KMS key for the lake's objects, the table, queues, logs, schedule and environment; empty: AWS's own keys. "
            "Its policy must admit CloudWatch Logs, EventBridge Scheduler and the two roles.",
            "",
            check=_matches(
                "kms_key_arn",
                "(arn:[^:]+:kms:[^:]+:[0-9]{12}:key/.+)?",
                "the ARN of a KMS key (of the key, not of an alias), or empty",
            ),
        )
        self.subnet_ids = self._declare(
            "subnet_ids",
            "list(string)",
            "Subnets to run in, with a way to S3 and DynamoDB; empty: no VPC.",
            [],
            ("length(var.subnet_ids) <= 16", "subnet_ids must be 16 at most, which is what Lambda takes."),
        ).list_value
        self.security_group_ids = self._declare(
            "security_group_ids",
            "list(string)",
            "Security groups of the function, where it runs in subnets.",
            [],
            (
                "length(var.security_group_ids) <= 5",
                "security_group_ids must be 5 at most, which is what Lambda takes.",
            ),
        ).list_value

    def _declare_reading(self) -> None:
        self.create_reader_policy = self._declare(
            "create_reader_policy",
            "bool",
            "Whether to make a policy that people and services read features with.",
            default=False,
        ).boolean_value
        self.glue_database_name = self._text(
            "glue_database_name",
            "Glue database to make, with a table `training_rows` of projected partitions for Athena, Spark and others; "
            "empty: none is.",
            "",
            check=_matches(
                "glue_database_name", "([a-z0-9_]{1,255})?", "lower-case letters, digits and underscores, or empty"
            ),
        )
        self.glue_columns = self._declare(
            "glue_columns",
            "list(object({ name = string, type = string }))",
            "Columns of the Glue table, for a features.toml of one's own; empty: those of the packaged one.",
            [],
        ).list_value

    def _declare(
        self,
        name: str,
        type_: str,
        description: str,
        default: Any = None,
        *checks: Check,
    ) -> TerraformVariable:
        """Declare a variable; without a default it must be given."""
        validation = [
            TerraformVariableValidationConfig(condition=f"${{{condition}}}", error_message=message)
            for condition, message in checks
        ]
        return TerraformVariable(
            self,
            name,
            type=type_,
            description=description,
            default=default,
            nullable=False,
            validation=validation or None,
        )

    def _text(self, name: str, description: str, default: str | None = None, *, check: Check) -> str:
        return str(self._declare(name, "string", description, default, check).string_value)

    def _whole_number(
        self, name: str, description: str, default: int, lowest: int, highest: int, meaning: str
    ) -> float:
        condition = f"floor(var.{name}) == var.{name} && var.{name} >= {lowest} && var.{name} <= {highest}"
        span = f"{highest}" if lowest < 0 else f"{lowest} to {highest}"
        check = (condition, f"{name} must be {meaning} {span}.")
        return float(self._declare(name, "number", description, default, check).number_value)


def _matches(name: str, pattern: str, meaning: str) -> Check:
    return f'can(regex("^{pattern}$", var.{name}))', f"{name} must be {meaning}."


def _arn_or_empty(service: str) -> str:
    return f"(arn:[^:]+:{service}:[^:]+:[0-9]{{12}}:.+)?"


def when(condition: str) -> float:
    """Write a resource's ``count``: 1 where a Terraform expression holds, 0 where it does not."""
    return float(Token.as_number(f"${{{condition} ? 1 : 0}}"))


def or_null(name: str) -> str:
    """Refer to a text variable, as null where it is empty."""
    return f'${{var.{name} == "" ? null : var.{name}}}'
