"""Two plants in one stack of somebody else's CDKTF app, the second in another region.

Install ``pip install ".[cdktf]"`` of this project, build the zips with ``make build``, and run ``cdktf synth`` here.
"""

# The same classes as in cdktf and cdktf_cdktf_provider_aws, which takes half a minute to import as a whole.
from processing.bindings import App, AwsProvider, Construct, TerraformOutput, TerraformStack, TerraformVariable
from processing.module import ProcessingModule


class Plants(TerraformStack):
    """A stack with its own provider, variables and outputs."""

    def __init__(self, scope: Construct, id_: str) -> None:
        super().__init__(scope, id_)
        AwsProvider(self, "aws", region="us-east-1")
        europe = AwsProvider(self, "europe", region="eu-west-1", alias="europe")
        bucket = TerraformVariable(self, "bucket", type="string", default="north-data-lake")
        north = ProcessingModule(self, "north", project_name="north", s3_bucket_name=bucket.string_value)
        ProcessingModule(
            self,
            "south",
            project_name="south",
            s3_bucket_name="south-data-lake",
            providers=[europe],
            processing_schedule_expression="rate(1 hour)",
            time_window_hours=2,
            tags={"Plant": "south"},
        )
        TerraformOutput(self, "table", value=north.output("realtime_features_table_name"))


if __name__ == "__main__":
    app = App()
    Plants(app, "plants")
    app.synth()
