"""`python -m refluence`."""

import sys

from refluence.cli import main

sys.exit(main())
