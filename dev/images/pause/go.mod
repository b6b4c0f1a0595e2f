module flowmachine.dev/pause

go 1.22
