"""Counts what the lake of the compose file holds, with DuckDB."""

import os

import duckdb

SERVER = os.environ.get("LAKE_SERVER", "s3:9000")

connection = duckdb.connect()
connection.execute(f"""
    CREATE SECRET lake (
        TYPE s3, KEY_ID 'lake-access-key', SECRET '{os.environ["LAKE_SECRET"]}',
        REGION 'us-east-1', ENDPOINT '{SERVER}', URL_STYLE 'path', USE_SSL false
    )
""")
print(connection.sql("""
    SELECT tenant, page, count(*) AS records
    FROM read_parquet('s3://my-lake/clicks/**/*.parquet', hive_partitioning = true)
    GROUP BY ALL ORDER BY ALL
"""))
