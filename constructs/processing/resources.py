"""The whole deployment, composed: inputs, table, layer, function, schedule, watch, outputs."""

from processing.artifact import MODULE, Artifact, LocalFile
from processing.bindings import Construct, TerraformOutput, TerraformResource
from processing.checks import Checks
from processing.function import ProcessingFunction
from processing.layer import PandasLayer
from processing.place import Place
from processing.readers import FeatureReaders
from processing.scale_out import ScaleOut
from processing.schedule import ProcessingSchedule
from processing.table import FeaturesTable
from processing.variables import Variables
from processing.watch import Watch


class ProcessingResources(Construct):
    """Everything that is deployed beside the bucket, without a provider and a backend.

    Parameters
    ----------
    scope
        The construct that it is added to.
    id_
        Its id in the scope.
    root
        See :class:`processing.artifact.LocalFile`.
    """

    def __init__(self, scope: Construct, id_: str = "module", *, root: str = MODULE) -> None:
        super().__init__(scope, id_)
        variables = Variables(self)
        layer_zip = Artifact(self, "pandas_layer_zip_path", "layer", root=root)
        function_zip = Artifact(self, "lambda_source_path", "function", root=root)

        features = LocalFile(self, "features_file_path", advice="Give the path of your features.toml.", root=root)

        place = Place(self)
        # Names and ARNs as text: a plan knows them, so policies can be read in it.
        table_name = f"{variables.project_name}-RealtimeFeatures"
        table_arn = place.arn("dynamodb", f"table/{table_name}")
        uploads = PandasLayer(self, variables, layer_zip)
        layer = uploads.version
        processing = ProcessingFunction(
            self,
            variables,
            function_zip,
            features,
            place,
            layer_arn=layer.arn,
            table_name=table_name,
            table_arn=table_arn,
        )
        function = processing.function
        scaled = ScaleOut(self, variables, place, function_arn=processing.arn)
        schedule = ProcessingSchedule(self, variables, place, processing, scaled)
        Watch(
            self,
            variables,
            place,
            function_name=function.function_name,
            undelivered=schedule.undelivered.name,
            failures=processing.failures.name,
            scaled_run_arn=scaled.arn,
        )
        readers = FeatureReaders(self, variables, place, table_arn=table_arn)
        others = [found for found in self.node.find_all() if isinstance(found, TerraformResource)]
        table = FeaturesTable(self, variables, name=table_name, uploaded=uploads.uploaded, others=others).table
        Checks(self, variables)
        outputs = {
            "processing_lambda_arn": (function.arn, "The function."),
            "processing_lambda_function_name": (function.function_name, "The function's name, to invoke it by hand."),
            "realtime_features_table_name": (table.name, "The table to read the newest features from."),
            "realtime_features_table_arn": (table.arn, "The same, for a reader's policy."),
            "pandas_layer_arn": (layer.arn, "The layer's version, for other functions."),
            "processing_lambda_role_arn": (processing.role.arn, "The function's role, for a bucket's policy."),
            "processing_lambda_log_group_name": (processing.logs.name, "Where the function's logs are."),
            "scaled_run_arn": (
                f"${{{scaled.made_arn}}}",
                "The state machine, to start a scaled run by hand; null unless scale_out.",
            ),
            "processing_schedule_arn": (schedule.schedule.arn, "The schedule."),
            "failed_events_queue_url": (
                processing.failures.url,
                "Events that the function failed at, to be sent again.",
            ),
            "undelivered_events_queue_url": (
                schedule.undelivered.url,
                "Events that never reached the function, to be sent again.",
            ),
            "reader_policy_arn": (
                f"${{one({readers.policy.fqn}[*].arn)}}",
                "A policy to read features with; null unless create_reader_policy.",
            ),
        }
        for name, (value, description) in outputs.items():
            TerraformOutput(self, name, value=value, description=description)
