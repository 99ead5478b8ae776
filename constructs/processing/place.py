"""Where the deployment is: the partition, the region and the account that Terraform works in."""

from processing.bindings import Construct, DataAwsCallerIdentity, DataAwsPartition, DataAwsRegion


class Place(Construct):
    """What AWS says of where we are, asked once.

    Parameters
    ----------
    scope
        The construct that it is added to.

    Attributes
    ----------
    partition, region, account
        References to their names, as text.
    region_name
        The region as an expression, for use within others. The id is the region's name under provider 5 and 6.
    """

    def __init__(self, scope: Construct) -> None:
        super().__init__(scope, "place")
        region = DataAwsRegion(self, "region")
        self.partition: str = DataAwsPartition(self, "partition").partition
        self.region: str = region.id
        self.region_name = f"{region.fqn}.id"
        self.account: str = DataAwsCallerIdentity(self, "account").account_id

    def arn(self, service: str, resource: str) -> str:
        """Write the ARN of a resource of this deployment, which a plan knows before the resource is made."""
        return f"arn:{self.partition}:{service}:{self.region}:{self.account}:{resource}"
