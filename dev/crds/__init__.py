"""The models -> `crds/`, its copy in the chart, docs/reference.md.

Modules, lower ones first; each imports only those above it:

rules        limits and rules that the API server checks
status       the status of a FlowMachine, and the columns of `kubectl get`
saga         the schema of a Saga
structural   a model's JSON Schema -> a structural schema
definitions  the CustomResourceDefinitions
reference    the schema -> the page of all fields
generate     writes the files, or compares them
"""
