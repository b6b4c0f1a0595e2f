"""The Kubernetes operator: keeps what a FlowMachine asks for and what the cluster runs the same."""
