"""What a run writes: Parquet files, records of runs, and the checks that nothing was lost."""
