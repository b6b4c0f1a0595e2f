"""`sagas`: what an engine knows about its sagas, and copies of all of them.

| module      | holds                                                                       |
|-------------|-----------------------------------------------------------------------------|
| `client`    | questions to an engine over HTTP, and sentences for what goes wrong         |
| `filters`   | the options that say which sagas: `list` and `watch` share them             |
| `listing`   | `list`: a table, or a JSON object per line                                  |
| `reading`   | `get`: one saga, its history as a timeline                                  |
| `watching`  | `watch`: a line for every change                                            |
| `exporting` | `export`: all sagas of a log to a file                                      |
| `importing` | `import`: back again                                                        |
| `text`      | how sagas look on a terminal                                                |
"""

from typing import Final

from flowmachine.cli.command import Group
from flowmachine.cli.sagas.exporting import EXPORT
from flowmachine.cli.sagas.importing import IMPORT
from flowmachine.cli.sagas.listing import LIST
from flowmachine.cli.sagas.reading import GET
from flowmachine.cli.sagas.watching import WATCH

SAGAS: Final = Group(
    name="sagas",
    summary="list, read and watch sagas; copy all of them to a file and back",
    commands=(LIST, GET, WATCH, EXPORT, IMPORT),
    details="Exit code 0: done; 1: something is wrong (it has been printed); 2: called wrongly.",
)
