"""One package per outside thing. Adapters fulfil `flowmachine.ports` and do not know each other."""
