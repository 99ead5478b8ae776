"""For those who read features: a table for query engines, and a policy for people and services. Both by variable."""

import json
from pathlib import Path
from typing import Final

from processing.bindings import (
    Construct,
    GlueCatalogDatabase,
    GlueCatalogTable,
    GlueCatalogTablePartitionKeys,
    GlueCatalogTableStorageDescriptor,
    GlueCatalogTableStorageDescriptorSerDeInfo,
    IamPolicy,
    TerraformLocal,
)
from processing.place import Place
from processing.policy import allow, write_document
from processing.variables import Variables, when

PACKAGED_COLUMNS: Final = Path(__file__).with_name("feature_columns.json")
"""The training rows' columns by the packaged features.toml; ``make synth`` writes it."""

_PARTITIONS: Final = {"year": ("2020,2099", 4), "month": ("1,12", 2), "day": ("1,31", 2), "hour": ("0,23", 2)}
_FORMAT: Final = "org.apache.hadoop.hive.ql.io.parquet"


class FeatureReaders(Construct):
    """A Glue table of the training rows, whose partitions are projected, and a policy to read all that is written.

    No crawler is needed. A query engine works out the partitions from the columns ``year``, ``month``, ``day`` and
    ``hour`` of its condition.

    Parameters
    ----------
    scope
        The construct that it is added to.
    variables
        The module's variables.
    place
        Where the deployment is.
    table_arn
        ARN of the table of the newest features.

    Attributes
    ----------
    policy
        The ``aws_iam_policy``.
    """

    def __init__(self, scope: Construct, variables: Variables, place: Place, *, table_arn: str) -> None:
        super().__init__(scope, "readers")
        self._variables = variables
        self._make_table()
        self.policy = self._make_policy(place, table_arn)

    def _make_table(self) -> None:
        variables = self._variables
        packaged = [
            {"name": name, "type": type_} for name, type_ in json.loads(PACKAGED_COLUMNS.read_text(encoding="utf-8"))
        ]
        TerraformLocal(self, "packaged_columns", packaged)
        database = GlueCatalogDatabase(
            self,
            "features_database",
            name="${var.glue_database_name}",
            description=f"What the processing of {variables.project_name} wrote",
            tags=variables.tags,
        )
        folder = f"s3://{variables.s3_bucket_name}/processed/training"
        projection = {
            f"projection.{name}.{what}": value
            for name, (span, digits) in _PARTITIONS.items()
            for what, value in (("type", "integer"), ("range", span), ("digits", str(digits)))
        }
        # Terraform takes $${ for a literal ${
        place = "/".join(f"{name}=$${{{name}}}" for name in _PARTITIONS)
        table = GlueCatalogTable(
            self,
            "training_rows",
            name="training_rows",
            database_name="${var.glue_database_name}",
            description="A row a machine and hour; what each column is: machine-features features",
            table_type="EXTERNAL_TABLE",
            parameters={
                "classification": "parquet",
                "projection.enabled": "true",
                "storage.location.template": f"{folder}/{place}",
                **projection,
            },
            partition_keys=[GlueCatalogTablePartitionKeys(name=name, type="int") for name in _PARTITIONS],
            storage_descriptor=GlueCatalogTableStorageDescriptor(
                location=folder,
                input_format=f"{_FORMAT}.MapredParquetInputFormat",
                output_format=f"{_FORMAT}.MapredParquetOutputFormat",
                ser_de_info=GlueCatalogTableStorageDescriptorSerDeInfo(
                    serialization_library=f"{_FORMAT}.serde.ParquetHiveSerDe"
                ),
            ),
            depends_on=[database],
        )
        table.add_override(
            "storage_descriptor.dynamic.columns",
            {
                "for_each": "${length(var.glue_columns) > 0 ? var.glue_columns : local.packaged_columns}",
                "content": {"name": "${columns.value.name}", "type": "${columns.value.type}"},
            },
        )
        for resource in (database, table):
            resource.count = when('var.glue_database_name != ""')

    def _make_policy(self, place: Place, table_arn: str) -> IamPolicy:
        variables = self._variables
        bucket = f"arn:{place.partition}:s3:::{variables.s3_bucket_name}"
        glue = f"arn:{place.partition}:glue:{place.region}:{place.account}"
        catalogue = ["catalog", "database/${var.glue_database_name}", "table/${var.glue_database_name}/training_rows"]
        document = write_document(
            self,
            "feature_reader",
            [
                allow("ReadFeatures", ["s3:GetObject"], [f"{bucket}/processed/*"]),
                allow("TraceRawLines", ["s3:GetObject"], [f"{bucket}/raw/*"]),
                allow("ListLake", ["s3:ListBucket"], [bucket], like={"s3:prefix": ["raw/*", "processed/*"]}),
                allow("ReadOnline", ["dynamodb:BatchGetItem", "dynamodb:GetItem"], [table_arn]),
            ],
            only_when={
                'var.kms_key_arn != ""': allow("UseKey", ["kms:Decrypt"], ["${var.kms_key_arn}"]),
                'var.glue_database_name != ""': allow(
                    "FindTable",
                    ["glue:GetDatabase", "glue:GetPartitions", "glue:GetTable"],
                    [f"{glue}:{name}" for name in catalogue],
                ),
            },
        )
        policy = IamPolicy(
            self,
            "feature_reader",
            name=f"{variables.project_name}-feature-reader",
            description="Reads features, and the raw lines they were computed from",
            policy=document.json,
            tags=variables.tags,
        )
        policy.count = when("var.create_reader_policy")
        return policy
