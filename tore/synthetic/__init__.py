"""Body and hand models made by code, and images of them: what stands in for the licensed files."""
