"""Asks DuckDB the questions of questions.sql about a recording: python demo/ask.py RECORDING"""

import sys
from pathlib import Path

import duckdb

recording = Path(sys.argv[1])
db = duckdb.connect()
db.sql("SET TimeZone = 'UTC'")
for table in ["samples", "processes", "ticks"]:
    db.sql(f"CREATE VIEW {table} AS SELECT * FROM read_parquet('{recording}/{table}*.parquet')")
for question in Path(__file__).with_name("questions.sql").read_text().split(";\n"):
    if not question.strip():
        continue
    title, query = question.strip().split("\n", 1)
    print(title.removeprefix("-- "))
    print(db.sql(query))
