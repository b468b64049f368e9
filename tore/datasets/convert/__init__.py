"""From the sources that users can still get to the METRO TSV format: one file per source, one writer for all."""
