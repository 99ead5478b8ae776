"""The online store: one item a machine."""

from collections.abc import Sequence

from processing.bindings import (
    Construct,
    DynamodbTable,
    DynamodbTableAttribute,
    DynamodbTablePointInTimeRecovery,
    DynamodbTableServerSideEncryption,
    DynamodbTableTtl,
    Postcondition,
    S3Object,
    TerraformResource,
    TerraformResourceLifecycle,
)
from processing.variables import Variables, or_null


class FeaturesTable(Construct):
    """The table of the newest features, paid by request; it is made last and destroyed first.

    So a destroy that the table's protection forbids fails before it has removed anything.

    Parameters
    ----------
    scope
        The construct that it is added to.
    variables
        The module's variables.
    name
        The table's name.
    uploaded
        An object that is encrypted with the same key as the table.
    others
        All other resources.

    Attributes
    ----------
    table
        The ``aws_dynamodb_table``.
    """

    def __init__(
        self,
        scope: Construct,
        variables: Variables,
        *,
        name: str,
        uploaded: S3Object,
        others: Sequence[TerraformResource],
    ) -> None:
        super().__init__(scope, "table")
        # Without the variable, a plan keeps the keys of both: these attributes are optional and computed. So both still
        # have one key where that was the variable's. By itself the table has DynamoDB's key, the object the bucket's.
        key = "self.server_side_encryption[0].kms_key_arn"
        leaves_no_key = Postcondition(
            condition=f'${{var.kms_key_arn != "" || try({key}, "") == "" || try({key} != {uploaded.fqn}.kms_key_id, '
            "true)}",
            error_message=f"kms_key_arn: the table and the module's objects are encrypted with ${{{key}}}. A plan "
            "without it would leave them so, and take from the roles the right to use it. Give it again; "
            "docs/deploy.md says how to leave a key.",
        )
        self.table = DynamodbTable(
            self,
            "realtime_features",
            name=name,
            billing_mode="PAY_PER_REQUEST",
            hash_key="machine_id",
            attribute=[DynamodbTableAttribute(name="machine_id", type="S")],
            ttl=DynamodbTableTtl(attribute_name="expires_at", enabled=True),
            point_in_time_recovery=DynamodbTablePointInTimeRecovery(enabled=True),
            server_side_encryption=DynamodbTableServerSideEncryption(enabled=True, kms_key_arn=or_null("kms_key_arn")),
            deletion_protection_enabled=variables.deletion_protection,
            tags=variables.tags,
            depends_on=list(others),
            lifecycle=TerraformResourceLifecycle(postcondition=[leaves_no_key]),
        )
