"""The engine's HTTP API, in Flow Manager's form: sagas and events in, sagas and probes and metrics out.

| module        | holds                                                                              |
|---------------|------------------------------------------------------------------------------------|
| `server`      | the entry: `build_application`, `run_server`                                       |
| `routes`      | the one table of routes: the server and the OpenAPI document are made of it        |
| `handlers`    | what each route does                                                               |
| `access`      | bearer tokens and CORS                                                             |
| `bodies`      | request bodies, headers and ids: untrusted bytes -> values, or an error answer     |
| `saga_answer` | a saga's record -> the JSON of `GET /sagas/{sagaId}`                               |
| `saga_query`  | the query of `GET /sagas` -> a filter, or an error answer                          |
| `answers`     | answers, and the one place where exceptions become answers                         |
| `openapi`     | routes -> OpenAPI 3.1                                                              |
| `lifecycle`   | what the process says about itself: it drains, its engine has ended                |
"""
