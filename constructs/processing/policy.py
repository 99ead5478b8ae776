"""IAM policies as documents that can be read line by line in a review."""

from collections.abc import Mapping, Sequence

from processing.bindings import (
    Construct,
    DataAwsIamPolicyDocument,
    DataAwsIamPolicyDocumentStatement,
    DataAwsIamPolicyDocumentStatementCondition,
    DataAwsIamPolicyDocumentStatementPrincipals,
    IamRole,
    IamRolePolicy,
)
from processing.variables import Variables, or_null


def allow(
    sid: str, actions: Sequence[str], resources: Sequence[str], *, like: Mapping[str, Sequence[str]] | None = None
) -> DataAwsIamPolicyDocumentStatement:
    """Allow some actions on some resources, where the request's keys are like these."""
    return DataAwsIamPolicyDocumentStatement(
        sid=sid,
        effect="Allow",
        actions=list(actions),
        resources=list(resources),
        condition=[
            DataAwsIamPolicyDocumentStatementCondition(test="StringLike", variable=key, values=list(values))
            for key, values in (like or {}).items()
        ],
    )


def make_role(
    scope: Construct,
    id_: str,
    name: str,
    *,
    service: str,
    variables: Variables,
    source_account: str | None = None,
) -> IamRole:
    """Make a role that one AWS service may assume, only on behalf of ``source_account`` where that is given."""
    trust = DataAwsIamPolicyDocument(
        scope,
        f"{id_}_trust",
        statement=[
            DataAwsIamPolicyDocumentStatement(
                effect="Allow",
                actions=["sts:AssumeRole"],
                principals=[DataAwsIamPolicyDocumentStatementPrincipals(type="Service", identifiers=[service])],
                condition=[
                    DataAwsIamPolicyDocumentStatementCondition(
                        test="StringEquals", variable="aws:SourceAccount", values=[source_account]
                    )
                ]
                if source_account
                else [],
            )
        ],
    )
    return IamRole(
        scope,
        id_,
        name=name,
        assume_role_policy=trust.json,
        permissions_boundary=or_null("permissions_boundary_arn"),
        tags=variables.tags,
    )


def write_document(
    scope: Construct,
    id_: str,
    statements: Sequence[DataAwsIamPolicyDocumentStatement],
    *,
    only_when: Mapping[str, DataAwsIamPolicyDocumentStatement] | None = None,
) -> DataAwsIamPolicyDocument:
    """Write statements into a document; some only where a Terraform expression holds.

    The expression need not be known before the apply: it counts statements, not resources.
    """
    document = DataAwsIamPolicyDocument(scope, f"{id_}_document", statement=list(statements))
    dynamic = [
        {
            "for_each": f"${{{condition} ? [true] : []}}",
            "content": {
                "sid": statement.sid,
                "effect": statement.effect,
                "actions": statement.actions,
                "resources": statement.resources,
            },
        }
        for condition, statement in (only_when or {}).items()
    ]
    if dynamic:
        document.add_override("dynamic.statement", dynamic)
    return document


def attach(
    scope: Construct,
    id_: str,
    role_name: str,
    statements: Sequence[DataAwsIamPolicyDocumentStatement],
    *,
    only_when: Mapping[str, DataAwsIamPolicyDocumentStatement] | None = None,
) -> IamRolePolicy:
    """Write statements into a role, as a policy of its own; some only where a Terraform expression holds."""
    document = write_document(scope, id_, statements, only_when=only_when)
    return IamRolePolicy(scope, f"{id_}_policy", name=id_.replace("_", "-"), role=role_name, policy=document.json)
