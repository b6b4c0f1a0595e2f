"""The shell around the core: asyncio tasks that move records between a log and the partitions."""
