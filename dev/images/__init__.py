"""Container images without Docker, for contributors and tests: `python -m dev.images`.

The project's own image is built from the Dockerfile by buildah, in a storage of its own under the user's cache folder.
Modules, lower ones first; each imports only those above it:

errors    one sentence for the contributor about what is wrong and what to do
packages  programs of the system, installed by apt where that is allowed
run       one step of a build
wheels    locked libraries and this project -> build/wheels
buildah   builds in our storage, and images as files
base      a small Debian with Python, by debootstrap: the base where none can be pulled
pause     the program that holds a pod's namespaces
build     Dockerfile -> the project's image
"""

from dev.errors import DevError, ToolMissingError
from dev.images.build import Image, build_image
from dev.images.pause import build_pause_image

__all__ = ["DevError", "Image", "ToolMissingError", "build_image", "build_pause_image"]
