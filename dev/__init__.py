"""Tools for contributors: real brokers and clusters to build and test against; nothing here is shipped.

What they share, lower ones first; each imports only those above it:

errors        one sentence for the contributor about what is wrong and what to do
cache         the cache folder: what is fetched or built once, and locks between runs
addresses     free and taken ports
processes     tell our own processes from others that got the same id; signals
own_process   a process of a cluster: start, signals, why it ended
started       a context manager around what is started and closed
server        a server of a test's own, which ends with it
state_file    what runs in a data folder: state.json
watchdog      ends what a test run left that was killed
data_folder   where a cluster lives, and that it is gone with a test run
commands      what `python -m dev.kafka` and `python -m dev.cluster` have in common
certificates  a CA, a server and a client certificate
maven         pom.xml -> jars
go_program    a Go module -> a program

Tools: `kafka`, `cluster` (Kubernetes), `images`, and for tests `postgres`, `mongo`, `ferretdb`, `toxiproxy`, `node`
(npm packages), `engine_process`. Generated files: `crds`.
"""
