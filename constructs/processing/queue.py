"""A dead-letter queue: where what could not be done is kept for a person to look at."""

from typing import Final

from processing.bindings import Construct, SqsQueue, Token
from processing.place import Place
from processing.variables import Variables, or_null

_RETENTION_SECONDS: Final = 14 * 24 * 3600  # SQS keeps a message no longer


class DeadLetterQueue(Construct):
    """An encrypted queue that keeps messages as long as SQS can, 14 days.

    Parameters
    ----------
    scope
        The construct that it is added to.
    name
        Its id in the scope, and the first part of its id in Terraform.
    suffix
        The last part of the queue's name in AWS.
    variables
        The module's variables.
    place
        Where the deployment is.

    Attributes
    ----------
    queue
        The ``aws_sqs_queue``.
    arn
        Its ARN.
    """

    def __init__(self, scope: Construct, name: str, suffix: str, variables: Variables, place: Place) -> None:
        super().__init__(scope, f"{name}_queue")
        self.arn = place.arn("sqs", f"{variables.project_name}-{suffix}")
        self.queue = SqsQueue(
            self,
            name,
            name=f"{variables.project_name}-{suffix}",
            message_retention_seconds=_RETENTION_SECONDS,
            sqs_managed_sse_enabled=Token.as_any('${var.kms_key_arn == "" ? true : null}'),
            kms_master_key_id=or_null("kms_key_arn"),
            tags=variables.tags,
        )
