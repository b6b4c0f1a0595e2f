"""Tools for contributors: real brokers and clusters to build and test against; nothing here is shipped."""
