"""One home partition without I/O: its sagas in memory, and the plan of a batch against them."""
