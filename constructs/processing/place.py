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
        The region as an expression, for use within others.
    """

    def __init__(self, scope: Construct) -> None:
        super().__init__(scope, "place")
        region = DataAwsRegion(self, "region")
        self.partition: str = DataAwsPartition(self, "partition").partition
        self.region: str = region.name
        self.region_name = f"{region.fqn}.name"
        self.account: str = DataAwsCallerIdentity(self, "account").account_id
