"""A file of the deployment's own in the lake's bucket, under ``artifacts/``."""

from collections.abc import Sequence
from typing import Final

from processing.bindings import (
    Construct,
    Precondition,
    S3Object,
    S3ObjectOverrideProvider,
    S3ObjectOverrideProviderDefaultTags,
    TerraformResourceLifecycle,
    Token,
)
from processing.variables import Variables, or_null

_TAGS: Final = Token.as_string_map("${length(var.tags) <= 10 ? var.tags : {}}")
"""An object takes ten tags. A provider may have more by default, so these are left out."""

_ENCRYPTION: Final = '${var.kms_key_arn != "" || var.server_side_encryption == "" ? null : var.server_side_encryption}'
"""With a key, the provider says ``aws:kms`` by itself, and nothing else."""


def upload(
    scope: Construct,
    id_: str,
    variables: Variables,
    *,
    key: str,
    source: str,
    content_type: str,
    preconditions: Sequence[Precondition],
) -> S3Object:
    """Upload a file whose key holds its content's hash: a changed file is a new object, made before the old goes.

    Parameters
    ----------
    scope
        The construct that it is added to.
    id_
        Its id in the scope.
    variables
        The module's variables.
    key
        The object's key.
    source
        The file's path.
    content_type
        The object's media type.
    preconditions
        What must be true of the file.

    Returns
    -------
    S3Object
        The ``aws_s3_object``.
    """
    return S3Object(
        scope,
        id_,
        bucket=variables.s3_bucket_name,
        key=key,
        source=source,
        content_type=content_type,
        kms_key_id=or_null("kms_key_arn"),
        server_side_encryption=_ENCRYPTION,
        lifecycle=TerraformResourceLifecycle(create_before_destroy=True, precondition=list(preconditions)),
        tags=_TAGS,
        override_provider=S3ObjectOverrideProvider(default_tags=S3ObjectOverrideProviderDefaultTags(tags={})),
    )
