"""The online store: one item a machine."""

from processing.bindings import (
    Construct,
    DynamodbTable,
    DynamodbTableAttribute,
    DynamodbTablePointInTimeRecovery,
    DynamodbTableServerSideEncryption,
    DynamodbTableTtl,
)
from processing.variables import Variables, or_null


class FeaturesTable(Construct):
    """The table of the newest features, paid by request.

    Parameters
    ----------
    scope
        The construct that it is added to.
    variables
        The module's variables.

    Attributes
    ----------
    table
        The ``aws_dynamodb_table``.
    """

    def __init__(self, scope: Construct, variables: Variables) -> None:
        super().__init__(scope, "table")
        self.table = DynamodbTable(
            self,
            "realtime_features",
            name=f"{variables.project_name}-RealtimeFeatures",
            billing_mode="PAY_PER_REQUEST",
            hash_key="machine_id",
            attribute=[DynamodbTableAttribute(name="machine_id", type="S")],
            ttl=DynamodbTableTtl(attribute_name="expires_at", enabled=True),
            point_in_time_recovery=DynamodbTablePointInTimeRecovery(enabled=True),
            server_side_encryption=DynamodbTableServerSideEncryption(enabled=True, kms_key_arn=or_null("kms_key_arn")),
            deletion_protection_enabled=variables.deletion_protection,
            tags=variables.tags,
        )
